"""Part: what the shoppers of one Locust process share in a run, and what it comes to know.

Kept apart from Locust's statistics, which forget. A worker sends its part to the master, so it
is plain data in the end. Knows no socket and no rule.
"""

import time
from collections import Counter, deque
from pathlib import Path
from platform import node
from typing import NamedTuple

import msgspec
from _board import Board
from _keys import key_text
from _options import Account
from _wishes import Spellings
from hdrh.histogram import HdrHistogram

from sportshop.audit import Block, Recorder

LATENCY_US_MAX = 3_600_000_000
DIGITS = 3
FOREVER = 2**63 - 1
OLD_KEYS_MAX = 50
LENT_MAX = 50
FAILED_MAX = 1_000_000
ORDER = "NEW_ORDER_ITEM"
ERRORS_MAX = 20  # of the workload, told apart
ERROR_CHARACTERS_MAX = 200
NAMESPACE = Path("/proc/self/ns/time")
BOOT = Path("/proc/sys/kernel/random/boot_id")


class Unsettled(NamedTuple):
    """An order of which nobody knows whether it was placed."""

    account: Account
    key: int
    text: str
    items: tuple[tuple[str, int], ...]
    sent_ns: int = 0
    """When it was sent the last time."""


class Report(msgspec.Struct):
    """A worker's part as data."""

    tag: str
    block: Block
    tokens: dict[str, str]
    """By user: everybody who logged in, with the newest token."""
    intended: dict[str, bytes]
    """By request: latencies from the intended start, as encoded HdrHistograms."""
    missed: int
    """Arrivals that were due and not begun."""
    others: dict[str, bytes] = {}
    """By request: latencies of what is not in the record, such as logins, encoded likewise."""
    failed: dict[str, int] = {}
    """By request: how many failed."""
    ended_ns: int = FOREVER
    """What was asked after this, on the worker's clock, was no load."""
    waits: dict[str, bytes] = {}
    """By request: how long was waited in vain for answers that had not come by then."""
    task_errors: dict[str, int] = {}
    """Exceptions in the workload's tasks: how many, by what they say."""
    problems: list[str] = []
    """Why this is not everything, if it is not."""
    faults: list[str] = []
    """What went wrong in the load test itself."""
    failed_ns: list[int] = []
    """When orders failed, on the worker's clock: the first of them."""


class Part:
    """One process's part in a run."""

    def __init__(
        self, tag: str = "", worker: int = 0, floor: int = 0, board: Board | None = None
    ) -> None:
        self.tag = tag
        self.worker = worker
        self.floor = floor
        """How many positions were taken before the run."""
        self.recorder = Recorder(worker, clock_name())
        self.tokens: dict[str, str] = {}
        self.unsettled: dict[tuple[int, int], Unsettled] = {}
        """By the recorder's number of the user, and the key's number."""
        self.counted: set[tuple[int, int]] = set()
        """Keys that are being used again, and whose order is on the board; likewise."""
        self.old_keys: list[Unsettled] = []
        """Orders that were sold early in the run, to be asked again at its end."""
        self._lent: deque[Unsettled] = deque(maxlen=LENT_MAX)
        self.missed = 0
        self.board = board or Board()
        self.spellings = Spellings()
        """Of the products' names, as the shop writes them."""
        self.warned: Counter[str] = Counter()
        """What was logged, and how often: more of a kind says nothing new."""
        self.task_errors: Counter[str] = Counter()
        self.problems: list[str] = []
        """Why the record is not everything, if it is not."""
        self._keys = 0
        self.failed: Counter[str] = Counter()
        """Requests that failed, by name."""
        self._failed_ns: list[int] = []
        self.ended_ns = FOREVER
        self._intended: dict[str, HdrHistogram] = {}
        self._others: dict[str, HdrHistogram] = {}
        self._waits: dict[str, HdrHistogram] = {}

    def new_key(self) -> tuple[int, str]:
        """Return a fresh order key: its number and its text."""
        self._keys += 1
        return self._keys, key_text(self.worker, self._keys, self.tag)

    def keep(self, order: Unsettled) -> None:
        """Keep an order that was sold: it may be asked again, or its key tried by another user."""
        if len(self.old_keys) < OLD_KEYS_MAX:
            self.old_keys.append(order)
        self._lent.append(order)

    def old_key_of_another(self, user: str) -> Unsettled | None:
        """Return an order that another user placed, each once."""
        for order in self._lent:
            if order.account.user != user:
                self._lent.remove(order)
                return order
        return None

    def intended(self, name: str, started_ns: int, answered_ns: int) -> None:
        """Note a latency from when the request was meant to start."""
        _note(self._intended, name, answered_ns - started_ns)

    def other(self, name: str, took_ns: int) -> None:
        """Note a request that has no place in the record."""
        _note(self._others, name, took_ns)

    def waited(self, name: str, ns: int) -> None:
        """Note how long an answer did not come: its latency is that or more."""
        _note(self._waits, name, ns)

    def order_failed(self, when_ns: int) -> None:
        """Count an order that failed, and note when."""
        self.failed[ORDER] += 1
        if len(self._failed_ns) < FAILED_MAX:
            self._failed_ns.append(when_ns)

    def task_failed(self, problem: BaseException) -> None:
        """Note an exception in a task of the workload."""
        text = f"{type(problem).__name__}: {problem}"[:ERROR_CHARACTERS_MAX]
        if text not in self.task_errors and len(self.task_errors) >= ERRORS_MAX:
            text = f"{type(problem).__name__} and others"
        self.task_errors[text] += 1

    def report(self) -> Report:
        """Return everything."""
        return Report(
            self.tag,
            self.recorder.block(),
            self.tokens,
            _encoded(self._intended),
            self.missed,
            _encoded(self._others),
            dict(self.failed),
            self.ended_ns,
            _encoded(self._waits),
            dict(self.task_errors),
            self.problems,
            failed_ns=self._failed_ns,
        )


def _note(histograms: dict[str, HdrHistogram], name: str, took_ns: int) -> None:
    histogram = histograms.get(name)
    if histogram is None:
        histogram = histograms[name] = HdrHistogram(1, LATENCY_US_MAX, DIGITS)
    histogram.record_value(min(LATENCY_US_MAX, max(1, took_ns // 1000)))


def _encoded(histograms: dict[str, HdrHistogram]) -> dict[str, bytes]:
    return {name: histogram.encode() for name, histogram in histograms.items()}


def clock_name() -> str:
    """Return a name that processes share which share the monotonic clock.

    That is one machine's boot, and there one time namespace (time_namespaces(7)).
    """
    try:
        boot = BOOT.read_text(encoding="ascii").strip()
    except OSError:  # not Linux
        return f"{node()} {time.get_clock_info('monotonic').implementation}"
    try:
        return f"{boot} {NAMESPACE.readlink()}"
    except OSError:  # an older kernel
        return boot
