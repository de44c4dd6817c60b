"""A sale: a run of the load test in this process, without Locust, of a fraction of a second.

The shoppers have the load test's habits, its customers, its record and its audit; what is missing
is Locust itself, which would patch the sockets of every other test here. They are greenlets, so
the shop that they visit has to run in threads or in a process of its own.
"""

import random
import secrets
import time
from collections.abc import Iterable, Sequence
from itertools import cycle, islice
from typing import NamedTuple

from _audit import Audit
from _buying import Customer
from _habits import Habits
from _keys import TAG_CHARACTERS
from _options import DEMO_USERS, Account, Workload, hot_product, parse_address
from _part import Part
from _settling import settle
from gevent import Greenlet, joinall, killall, sleep, spawn

from sportshop.audit import History, Kind, Outcome, Verdict, audit, worst

USERS = 8
TASKS_EACH = 100
DEADLINE_S = 60.0
ACCOUNTS = [Account(*pair.split(":")) for pair in DEMO_USERS.split(",")]


class Sale(NamedTuple):
    """What came of it."""

    history: History
    verdicts: Sequence[Verdict]

    @property
    def outcome(self) -> Outcome:
        return worst(self.verdicts)

    def evidence(self, outcome: Outcome = Outcome.FAIL) -> dict[str, tuple[str, ...]]:
        """Return the evidence of all rules that came to an outcome, by rule."""
        return {one.rule: one.evidence for one in self.verdicts if one.outcome is outcome}

    def count(self, kind: Kind) -> int:
        """Return how many requests were answered so."""
        return int((self.history.operations["kind"] == kind).sum())


class Shopper(Habits):
    """Somebody who does so many things, drawn by the workload's weights, and goes home."""

    def __init__(self, customer: Customer, hot: str) -> None:
        self.shop = customer
        self.hot = hot
        self.seen = [hot]

    def stay(self, workload: Workload, tasks: int) -> None:
        names, weights = zip(*workload._asdict().items(), strict=True)
        try:
            self.shop.log_in()
            for name in random.choices(names, weights, k=tasks):  # noqa: S311
                getattr(self, name)()
                sleep(0)
        finally:
            self.shop.hang_up()


def hold_sale(
    address: str, workload: Workload, *, alone: bool = False, tasks_each: int = TASKS_EACH
) -> Sale:
    """Let shoppers into the shop at host:port, and audit what it answered."""
    where = parse_address(address)
    books = Audit(where, ACCOUNTS)
    opening = books.open()
    stock = {name: left for name, (_, left) in opening.products.items()}
    part = Part(secrets.token_hex(TAG_CHARACTERS // 2), 0, opening.as_of)
    part.board.begin(part.tag, stock, opening.as_of)
    customers = [
        Customer(part, where, account, ignore) for account in islice(cycle(ACCOUNTS), USERS)
    ]
    hot = hot_product(stock, "")
    _all_at_once(spawn(Shopper(one, hot).stay, workload, tasks_each) for one in customers)
    part.ended_ns = time.monotonic_ns()
    settle(part, where)
    history = books.close([part.report()], [], {"users": USERS}, alone)
    return Sale(history, audit(history))


def ignore(**_: object) -> None:
    """Take what Locust would put into its statistics."""


def _all_at_once(greenlets: "Iterable[Greenlet[..., None]]") -> None:
    """Wait until all have ended. Raises what one of them raised."""
    started = list(greenlets)
    try:
        joinall(started, timeout=DEADLINE_S, raise_error=True)
        assert all(one.dead for one in started), f"a sale took more than {DEADLINE_S} s"
    finally:
        killall(started)
