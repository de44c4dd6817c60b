"""Audit: what the shop says before and after a run, and what follows from it all.

It asks by the public protocol only, as any customer could. The final product list is read before
the order lists, so that whatever it counts is in them. Knows no Locust.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from _answers import (
    LOGIN,
    ORDERS,
    PRODUCTS,
    REMARKS_MAX,
    Decoder,
    ErrorMessage,
    Orders,
    ProductList,
    Reply,
    Violation,
    entries,
    entry_remark,
    login_remarks,
    order_list,
    order_remarks,
    product_list,
    told,
    violation_text,
)
from _keys import AUDITOR, key_ms, key_number
from _options import Account, Address
from _part import Report, clock_name
from _requests import line

from sportshop.audit import History, Kind, Recorder, Told, When, merge
from sportshop.audit.history import FOREIGN_KEY, OPERATION
from sportshop.client import ShopError
from sportshop.client.deadline import Deadline, pause_s
from sportshop.client.errors import ProtocolViolation
from sportshop.client.wire import Wire, dial
from sportshop.display import clean

OPENING_S_MAX = 15.0  # a shop that is being started together with the test is up by then
PATIENCE_S_MAX = 15.0  # a shop that crashed and is being restarted, likewise: once, not per list
CLOSING_S_MAX = 60.0  # for all lists after the run, and CLOSING_S_EACH more for every operation
CLOSING_S_EACH = 0.0005
ANSWER_S_MAX = 20.0  # for a page of 1,000 orders from a shop that is still busy
IDLE_S_MAX = 5.0  # for the lists of those who did not log in, where no order should be
IDLE_USERS_MAX = 50  # each costs the shop a password hash: some tell of a fault that all have
OLD_ORDERS_MAX = 1_000_000
PAGE_ORDERS = 1_000
SHOP_CHARACTERS_MAX = 60
CLOCKS_MS_MAX = 86_400_000  # as far may the clocks of a run's machines be apart
_log = logging.getLogger("loadtest")
_T = TypeVar("_T")


class CannotAsk(Exception):
    """The shop did not tell: the message says why. `is_final`: it would say the same again."""

    def __init__(self, text: str, is_final: bool, is_unknown_account: bool) -> None:
        super().__init__(text)
        self.is_final = is_final
        self.is_unknown_account = is_unknown_account


class Refused(Exception):
    """The shop answered with an error."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason


class Run(NamedTuple):
    """What tells a run's own orders from others."""

    floor: int
    """How many positions were taken before it."""
    tag: str
    began_ms: int


class FinalList(NamedTuple):
    """A customer's orders since the opening."""

    as_of: int
    entries: list[tuple[int, int, Told]]
    old: list[int]
    """Positions from before the run that were told, too."""
    remarks: list[str]


class _Patience:
    """How long to ask: `left_s` can be spent on a shop that does not answer, all of it once."""

    def __init__(self, whole_s: float, left_s: float) -> None:
        self._ends_at = time.monotonic() + whole_s
        self.left_s = left_s

    def deadline(self) -> Deadline:
        """Return the deadline of one answer."""
        return Deadline(min(ANSWER_S_MAX, self._ends_at - time.monotonic()))

    def outlasts(self, spent_s: float, pause: float) -> bool:
        """Take what a failure cost, with the pause after it; tell whether some is left."""
        self.left_s -= spent_s + pause
        return self.left_s > 0 and time.monotonic() + pause < self._ends_at


class Audit:
    """The books of one run: opened before the first order, closed after the last."""

    def __init__(self, address: Address, accounts: Sequence[Account]) -> None:
        self._address = address
        self._passwords = dict(accounts)
        self._recorder = Recorder(AUDITOR, clock_name())
        self._began_ms = time.time_ns() // 1_000_000
        self._owners: dict[int, str] = {}
        """Of positions from before the run, in whose list they were told."""
        self.opening: ProductList | None = None
        self.problem = ""
        """The latest reason why the shop did not tell."""
        self.shop = ""
        """What the shop calls itself."""
        self.faults: list[str] = []
        """What went wrong in the audit's own requests, and is no shop's fault."""

    def open(self) -> ProductList:
        """Note what there is, sold out or not. Raises CannotAsk."""
        user = next(iter(self._passwords))
        self.problem = "it was not waited for"
        patience = _Patience(OPENING_S_MAX + ANSWER_S_MAX, OPENING_S_MAX)
        self.opening = self._products(user, None, patience, Kind.OPENING)
        return self.opening

    def close(
        self,
        reports: Sequence[Report],
        missing: Sequence[str],
        about: Mapping[str, Any],
        alone: bool,
    ) -> History:
        """Ask for what is left and who bought it, and return the whole history.

        `missing`: why the reports are not the whole story, if they are not. Whatever the shop does,
        what was recorded is returned.
        """
        incomplete = list(missing)
        tokens = {user: token for report in reports for user, token in report.tokens.items()}
        tag = reports[0].tag if reports else ""
        blocks = [report.block for report in reports]
        if self.opening is None:
            incomplete.append(f"the shop did not tell its stock at the start: {self.problem}")
        elif not any(block.operations for block in blocks):
            incomplete.append("no request was answered")
        if self.opening is not None:
            count = sum(len(block.operations) for block in blocks) // OPERATION.itemsize
            patience = _Patience(CLOSING_S_MAX + CLOSING_S_EACH * count, PATIENCE_S_MAX)
            run = Run(self.opening.as_of, tag, self._began_ms)
            try:
                self._read_all(tokens, run, patience, incomplete)
            except Exception as problem:
                _log.exception("the last lists could not be read")
                text = f"the last lists could not be read: {type(problem).__name__}: {problem}"
                incomplete.append(text)
                self.faults.append(text)
        return merge(
            [self._recorder.block(), *blocks],
            alone=alone,
            incomplete=incomplete,
            about=dict(about),
        )

    def _read_all(
        self, tokens: Mapping[str, str], run: Run, patience: _Patience, incomplete: list[str]
    ) -> None:
        users = sorted(tokens)
        anybody = users[0] if users else next(iter(self._passwords))
        try:
            self._products(anybody, tokens.get(anybody), patience, Kind.CLOSING)
        except CannotAsk as problem:
            if not problem.is_final:
                incomplete.append(f"the shop no longer answers: {problem}")
                return
            incomplete.append(f"the last list of products could not be read: {problem}")
        for user in users:
            try:
                self._read_final(user, tokens[user], run, patience)
            except CannotAsk as problem:
                incomplete.append(f"the order list of {user} could not be read: {problem}")
                if not problem.is_final:
                    incomplete.append("the shop was not asked for the order lists after it")
                    return
        self._read_idle([user for user in self._passwords if user not in tokens], run)

    def _read_idle(self, users: Sequence[str], run: Run) -> None:
        """Read the lists of some who did not log in: an order of this run may be in one."""
        patience = _Patience(IDLE_S_MAX, 0.0)
        for number, user in enumerate(users[:IDLE_USERS_MAX]):
            try:
                self._read_final(user, None, run, patience)
            except CannotAsk as problem:
                if not problem.is_final:
                    _log.info("%d idle accounts were not looked at", len(users) - number)
                    return

    def _read_final(self, user: str, token: str | None, run: Run, patience: _Patience) -> None:
        """Write a customer's final list down. Raises CannotAsk."""
        began = time.monotonic_ns()
        found = self._ask(user, token, patience, lambda till: _orders_since(till, run))
        when = When(self._recorder.user(user), began, time.monotonic_ns())
        for text in found.remarks:
            self._recorder.remark(text)
        for position in found.old:
            owner = self._owners.get(position, user)
            if owner != user:
                self._recorder.remark(f"has order {position}, which is in {owner}'s list, too")
            elif len(self._owners) < OLD_ORDERS_MAX:
                self._owners[position] = user
        self._recorder.final_list(when, found.as_of, run.floor, found.entries)

    def _products(
        self, user: str, token: str | None, patience: _Patience, kind: Kind
    ) -> ProductList:
        began = time.monotonic_ns()
        found = self._ask(user, token, patience, _everything)
        for text in found.remarks:
            self._recorder.remark(text)
        when = When(self._recorder.user(user), began, time.monotonic_ns())
        self._recorder.products(when, found.as_of, found.products, kind)
        return found

    def _ask(
        self, user: str, token: str | None, patience: _Patience, ask: "Callable[[_Till], _T]"
    ) -> _T:
        """Ask as the user, again until it works or patience runs out. Raises CannotAsk."""
        failures = 0
        while True:
            began = time.monotonic()
            try:
                till = _Till(self._address, user, patience, self._recorder)
                try:
                    self._log_in(till, user, token)
                    self.shop = till.shop
                    return ask(till)
                finally:
                    till.close()
            except (ShopError, Violation, Refused) as problem:
                failures += 1
                pause = self._failed(problem, user, failures, time.monotonic() - began, patience)
            time.sleep(pause)

    def _failed(
        self, problem: Exception, user: str, failures: int, spent_s: float, patience: _Patience
    ) -> float:
        """Return how long to wait until asking again. Raises CannotAsk."""
        self.problem = str(problem)
        if failures == 1:
            where = f"{self._address.host}:{self._address.port}"
            _log.warning("the shop on %s does not answer: %s", where, problem)
        is_wrong = isinstance(problem, Violation | ProtocolViolation)
        if is_wrong:
            self._recorder.violation(violation_text("the audit", user, f"is {problem}"))
        unknown = isinstance(problem, Refused) and problem.reason == "INVALID_CREDENTIALS"
        pause = pause_s(failures)
        if is_wrong or unknown or not patience.outlasts(spent_s, pause):
            raise CannotAsk(str(problem), is_wrong or unknown, unknown)
        return pause

    def _log_in(self, till: "_Till", user: str, token: str | None) -> None:
        if token:
            try:
                till.log_in({"token": token})
            except Refused as problem:
                if problem.reason != "INVALID_CREDENTIALS":
                    raise
            else:
                return
        till.log_in({"user": user, "password": self._passwords.get(user, "")})


class _Till:
    """A connection on which one thing is asked after the other."""

    def __init__(
        self, address: Address, user: str, patience: _Patience, recorder: Recorder
    ) -> None:
        self._user = user
        self._patience = patience
        self._recorder = recorder
        self._wire: Wire = dial(*address, patience.deadline())
        self.shop = ""

    def log_in(self, credentials: Mapping[str, object]) -> None:
        """Log in. Raises ShopError, Violation, Refused."""
        answer = self.ask("AUTHENTICATION", credentials, LOGIN)[0]
        self._note("AUTHENTICATION", login_remarks(answer.data, self._user))
        if isinstance(answer.data.server, str):
            self.shop = clean(answer.data.server)[:SHOP_CHARACTERS_MAX]

    def ask(self, code: str, data: Mapping[str, object], decoder: Decoder) -> list[Any]:
        """Return the messages of an answer. Raises ShopError, Violation, Refused."""
        deadline = self._patience.deadline()
        self._wire.send(line(code, data), 1, deadline)
        reply = Reply(code, decoder)
        while not reply.add(self._wire.receive_line(deadline)):
            deadline.left_s()  # what is here already is read without waiting
        self._note(code, reply.remarks)
        last = reply.messages[-1]
        if isinstance(last, ErrorMessage):
            raise Refused(last.data.reason, last.data.message)
        return reply.messages

    def _note(self, code: str, remarks: Sequence[str]) -> None:
        for text in remarks:
            self._recorder.violation(violation_text(code, self._user, text))

    def close(self) -> None:
        self._wire.close()


def _everything(till: _Till) -> ProductList:
    answers = till.ask("GET_PRODUCTS", {"soldOut": True}, PRODUCTS)
    return product_list([answer.data for answer in answers])


def _orders_since(till: _Till, run: Run) -> FinalList:
    """Read a user's order list from its newest order down to where the run began.

    Page by page until one is empty: that a page is short shows nothing before the next one does.
    """
    found = FinalList(2**62, [], [], [])
    before: int | None = None
    is_short = False
    while True:
        wanted = {"limit": PAGE_ORDERS} | ({} if before is None else {"before": before})
        pages = [page.data for page in till.ask("GET_ORDERS", wanted, ORDERS)]
        positions, found = _add_page(found, pages, run, before)
        if positions and is_short:
            _note(found.remarks, [f"ended above order {before}, though more came below it"])
        if not positions or min(positions) <= max(run.floor, 1):
            return found
        if before is not None and min(positions) >= before:
            raise Violation("a list of orders that does not go down")
        if len(found.entries) > max(page.as_of for page in pages) - run.floor:
            raise Violation("a list of more orders than there can be by its asOf")
        before, is_short = min(positions), len(positions) < PAGE_ORDERS


def _add_page(
    found: FinalList, pages: Sequence[Orders], run: Run, before: int | None
) -> tuple[list[int], FinalList]:
    """Return the positions of a page, and the list with it. Raises Violation."""
    whole = order_list(pages, PAGE_ORDERS)
    listed = entries(pages)
    positions = [entry.order for entry in listed]
    _note(found.remarks, whole.remarks)
    _note(found.remarks, order_remarks(positions, before))
    for entry in listed:
        wrong = entry_remark(entry)
        order = told(entry)
        if entry.order <= run.floor:
            found.old.append(entry.order)
        else:
            key = key_number(entry.order_key, run.tag)
            if key[1] != FOREIGN_KEY and entry.order_key and not _is_of(run, entry.order_key):
                wrong = wrong or f"has order {entry.order} with key {entry.order_key}: none of ours"
            found.entries.append((*key, order))
        if wrong:
            _note(found.remarks, [wrong])
    return positions, found._replace(as_of=min(found.as_of, whole.as_of))


def _is_of(run: Run, key: str) -> bool:
    """Tell whether a key can have been made during the run, whosever clock it is by."""
    ms = key_ms(key)
    return run.began_ms - CLOCKS_MS_MAX <= ms <= time.time_ns() // 1_000_000 + CLOCKS_MS_MAX


def _note(remarks: list[str], some: Sequence[str]) -> None:
    remarks += some[: max(0, REMARKS_MAX - len(remarks))]
