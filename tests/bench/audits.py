"""Rows about the audit: how long a history takes to write and to check, and how much it holds.

The histories are those of a flash sale that a correct shop would have told (histories.py), and
have to pass. The ceiling of checking is one sort, numpy's of two columns of as many rows, which
nothing that puts operations in order can do without; that of writing is packing the same numbers.
"""

import struct
import time
from collections.abc import Callable, Iterator
from functools import partial

import msgspec
import numpy as np

from sportshop.audit import Goods, History, Outcome, Recorder, Told, When, audit, worst
from tests.bench.histories import million
from tests.bench.rows import Bench, Row, Sample

OPERATIONS = 1_000_000
RECORDED = 200_000
PRODUCTS = 70
NUMBERS = struct.Struct("<qqqIIIHBBiI")


def seconds_of(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def check_s(history: History) -> float:
    """Return the seconds that an audit takes. Raises RuntimeError if the history does not pass."""
    verdicts = []
    took = seconds_of(lambda: verdicts.extend(audit(history)))
    if worst(verdicts) is not Outcome.PASS:
        raise RuntimeError(f"the audit says {worst(verdicts)}")
    return took


def sort_s(rows: int) -> float:
    one, two = np.random.default_rng(1).integers(0, rows, (2, rows))
    return seconds_of(lambda: np.lexsort((one, two)))


def audit_of_a_million(bench: Bench) -> Iterator[Sample]:
    history = million(OPERATIONS)
    share = OPERATIONS / len(history)
    for _ in range(bench.repeats):
        yield Sample(check_s(history) * share, 1)


def audit_beside_sort(bench: Bench) -> Iterator[Sample]:
    history = million(OPERATIONS)
    for _ in range(bench.repeats):
        below = sort_s(len(history))
        yield Sample(check_s(history), below)


def audit_of_four_million(bench: Bench) -> Iterator[Sample]:
    """A straight line is 4, sorting 4.4, and more where caches no longer help; all pairs are 16."""
    small, large = million(OPERATIONS), million(4 * OPERATIONS)
    for _ in range(bench.repeats):
        below = check_s(small)
        yield Sample(check_s(large), below)


def bytes_of_an_operation(bench: Bench) -> Iterator[Sample]:
    """Of orders of one to four items in turn, as a worker sends them to the master: tables too."""
    recorder = Recorder(0, "clock")
    when = When(recorder.user("user"), 1_000_000_000, 1_002_000_000)
    for number in range(1, RECORDED + 1):
        names = [f"Product {(number + item) % PRODUCTS}" for item in range(1 + number % 4)]
        items = [Goods(name, 1, 14_990, 5_000) for name in names]
        told = Told(number, items, 14_990 * len(items))
        recorder.receipt(when, number, [item[:2] for item in items], told, number, False)
    yield Sample(len(msgspec.msgpack.encode(recorder.block())) / RECORDED, 1)


def recording(bench: Bench) -> Iterator[Sample]:
    for _ in range(bench.repeats):
        below = seconds_of(pack) / RECORDED * 1e6
        recorder = Recorder(0, "clock")
        yield Sample(seconds_of(partial(record, recorder, RECORDED)) / RECORDED * 1e6, below)


def record(recorder: Recorder, count: int) -> None:
    wanted = (("Football", 1),)
    when = When(1, 1_000_000_000, 1_002_000_000)
    told = Told(7, (Goods("Football", 1, 14_990, 5_000),), 14_990)
    for number in range(1, count + 1):
        recorder.receipt(when, number, wanted, told, 7, False)


def pack() -> None:
    written = bytearray()
    for number in range(1, RECORDED + 1):
        written += NUMBERS.pack(1_000_000_000, 7, 14_990, 2_000, 1, number, 1, 0, 0, 5_000, 1)


ROWS = [
    Row("audit", "seconds to audit a history of 1,000,000 operations", 2, False, "s",
        audit_of_a_million),
    Row("audit-sort", "an audit ÷ a sort of as many rows", 8, False, "s", audit_beside_sort),
    Row("audit-4m", "an audit of 4,000,000 operations ÷ of 1,000,000", 7, False, "s",
        audit_of_four_million),
    Row("bytes", "bytes of an operation in a history", 64, False, "bytes",
        bytes_of_an_operation),
    Row("recorder", "µs to record an order ÷ to pack its numbers", 10, False, "µs", recording),
]  # fmt: skip
