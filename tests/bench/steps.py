"""What each step of an order costs, each measured alone: where the time of an order goes.

    python -m tests.bench.steps [--orders 50]

A batch of orders is taken through the parts that the server takes it through, in one process and
without a network; between two batches nothing else happens, so these are the lowest prices. What
the echo costs (two system calls and the event loop) comes on top: see the row `limit-50`.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from sportshop.catalogue import read_catalogue
from sportshop.framing import Framer
from sportshop.inventory import hand_out
from sportshop.messages import encode_accepted
from sportshop.orders import Accepted, Order, Outcome, decide
from sportshop.session import Session
from sportshop.storage import open_store
from sportshop.storage.interface import Store
from sportshop.users import User
from tests.bench.programs import ORDER

BATCHES = 2_000
WARM_UP_BATCHES = 500  # until the write-ahead log has its size: appending to a file costs more
LINE = ORDER.encode() + b"\n"


class Client:
    """A connection without its socket: what it does with bytes that came, and with an outcome."""

    def __init__(self, user: User) -> None:
        self._framer = Framer()
        self._session = Session()
        self._session.welcome(user)
        self._answers: list[bytes] = []
        self.sent = 0

    def receive(self) -> Order:
        (line,) = self._framer.feed(LINE)
        order = self._session.receive(line)
        assert isinstance(order, Order)
        return order

    def collect(self, outcome: Outcome) -> bool:
        assert isinstance(outcome, Accepted)
        self._answers.append(encode_accepted(outcome))
        return len(self._answers) == 1

    def flush(self) -> None:
        answers, self._answers = self._answers, []
        self.sent += len(b"".join(answers))


class Steps(NamedTuple):
    """Seconds that each step takes for one batch; medians."""

    receive: float
    begin: float
    decide: float
    write: float
    commit: float
    publish: float
    answer: float


def measure(folder: Path, catalogue: Path, orders: int, batches: int = BATCHES) -> Steps:
    """Take batches of so many orders, each of a user of its own, through every step."""
    url = f"sqlite:{folder / 'steps.db'}-{time.monotonic_ns()}"
    with _closing(open_store(url, lambda: read_catalogue(catalogue))) as store:
        users = [store.users.find(f"u{i}") for i in range(orders)]
        clients = [Client(user) for user in users if user]
        taken = [_batch(store, clients) for _ in range(WARM_UP_BATCHES + batches)]
    return Steps(*map(statistics.median, zip(*taken[WARM_UP_BATCHES:], strict=True)))


def _batch(store: Store, clients: list[Client]) -> Steps:
    clock = Stopwatch()
    orders = [client.receive() for client in clients]
    receive = clock.lap()
    transaction = store.begin()
    products = transaction.products({item.product_name for item in orders[0].items})
    begin = clock.lap()
    decisions = decide(orders, products, {}, transaction.taken, time.time_ns() // 1_000_000)
    decided = clock.lap()
    transaction.write(decisions)
    write = clock.lap()
    transaction.commit()
    commit = clock.lap()
    transaction.publish()
    transaction.rollback()
    publish = clock.lap()
    hand_out(clients, decisions.outcomes)
    return Steps(receive, begin, decided, write, commit, publish, clock.lap())


class Stopwatch:
    """Tells the seconds since it was asked last."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._last = now()

    def lap(self) -> float:
        before, self._last = self._last, self._now()
        return self._last - before


@contextmanager
def _closing(store: Store) -> Iterator[Store]:
    try:
        yield store
    finally:
        store.close()


def main() -> None:
    from tests.bench.rows import write_catalogue

    parser = argparse.ArgumentParser(prog="python -m tests.bench.steps")
    parser.add_argument("--orders", type=int, nargs="+", default=[1, 50, 1_000], help="of a batch")
    sizes = parser.parse_args().orders
    with tempfile.TemporaryDirectory(prefix="sportshop-steps-") as scratch:
        folder = Path(scratch)
        catalogue = write_catalogue(folder / "catalogue")
        os.sync()  # what was written before is not to be paid for by the commits measured here
        measured = [measure(folder, catalogue, n, BATCHES) for n in sizes]
    print("µs an order, in batches of" + "".join(f"{n:>10,}" for n in sizes))
    for step in Steps._fields:
        figures = [getattr(m, step) / n * 1e6 for m, n in zip(measured, sizes, strict=True)]
        print(f"{step:<26}" + "".join(f"{figure:10.2f}" for figure in figures))
    totals = [sum(m) / n * 1e6 for m, n in zip(measured, sizes, strict=True)]
    print(f"{'together':<26}" + "".join(f"{total:10.2f}" for total in totals))


if __name__ == "__main__":
    main()
