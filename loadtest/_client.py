"""Client: one customer of the shop on one connection, every request measured and recorded.

The clock runs from before the first byte is sent until the last byte of the answer is there; what
is then done with the answer is not the shop's time. Fast, so that the shop is the limit: a
request is one send and one receive, and its record a few numbers. For a program that shops, and
does not test, see `sportshop.client`.
"""

import itertools
import time
from typing import Any

from _answers import (
    LOGIN,
    ORDERS,
    PRODUCTS,
    RECEIPT,
    Decoder,
    Error,
    ErrorMessage,
    Receipt,
    Reply,
    Violation,
    decode,
    error_remarks,
    login_remarks,
    order_digests,
    order_list,
    order_remarks,
    product_list,
    receipt_remarks,
    told,
)
from _connection import Connection, Lost, Unframed
from _keys import key_number
from _measured import ENTRANCE, REQUEST, Failed, Measured, Report
from _options import Account, Address
from _part import Part, Unsettled
from _requests import GET_PRODUCTS, NO_PRODUCT, SOLD_OUT_TOO, Items, line, order_lines, orders_line
from _wishes import checked_flag, checked_items, checked_key, checked_limit
from gevent import GreenletExit, sleep

from sportshop.audit import Goods, Kind, When
from sportshop.client.deadline import pause_s

ORDER_ATTEMPTS = 8  # over lost connections: with the pauses longer than a shop's restart takes
NOT_SOLD = {
    "INSUFFICIENT_STOCK": Kind.SOLD_OUT,
    "PRODUCT_NOT_FOUND": Kind.NOT_FOUND,
    "ORDER_KEY_REUSED": Kind.KEY_REUSED,
}
"""Refusals that are answers and no failures."""
OUTCOME_UNKNOWN = {"TIMED_OUT", "STORAGE_FAILED"}
"""Errors after which the outcome of an order is unknown."""
CLOSES = {"TIMED_OUT", "STORAGE_FAILED", "SHUTTING_DOWN", "FRAME_TOO_LONG", "ORDER_TOO_LARGE"}


class Unwelcome(GreenletExit):
    """The shop refuses the account, and there no patience helps.

    It ends the customer's greenlet without a traceback, and so the Locust user who has one.
    """


class ShopClient(Measured):
    """A customer. Not for two greenlets at once.

    `report` hears of every request; without it they are no load, and only recorded.
    """

    def __init__(
        self, part: Part, address: Address, account: Account, report: Report | None = None
    ) -> None:
        super().__init__(part, account, report)
        self._address = address
        self._connection: Connection | None = None
        self._token: str | None = None
        self._number = part.recorder.user(account.user)
        self.answered_ns = 0
        """When the latest answer came."""
        self._placed = 0
        """The position of the order that was answered last."""

    # Connecting.

    def log_in(self) -> None:
        """Connect and log in, however often it takes.

        Raises Unwelcome if the shop refuses the account.
        """
        for failures in itertools.count(1):
            try:
                self._connect()
                if self._authenticate():
                    return
            except (Lost, Violation):
                pass
            self.hang_up()
            sleep(pause_s(failures))

    def hang_up(self) -> None:
        """Close the connection, without a word."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self) -> None:
        began = time.monotonic_ns()
        try:
            self._connection = Connection(self._address)
        except OSError as problem:
            self._tell("connect", began, 0, None, "cannot connect", problem)
            raise Lost(str(problem)) from None
        self._tell("connect", began, 0, None)

    def _authenticate(self) -> bool:
        """Log in with the token, which costs the shop little, or else with the password."""
        user, password = self._account
        credentials = {"user": user, "password": password}
        if self._token is not None:
            credentials = {"token": self._token}
        answer = self._ask("AUTHENTICATION", line("AUTHENTICATION", credentials), LOGIN)[0]
        if isinstance(answer, ErrorMessage):
            if answer.data.reason == "INVALID_CREDENTIALS":
                if self._token is None:
                    self._warn(f"the shop refuses {user}", "AUTHENTICATION", most=1)
                    raise Unwelcome
                self._token = None  # it has served its 12 hours
            return False
        self._violation("AUTHENTICATION", login_remarks(answer.data, user))
        self._token = answer.data.token or None
        self._part.tokens[user] = answer.data.token
        return True

    def _ensure_logged_in(self) -> None:
        if self._connection is None:
            self.log_in()

    # Reading.

    def products(
        self, sold_out: bool = False, sent_ns: int = 0, ahead: int = 0
    ) -> dict[str, tuple[int, int]] | None:
        """Look at the products: price in cents and stock by name. None if that failed.

        `sent_ns`: when it was asked already, if so, behind the order of position `ahead`.
        Raises TypeError if `sold_out` is no bool.
        """
        checked_flag(sold_out, "sold_out")
        if not sent_ns:
            self._ensure_logged_in()
        request = SOLD_OUT_TOO if sold_out else GET_PRODUCTS
        began = sent_ns or time.monotonic_ns()
        try:
            answers = self._ask("GET_PRODUCTS", request, PRODUCTS, sent_ns)
            answered = self.answered_ns
            if isinstance(answers[-1], ErrorMessage):
                return None
            found = product_list([answer.data for answer in answers])
        except Violation as problem:
            self._violated("GET_PRODUCTS", problem)
            return None
        except Lost:
            return None
        for text in found.remarks:
            self._part.recorder.remark(text)
        self._compare(found.as_of, ahead)
        when = When(self._number, began, answered)
        self._part.recorder.products(when, found.as_of, found.products, Kind.PRODUCTS, sold_out)
        for name, (_, stock) in found.products.items():
            self._part.board.seen(name, stock, found.as_of)
            self._part.spellings.learn(name)
        return found.products

    def orders(self, limit: int, sent_ns: int = 0, ahead: int = 0) -> None:
        """Look at the newest of one's own orders; `sent_ns` and `ahead` as above.

        `limit`: how many, 1 to 1,000. Raises TypeError, ValueError if it is none.
        """
        checked_limit(limit)
        if not sent_ns:
            self._ensure_logged_in()
        began = sent_ns or time.monotonic_ns()
        try:
            answers = self._ask("GET_ORDERS", orders_line(limit), ORDERS, sent_ns)
            answered = self.answered_ns
            if isinstance(answers[-1], ErrorMessage):
                return
            pages = [answer.data for answer in answers]
            found = order_digests(pages)
        except Violation as problem:
            self._violated("GET_ORDERS", problem)
            return
        except Lost:
            return
        as_of, remarks = order_list(pages, limit)
        remarks += order_remarks([position for position, _, _ in found])
        remarks += [text for _, _, text in found if text][:1]
        for text in remarks:
            self._part.recorder.remark(text)
        self._compare(as_of, ahead)
        new = [one for one in found if one[0] > self._part.floor]
        newest = new[0][0] if new else 0
        when = When(self._number, began, answered)
        self._part.recorder.orders(when, as_of, limit, newest, [digest for _, digest, _ in new])

    def _compare(self, as_of: int, ahead: int) -> None:
        if as_of < ahead:
            self._part.recorder.remark(f"was asked behind the order of position {ahead}")

    # Buying.

    def buy(self, items: Items, key: tuple[int, str] | None = None) -> Kind:
        """Order the items, and see to it that the outcome becomes known. Returns it.

        `items`: 1 to 100 pairs of a product's name and a quantity from 1 to 1,000,000. With a
        `key` that was used it is a retry, or a mistake. Raises TypeError, ValueError before
        anything is sent, if the shop would rightly refuse to read it.
        """
        part = self._part
        items = checked_items(items, part.spellings)
        number, text = checked_key(key, part.worker, part.tag) if key else part.new_key()
        request = order_lines(items, text)
        for attempt in range(1, ORDER_ATTEMPTS + 1):
            self._ensure_logged_in()
            outcome = self._order(request, number, text, items)
            if outcome != Kind.UNKNOWN:
                return outcome
            sleep(pause_s(attempt))
        return Kind.UNKNOWN

    def settle(self, unsettled: Unsettled) -> bool:
        """Ask once for the outcome of an order that is unknown; tell whether it is known now."""
        try:
            if self._connection is None:
                self._connect()
                if not self._authenticate():
                    return False
            request = order_lines(unsettled.items, unsettled.text)
            outcome = self._order(request, unsettled.key, unsettled.text, unsettled.items)
        except (Lost, Violation, Unwelcome):
            self.hang_up()
            return False
        return outcome not in {Kind.UNKNOWN, Kind.NOT_DONE}

    def _order(self, request: bytes, number: int, text: str, items: Items) -> Kind:
        """Ask once, and write down what comes of it, also if this greenlet is killed meanwhile."""
        outcome = Kind.UNKNOWN
        began = time.monotonic_ns()
        try:
            self._send(request)
            outcome = self._take_outcome(began, number, items)
        except Lost as problem:
            if not problem.reported:
                self._tell("NEW_ORDER_ITEM", began, 0, None, "connection lost", problem)
        finally:
            if outcome is Kind.UNKNOWN:
                self.hang_up()  # or its answer would be taken for the next request's
                self._unknown(began, number, text, items)
        return outcome

    def _take_outcome(self, began: int, number: int, items: Items, ahead: int = 0) -> Kind:
        """Receive the answer to an order. Raises Lost if it is unknown what became of it.

        `ahead`: the position of one that was sent before it on this connection.
        """
        received = self._receive_line()
        answered = self.answered_ns
        part = self._part
        when = When(self._number, began, answered)
        try:
            answer = decode(received, RECEIPT)
            if type(answer) is ErrorMessage:
                self._violation("NEW_ORDER_ITEM", error_remarks(answer, "NEW_ORDER_ITEM"))
                return self._refused(answer.data, when, number, items, len(received))
            data: Receipt = answer.data
            order = told(data)
        except Violation as problem:
            self._violated("NEW_ORDER_ITEM", problem)
            raise Lost("answered against the protocol", reported=True) from None
        replayed = data.replayed is True
        for text in receipt_remarks(answer):
            part.recorder.remark(text)
        self._placed = order.position
        if ahead > order.position and not replayed:
            part.recorder.remark(f"was sent behind the order of position {ahead}")
        part.recorder.receipt(when, number, items, order, data.as_of, replayed)
        unknown = part.unsettled.pop((self._number, number), None) if part.unsettled else None
        if not replayed or (unknown is not None and (self._number, number) not in part.counted):
            part.board.accepted(order.items, order.position)
        if replayed:
            self._fire("replayed", "NEW_ORDER_ITEM", began, answered, len(received), data)
            return Kind.REPLAYED
        self._fire("accepted", "NEW_ORDER_ITEM", began, answered, len(received), data)
        return Kind.ACCEPTED

    def _refused(self, error: Error, when: When, number: int, items: Items, length: int) -> Kind:
        reason = error.reason
        kind = NOT_SOLD.get(reason)
        recorder = self._part.recorder
        if reason in CLOSES:
            self.hang_up()
        if kind is None:
            self._tell("NEW_ORDER_ITEM", when.sent, length, error, reason, Failed(error.message))
            if reason in OUTCOME_UNKNOWN:
                raise Lost(reason, reported=True)
            recorder.refused(Kind.NOT_DONE, when, number, items)
            return Kind.NOT_DONE
        if kind is not Kind.KEY_REUSED:
            as_of, named = self._named(kind, error)
            recorder.refused(kind, when, number, items, as_of, named)
        else:
            if key_number(error.order_key, self._part.tag) != (self._part.worker, number):
                recorder.remark(f"names the key {error.order_key[:64]!r}, which was not sent")
            recorder.refused(kind, when, number, items)
        self._part.unsettled.pop((self._number, number), None)
        self._fire("refused", "NEW_ORDER_ITEM", when.sent, when.answered, length, error)
        return kind

    def _named(self, kind: Kind, error: Error) -> tuple[int, Goods]:
        """Return as of when, and for which product, an order was refused. Raises Violation."""
        name, as_of = error.product_name, error.as_of
        requested, available = error.requested, error.available
        counts = isinstance(requested, int) and isinstance(available, int)
        if not name or not isinstance(as_of, int) or (kind is Kind.SOLD_OUT and not counts):
            raise Violation(f"a {error.reason} without its facts")
        if name != NO_PRODUCT:
            if kind is Kind.NOT_FOUND:
                self._warn(f"the shop has no {name!r}", "NEW_ORDER_ITEM", most=1)
            self._part.board.refused(name)
        elif kind is Kind.SOLD_OUT and not self._part.spellings.has_told(name):
            self._part.recorder.remark("tells of the stock of a product that does not exist")
        return as_of, Goods(name, requested or 0, 0, available or 0)

    def _unknown(self, began: int, number: int, text: str, items: Items) -> None:
        self._part.recorder.refused(Kind.UNKNOWN, When(self._number, began, 0), number, items)
        order = Unsettled(self._account, number, text, items, began)
        self._part.unsettled[self._number, number] = order

    # The wire.

    def _ask(self, name: str, request: bytes, decoder: Decoder, sent_ns: int = 0) -> list[Any]:
        """Make a request and return the messages of its answer. Raises Lost, Violation.

        `sent_ns`: when it was sent, if it was.
        """
        began = sent_ns or time.monotonic_ns()
        reply = Reply(name, decoder)
        try:
            if not sent_ns:
                self._send(request)
            while not reply.add(self._receive_line()):
                pass
        except Lost as problem:
            self._tell(name, began, reply.length, None, "connection lost", problem)
            raise
        except Violation as problem:
            self._violated(name, problem)
            raise Lost("answered against the protocol", reported=True) from None
        except BaseException as problem:  # such as the time-out of a workload that goes on
            self.hang_up()  # or the answer would be taken for the next request's
            if isinstance(problem, GreenletExit):
                self._part.waited(name, time.monotonic_ns() - began)
            raise
        self._violation(name, reply.remarks)
        answer, length = reply.messages[-1], reply.length
        if isinstance(answer, ErrorMessage):
            error = answer.data
            if error.reason in CLOSES:
                self.hang_up()
            self._tell(name, began, length, error, error.reason, Failed(error.message))
        else:
            if name in ENTRANCE and self._report is not None:
                self._part.other(name, self.answered_ns - began)
            self._fire(REQUEST, name, began, self.answered_ns, length, answer.data)
        return reply.messages

    def _send(self, request: bytes) -> None:
        if self._connection is None:
            raise Lost("hung up")
        try:
            self._connection.send(request)
        except Lost:
            self.hang_up()
            raise

    def _receive_line(self) -> bytes:
        """Return the next line with its LF, and note when it came. Raises Lost."""
        if self._connection is None:
            raise Lost("hung up")
        try:
            received = self._connection.receive_line()
        except Lost as problem:
            self.hang_up()
            if isinstance(problem, Unframed):
                self._violation("a request", [f"has {problem}"])
            raise
        self.answered_ns = self._connection.received_ns
        return received

    def _violated(self, name: str, problem: Violation) -> None:
        self.hang_up()
        self._violation(name, [f"is {problem}"])
        self._tell(name, time.monotonic_ns(), 0, None, "answered against the protocol", problem)
