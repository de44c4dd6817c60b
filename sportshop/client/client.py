"""Client: a customer's conversation with a shop, over as many connections as it takes.

The rule it keeps: an answer is either believed as a whole or not at all, and an order that was
asked with a key is placed at most once, however often it has to be asked.
Knows nothing of bytes and sockets (wire.py) nor of what answers look like (answers.py).
"""

import enum
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final, Literal, Self, TypeVar, overload

from sportshop.client.answers import (
    OrderList,
    ProductList,
    Receipt,
    Session,
    read_receipt,
    read_session,
)
from sportshop.client.attempts import Attempts, check_attempts
from sportshop.client.checks import check_is_for, same_name
from sportshop.client.deadline import Deadline, Patience, check_timeout_s
from sportshop.client.errors import (
    Busy,
    ConnectionLost,
    FrameTooLong,
    InsufficientStock,
    InvalidCredentials,
    OrderKeyReused,
    OrderTooLarge,
    OutcomeUnknown,
    ProductNotFound,
    ProtocolViolation,
    Refused,
    ShopError,
    ShuttingDown,
    StorageFailed,
    TimedOut,
    refusal,
)
from sportshop.client.keys import new_order_key
from sportshop.client.lists import read_orders, read_products
from sportshop.client.wire import Traffic, Wire, dial
from sportshop.messages import Answer, Code, encode_request

if TYPE_CHECKING:
    import ssl  # only for its type, see wire.py

HOST = "127.0.0.1"
PORT = 3333
TIMEOUT_S = 10.0
# With the pauses between them about four seconds: a shop that restarts is back by then.
ATTEMPTS = 8
# One answer at most, so that a list without end can't fill the memory: 200,000 orders or so.
ANSWER_BYTES_MAX = 32 * 1024 * 1024


class _Fresh(enum.Enum):
    KEY = enum.auto()


NEW_KEY: Final = _Fresh.KEY
"""Asks `Client.order` to make an order key of its own."""
OrderKey = str | None | Literal[_Fresh.KEY]
_T = TypeVar("_T")
_Receive = Callable[[], Answer]

_SHOP_CLOSED = (FrameTooLong, OrderTooLarge, TimedOut, ShuttingDown, StorageFailed)
_FAREWELLS = (Busy, TimedOut, ShuttingDown, StorageFailed)
_ANSWERS_A_WHOLE_ORDER = (ProductNotFound, InsufficientStock, OrderKeyReused, Busy)


class Client:
    """A customer of the shop at `host`:`port`. Connects at the first call, or by `connect`.

    Every call is over within `timeout_s` seconds (more than 0, at most a million; resolving a
    host's name is not counted), whatever the shop does. What may be repeated safely is: after a
    lost connection the client connects and logs in again, with its token or else the password it
    was given, and asks again, up to `attempts` times in all (1 or more) with growing pauses; BUSY
    it asks again until the time is up. A connection that was used before and now says nothing for
    half of the time counts as lost. `tls` is a context for connections by TLS; without it they
    are plain.

    What the shop answers is compared with what was asked: a receipt with the order, a list with
    its bounds, a session with its user. An answer that differs, or is longer than
    ANSWER_BYTES_MAX, is a ProtocolViolation; orders beyond that are read part by part.

    Any call may raise ConnectionLost, DeadlineExceeded, ProtocolViolation, Busy, ShuttingDown,
    TimedOut and StorageFailed; any but the logins NotAuthenticated. After the first three the
    connection is closed, and the next call makes a new one.
    Not for two threads or greenlets at once. A call that is interrupted closes its connection.
    A process that was forked has a connection of its own: it connects at its first call.

    Raises TypeError and ValueError for a `port`, `timeout_s` or `attempts` that can't be.
    """

    def __init__(
        self,
        host: str = HOST,
        port: int = PORT,
        *,
        timeout_s: float = TIMEOUT_S,
        attempts: int = ATTEMPTS,
        tls: "ssl.SSLContext | None" = None,
    ) -> None:
        self.host = host
        self.port = _check_port(port)
        self.timeout_s = check_timeout_s(timeout_s)
        self._attempts = check_attempts(attempts)
        self._tls = tls
        self._traffic = Traffic()
        self._wire: Wire | None = None
        self._was_connected = False
        self._logged_in = False
        self._session: Session | None = None
        self._credentials: Mapping[str, str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def session(self) -> Session | None:
        """The newest login that worked."""
        return self._session

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection, as far as this side knows."""
        return self._wire is not None and self._wire.is_open

    @property
    def bytes_sent(self) -> int:
        """Bytes handed to the operating system, over all connections; before TLS."""
        return self._traffic.bytes_sent

    @property
    def bytes_received(self) -> int:
        """Bytes received, over all connections; after TLS."""
        return self._traffic.bytes_received

    def connect(self, *, timeout_s: float | None = None) -> None:
        """Connect, unless connected. One attempt. Raises ConnectionLost, DeadlineExceeded."""
        if not self.is_connected:
            self._dial(self._deadline(timeout_s))

    def close(self) -> None:
        """Close the connection. The client stays usable: the next call connects again."""
        if self._wire is not None:
            self._wire.close()

    def authenticate(self, user: str, password: str, *, timeout_s: float | None = None) -> Session:
        """Log in. The client keeps the password, for when a token no longer works.

        Raises InvalidCredentials, AlreadyAuthenticated (on this connection).
        """
        credentials = {"user": user, "password": password}
        session = self._authenticate(credentials, user, self._deadline(timeout_s))
        self._credentials = credentials
        return session

    def authenticate_token(self, token: str, *, timeout_s: float | None = None) -> Session:
        """Log in with the token of an earlier session.

        Raises InvalidCredentials (12 hours have passed), AlreadyAuthenticated.
        """
        session = self._authenticate({"token": token}, None, self._deadline(timeout_s))
        self._credentials = None
        return session

    def products(self, sold_out: bool = False, *, timeout_s: float | None = None) -> ProductList:
        """Return the products in stock; with `sold_out` also those with none left."""
        request = encode_request(Code.GET_PRODUCTS, {"soldOut": sold_out} if sold_out else {})
        return self._ask(request, read_products, self._deadline(timeout_s), self._repeatable())

    def orders(
        self,
        before: int | None = None,
        limit: int | None = None,
        *,
        timeout_s: float | None = None,
    ) -> OrderList:
        """Return the user's orders, newest first, however many messages they come in.

        `before`: only orders numbered below it (1 or more). `limit`: at most so many (1 to 1000).
        Raises MalformedMessage for numbers out of range. A history of more than ANSWER_BYTES_MAX
        is read part by part: with `limit`, then again with `before` the last order's number.
        """
        wanted = {"before": before, "limit": limit}
        given = {name: number for name, number in wanted.items() if number is not None}
        request = encode_request(Code.GET_ORDERS, given)

        def read(receive: _Receive) -> OrderList:
            return read_orders(receive, before, limit)

        return self._ask(request, read, self._deadline(timeout_s), self._repeatable())

    @overload
    def order(
        self, items: str, quantity: int = 1, *, key: OrderKey = ..., timeout_s: float | None = ...
    ) -> Receipt: ...

    @overload
    def order(
        self,
        items: Iterable[tuple[str, int]],
        *,
        key: OrderKey = ...,
        timeout_s: float | None = ...,
    ) -> Receipt: ...

    def order(
        self,
        items: str | Iterable[tuple[str, int]],
        quantity: int = 1,
        *,
        key: OrderKey = NEW_KEY,
        timeout_s: float | None = None,
    ) -> Receipt:
        """Place an order: of one product by name, or of several (name, quantity); all or nothing.

        Without `key` the client makes one, and whatever breaks it asks again until the outcome is
        known. With `key` None it does not ask again once the shop may have the order.

        Raises a Refused (ProductNotFound, InsufficientStock, OrderKeyReused, MalformedMessage,
        OrderTooLarge and those of any call) if the order was not placed, and OutcomeUnknown if it
        may have been, whatever the cause (also a receipt for something else). Any other
        ShopError: the order was not sent. Raises
        ValueError for no items or a name that cannot be encoded; nothing was sent then either.
        """
        wanted = [(items, quantity)] if isinstance(items, str) else list(items)
        order_key = new_order_key() if key is NEW_KEY else key
        request = encode_order(wanted, order_key)
        attempts = Attempts(self._attempts, repeatable=order_key is not None)

        def read(receive: _Receive) -> Receipt:
            receipt = read_receipt(receive(), order_key)
            check_is_for(receipt, wanted, order_key)
            return receipt

        try:
            return self._ask(request, read, self._deadline(timeout_s), attempts)
        except ShopError as problem:
            if attempts.in_doubt:
                raise OutcomeUnknown(order_key) from problem
            raise

    # The level below, for pipelining.

    def send_request(
        self,
        code: Code,
        data: Mapping[str, object] | None = None,
        end_of_data: bool = True,
        *,
        timeout_s: float | None = None,
    ) -> None:
        """Send one message as it is, on the connection as it is: not repeated, nor logged in.

        Each request, and each order with its last item, is owed one answer, to be taken with
        `receive_answer` in their order before another call is made.
        """
        wire = self._connected()
        wire.send(
            encode_request(code, data or {}, end_of_data),
            1 if end_of_data else 0,
            self._deadline(timeout_s),
        )

    def receive_answer(self, *, timeout_s: float | None = None) -> Answer:
        """Return the next message, whatever it says; a list is one answer in several messages.

        `read_receipt`, `read_session`, `read_products`, `read_orders` make typed values of it.
        """
        return self._connected().receive(self._deadline(timeout_s))

    def _connected(self) -> Wire:
        if self._wire is None or not self._wire.is_open:
            raise ConnectionLost("connect", "not connected")
        return self._wire

    # Asking, until there is an answer.

    def _deadline(self, timeout_s: float | None) -> Deadline:
        return Deadline(self.timeout_s if timeout_s is None else check_timeout_s(timeout_s))

    def _repeatable(self) -> Attempts:
        return Attempts(self._attempts, repeatable=True)

    def _authenticate(
        self, credentials: Mapping[str, str], user: str | None, deadline: Deadline
    ) -> Session:
        request = encode_request(Code.AUTHENTICATION, credentials)
        read = _session_of(user)
        session = self._ask(request, read, deadline, self._repeatable(), login=False)
        self._session = session
        self._logged_in = True
        return session

    def _ask(
        self,
        request: bytes,
        read: Callable[[_Receive], _T],
        deadline: Deadline,
        attempts: Attempts,
        login: bool = True,
    ) -> _T:
        """Ask until there is an answer, or no hope of one."""
        if self._wire is not None and self._wire.is_open and self._wire.owed:
            raise RuntimeError(f"receive the {self._wire.owed} answers owed before the next call")
        if not self._was_connected:
            self._dial(deadline)
        while True:
            attempts.begin()
            try:
                wire = self._ready(deadline, login)
                patient = wire.is_used and attempts.may_lose_a_connection
                attempts.sending()
                return _exchange(
                    wire, request, read, deadline, deadline.patience() if patient else None
                )
            except ShopError as problem:
                pause_s = attempts.failed(problem)
                if pause_s is None or not deadline.allows(pause_s):
                    raise
            time.sleep(pause_s)

    def _ready(self, deadline: Deadline, login: bool) -> Wire:
        """Return a connection on which a request can be made, logged in if ever we were."""
        wire = self._wire
        if wire is not None and wire.is_open and wire.has_news(deadline):
            _hear_farewell(wire, deadline)
        if wire is None or not wire.is_open:
            wire = self._dial(deadline)
        if login and self._session is not None and not self._logged_in:
            self._session = self._log_in_again(wire, self._session, deadline)
            self._logged_in = True
        return wire

    def _dial(self, deadline: Deadline) -> Wire:
        self._wire = dial(self.host, self.port, deadline, self._tls, self._traffic)
        self._was_connected = True
        self._logged_in = False
        return self._wire

    def _log_in_again(self, wire: Wire, session: Session, deadline: Deadline) -> Session:
        """Log in with the token, which costs the shop little, or else with the password."""
        by_token = encode_request(Code.AUTHENTICATION, {"token": session.token})
        read = _session_of(session.user)
        try:
            return _exchange(wire, by_token, read, deadline)
        except InvalidCredentials:
            if self._credentials is None:
                raise
        by_password = encode_request(Code.AUTHENTICATION, self._credentials)
        return _exchange(wire, by_password, read, deadline)


def connect(
    host: str = HOST,
    port: int = PORT,
    *,
    timeout_s: float = TIMEOUT_S,
    attempts: int = ATTEMPTS,
    tls: "ssl.SSLContext | None" = None,
) -> Client:
    """Return a Client that is connected. Raises ConnectionLost, DeadlineExceeded."""
    client = Client(host, port, timeout_s=timeout_s, attempts=attempts, tls=tls)
    client.connect()
    return client


def encode_order(items: Iterable[tuple[str, int]], key: str | None) -> bytes:
    """Return the lines of an order. Raises ValueError if it has no items or cannot be encoded."""
    data = [
        {"productName": name, "quantity": quantity} | ({} if key is None else {"orderKey": key})
        for name, quantity in items
    ]
    if not data:
        raise ValueError("expected an order of one item or more")
    lines = [encode_request(Code.NEW_ORDER_ITEM, item, end_of_data=False) for item in data[:-1]]
    return b"".join([*lines, encode_request(Code.NEW_ORDER_ITEM, data[-1])])


def _check_port(port: int) -> int:
    if isinstance(port, bool) or not isinstance(port, int):
        raise TypeError(f"port: expected a whole number, found {port!r}")
    if not 1 <= port <= 65535:
        raise ValueError(f"port: expected 1 to 65535, found {port!r}")
    return port


def _session_of(user: str | None) -> Callable[[_Receive], Session]:
    """Return what reads the answer to a login; of this user, where it is known who logs in."""

    def read(receive: _Receive) -> Session:
        session = read_session(receive())
        if user is not None and not same_name(session.user, user):
            raise ProtocolViolation(f"{user!r} logged in, and the shop greets {session.user!r}")
        return session

    return read


def _exchange(
    wire: Wire,
    request: bytes,
    read: Callable[[_Receive], _T],
    deadline: Deadline,
    patience: Patience | None = None,
) -> _T:
    """Send a request and read its answer. However that ends, no answer stays owed."""
    try:
        wire.send(request, 1, patience or deadline)
        if patience is not None:
            wire.await_word(patience)
        return read(_bounded(wire, deadline))
    except ProtocolViolation:
        wire.close()
        raise
    except Refused as problem:
        _note_refusal(wire, problem, several=request.find(b"\n") < len(request) - 1)
        raise
    finally:
        if wire.owed:
            wire.close()


def _bounded(wire: Wire, deadline: Deadline) -> _Receive:
    """Return what receives the messages of one answer, up to ANSWER_BYTES_MAX of them."""
    began_at = wire.traffic.bytes_received

    def receive() -> Answer:
        answer = wire.receive(deadline)
        if wire.traffic.bytes_received - began_at > ANSWER_BYTES_MAX:
            raise ProtocolViolation(
                f"an answer of over {ANSWER_BYTES_MAX:,} bytes, more than this client takes in"
            )
        return answer

    return receive


def _note_refusal(wire: Wire, problem: Refused, several: bool) -> None:
    """Close what the shop has closed, or may answer once more; doubt what it may have closed."""
    if isinstance(problem, _SHOP_CLOSED) or (
        several and not isinstance(problem, _ANSWERS_A_WHOLE_ORDER)
    ):
        wire.close()
    elif isinstance(problem, (Busy, InvalidCredentials)) or type(problem) is Refused:
        wire.doubtful = True


def _hear_farewell(wire: Wire, deadline: Deadline) -> None:
    """Take what came unasked: the end, perhaps after a last word. Raises ProtocolViolation."""
    try:
        answer = wire.receive(deadline)
    except ConnectionLost:
        return
    wire.close()
    if answer.code != Code.ERROR or not isinstance(refusal(answer), _FAREWELLS):
        raise ProtocolViolation(f"a {answer.code} that nobody asked for")
