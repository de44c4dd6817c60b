"""One run: all that belongs to it and to no other. Made when it begins, let go at the next.

Whoever leads the run opens its books and closes them; a worker joins it, and reports. What goes
wrong in the load test itself is a fault: with one, nothing convicts the shop. Knows no Locust.
"""

import itertools
import logging
import secrets
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from _audit import Audit, CannotAsk
from _board import Board
from _figures import figures
from _keys import TAG_CHARACTERS, WORKERS_MAX
from _options import (
    NOWHERE,
    WORKLOADS,
    Account,
    WrongUsage,
    accounts,
    hot_product,
    objectives,
    parse_address,
    rate,
    workload,
)
from _part import Part, Report
from _schedule import Schedule
from _settling import settle
from _slo import Slo
from _workers import Roll
from gevent.event import Event

from sportshop.audit import History, Outcome, Verdict, audit, worst
from sportshop.audit.verdict import EVIDENCE_MAX

FAULT_CHARACTERS_MAX = 300
_log = logging.getLogger("loadtest")


class Outcomes(NamedTuple):
    """What a run came to."""

    history: History
    verdicts: Sequence[Verdict]
    figures: Mapping[str, Any]


class OneRun:
    """One process's part in one run, and of who leads it the books."""

    def __init__(self, board: Board) -> None:
        board.begin("", {}, -1)
        self.part = Part(board=board)
        self.address = NOWHERE
        self.accounts: list[Account] = []
        self.workload = WORKLOADS["mixed"]
        self.hot_product = ""
        self.schedule: Schedule | None = None
        """Of an open workload."""
        self.is_open = False
        """Whether shoppers may shop: not before the books are open, never in one called off."""
        self.is_under_way = True
        self.closed = Event()
        self.faults: list[str] = []
        """What went wrong in the load test itself."""
        self.roll = Roll("")
        self.rules: list[dict[str, Any]] = []
        """What the audit came to, for the web UI."""
        self.unprinted = ""
        self._board = board
        self._audit = Audit(NOWHERE, [])
        self._about: dict[str, Any] = {}
        self._objectives: list[Slo] = []
        self._alone = False
        self._rate = 0.0
        self._rank, self._starters = 0, 1
        self._numbers = itertools.count()

    # The beginning.

    def lead(
        self, options: Namespace, host: str | None, team: Sequence[str], about: Mapping[str, Any]
    ) -> None:
        """Open the books, and tell the workers by way of the options what they have to know.

        `team`: the workers that are there, none if there is one process. Raises WrongUsage if the
        run can't be as it was asked for, CannotAsk if the shop does not answer.
        """
        options.shop_run = ""  # until the books are open, workers hear of no run
        self.address = parse_address(host)
        self._about = {
            **about,
            "host": f"{self.address.host}:{self.address.port}",
            "started_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        }
        self.accounts = accounts(options)
        self.workload = workload(options)
        self._rate, self._objectives = rate(options), objectives(options)
        self._alone = options.alone
        self._starters = max(1, len(team))
        self._about |= {"rate": self._rate, "workers": self._starters}
        self._audit = Audit(self.address, self.accounts)
        stock, floor = self._stock()
        self.hot_product = hot_product(stock, options.hot_product)
        if self.is_under_way:  # nobody has ended it meanwhile
            self._begin(options, team, stock, floor)

    def _stock(self) -> tuple[dict[str, int], int]:
        """Return what there is, and as of which position. Raises WrongUsage, CannotAsk."""
        try:
            opening = self._audit.open()
        except CannotAsk as problem:
            if problem.is_unknown_account:
                user = self.accounts[0].user
                raise WrongUsage(f"--shop-users: the shop refuses {user}: {problem}") from None
            raise
        return {name: stock for name, (_, stock) in opening.products.items()}, opening.as_of

    def _begin(
        self, options: Namespace, team: Sequence[str], stock: Mapping[str, int], floor: int
    ) -> None:
        tag = secrets.token_hex(TAG_CHARACTERS // 2)
        self._about |= {"hot_product": self.hot_product, "shop": self._audit.shop}
        self.roll = Roll(tag, team)
        options.shop_run, options.shop_floor = tag, floor
        options.shop_hot_product = self.hot_product
        options.shop_team, options.shop_starters = self.roll.team, self._starters
        self._start(tag, 0, floor, stock)

    def join(self, options: Namespace, host: str | None, name: str) -> None:
        """Take part as a worker, as the leader's options say. Raises WrongUsage.

        A worker that came when the run was under way adds nothing to its rate of arrivals.
        """
        if not getattr(options, "shop_run", ""):
            return  # it was called off
        team = options.shop_team
        if name not in team:
            _log.warning("the run began without this worker: its shoppers stay away")
            return
        self._rank, self._starters = team.index(name), max(1, options.shop_starters)
        number = min(self._rank, WORKERS_MAX)
        self.part = Part(options.shop_run, number, options.shop_floor, self._board)
        self.hot_product = options.shop_hot_product
        self.accounts, self.workload = accounts(options), workload(options)
        self._rate = rate(options)
        self.address = parse_address(host)
        if self._rank >= WORKERS_MAX:
            _log.error("more than %d workers: this one does not get to the shop", WORKERS_MAX)
            self.address = NOWHERE
        self._start(options.shop_run, number, options.shop_floor, {})

    def _start(self, tag: str, number: int, floor: int, stock: Mapping[str, int]) -> None:
        self._board.begin(tag, stock, floor)
        self.part = Part(tag, number, floor, self._board)
        for name in (*stock, self.hot_product):
            self.part.spellings.learn(name)
        if self._rate:
            is_starter = self._rank < self._starters
            self.schedule = Schedule(self._rate / self._starters if is_starter else 0)
        self.is_open = True

    @property
    def announcement(self) -> str:
        """What is about to happen, in a line."""
        many = len(self._audit.opening.products) if self._audit.opening else 0
        others = len(self.accounts) - 1
        return (
            f"buying for real at {self._about['host']} ({self._about['shop'] or 'a shop'},"
            f" {many:,} product{'' if many == 1 else 's'}) as {self.accounts[0].user}"
            f"{f' and {others:,} more' if others else ''}"
        )

    def next_account(self) -> Account:
        """Return one more account of this process's own.

        Two workers share an account only where there are fewer accounts than workers.
        """
        own = self.accounts[self._rank % self._starters :: self._starters] or self.accounts
        return own[next(self._numbers) % len(own)] if own else Account("", "")

    # The end.

    def fault(self, doing: str, problem: BaseException) -> None:
        """Note that the load test itself failed: nobody can tell what the record is worth."""
        text = f"{doing}: {type(problem).__name__}: {problem}"[:FAULT_CHARACTERS_MAX]
        if text not in self.faults and len(self.faults) < EVIDENCE_MAX:
            self.faults.append(text)

    def finish(self) -> Report:
        """Settle what is unknown, and return this process's part."""
        part, self.is_open = self.part, False
        part.ended_ns = time.monotonic_ns()
        if self.schedule is not None:
            part.missed = self.schedule.missed()
        try:
            settle(part, self.address)
        except Exception as problem:
            _log.exception("asking again for orders failed")
            self.fault("asking again for orders", problem)
        report = part.report()
        report.faults = list(self.faults)
        return report

    def close(self, reports: Sequence[Report], users: int) -> Outcomes:
        """Close the books over all that was reported."""
        missing = [f"worker {name} did not report" for name in self.roll.missing()]
        missing += [text for report in reports for text in report.problems]
        faults = [*self.faults, *(text for report in reports for text in report.faults)]
        faults += self.roll.faults
        missing += [f"the load test itself failed: {text}" for text in dict.fromkeys(faults)]
        lost = len(set(self.roll.missing()) & set(self.roll.team[: self._starters]))
        self._about |= {"users": users, "lost_per_s": self._rate / self._starters * lost}
        history = self._audit.close(reports, missing, self._about, self._alone)
        faults += self._audit.faults
        began = time.monotonic()
        verdicts = audit(history)
        took = time.monotonic() - began
        if faults:
            verdicts = [_doubted(verdict, faults[0]) for verdict in verdicts]
        found = figures(history, reports, verdicts, took, self._objectives)
        return Outcomes(history, verdicts, found)


def _doubted(verdict: Verdict, fault: str) -> Verdict:
    """Return what a broken rule is worth where the load test itself has failed: a doubt."""
    if worst([verdict]) is not Outcome.FAIL:
        return verdict
    doubt = f"this may be the load test's own fault, which failed: {fault}"
    evidence = (doubt, *verdict.evidence)[:EVIDENCE_MAX]
    return Verdict(verdict.rule, Outcome.INCONCLUSIVE, evidence, verdict.found + 1)
