"""A connection: one client, bytes in, answers out in the order of the requests.

Its greenlet reads, and does what session.py says is to be done. An order it only hands to the
inventory, and reads on: the committer sends the answer itself, since waking a greenlet for every
order would cost a third of the throughput. Whatever else the client asks behind an order waits
until that order is answered.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

import gevent
from gevent import socket
from gevent.event import Event

from sportshop import messages
from sportshop.framing import Framer
from sportshop.logins import TooManyLogins
from sportshop.messages import (
    FRAME_BYTES_MAX,
    Code,
    Credentials,
    ListWriter,
    OrdersWanted,
    ProductsWanted,
    Reason,
)
from sportshop.orders import Accepted, Order, Outcome
from sportshop.outbox import Outbox
from sportshop.session import Refused, Session
from sportshop.shop import Shop
from sportshop.storage.interface import StorageFailed
from sportshop.users import User

RECEIVE_BYTES = 16_384
LINES_BEFORE_OTHERS = 64  # a client that pipelines without end lets others in so often
LINGER_SECONDS = 2.0  # after an error that closes: closing at once could reset it off the wire

log = logging.getLogger(__name__)


class ConnectionLost(Exception):
    """The client is gone or was cut off: there is nobody left to answer."""


class Connection:
    """One client. `serve` runs in its greenlet; the committer and the reaper call the rest."""

    __slots__ = (
        "_busy",
        "_collected",
        "_frame_since",
        "_framer",
        "_gate",
        "_heard_at",
        "_lines",
        "_opened_at",
        "_order_since",
        "_outbox",
        "_session",
        "_shop",
        "_socket",
        "_unanswered",
        "ending",
    )  # fmt: skip - a name a line would take a screen

    def __init__(self, connected: socket.socket, shop: Shop) -> None:
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = connected
        self._shop = shop
        self._session = Session()
        self._framer = Framer()
        self._outbox = Outbox(
            connected.fileno(), shop.limits.unread_bytes_max, shop.time, self._wake
        )
        self._collected: list[bytes] = []
        self._unanswered = 0  # orders that were placed
        self._gate: Event | None = None
        self._busy = False
        self._lines = 0
        self._opened_at = self._heard_at = shop.time.now
        self._frame_since = self._order_since = 0.0
        self.ending = shop.ending
        """Why the connection is to end: said after everything that was accepted is answered."""

    def serve(self) -> None:
        """Serve the client until one of both ends it. Raises nothing that a client can cause."""
        try:
            self._converse()
            self._say_goodbye()
        except (ConnectionLost, OSError):
            log.debug("connection lost")
        finally:
            self._outbox.close()
            self._socket.close()

    # Called by others. Nothing here waits or raises.

    def end(self, refused: Refused) -> None:
        """End the connection, once what was accepted is answered, with this error."""
        if self.ending is None:
            self.ending = refused
            self._shutdown(socket.SHUT_RD)  # wakes a greenlet that waits for the client
            self._wake()

    def abort(self, refused: Refused) -> None:
        """End it with this error although orders are not answered: their outcome is unknown."""
        self._unanswered = 0
        self.end(refused)

    def cut_off(self) -> None:
        """End it at once, without a word."""
        self._outbox.lose()
        self._shutdown(socket.SHUT_RDWR)

    def collect(self, outcome: Outcome) -> bool:
        """Take an order's outcome; see inventory.Customer."""
        if isinstance(outcome, Accepted):
            answer = messages.encode_accepted(outcome)
        else:
            answer = messages.encode_refusal(outcome)
        self._unanswered -= 1
        self._collected.append(answer)
        return len(self._collected) == 1

    def flush(self) -> None:
        """Send what was collected; see inventory.Customer."""
        answers, self._collected = self._collected, []
        self._outbox.send(b"".join(answers))
        self._heard_at = self._shop.time.now
        self._wake()

    def overdue(self, now: float) -> str | None:
        """Tell what the client has been silent about for too long, if anything."""
        limits = self._shop.limits
        if self._busy or self._unanswered or self.ending:
            return None
        if self._session.user is None and now - self._opened_at > limits.login_seconds:
            return f"no login within {limits.login_seconds:g} s"
        if self._frame_since and now - self._frame_since > limits.frame_seconds:
            return f"the rest of the frame did not come within {limits.frame_seconds:g} s"
        if self._order_since and now - self._order_since > limits.order_seconds:
            return f"the rest of the order did not come within {limits.order_seconds:g} s"
        if now - self._heard_at > limits.idle_seconds:
            return f"nothing came for {limits.idle_seconds:g} s"
        return None

    def unread_for(self, now: float) -> float:
        """Return for how many seconds the client has not taken anything that waits for it."""
        return now - self._outbox.unread_since if self._outbox.unread_since else 0.0

    def _wake(self) -> None:
        if self._gate is not None:
            self._gate.set()

    def _shutdown(self, how: int) -> None:
        with suppress(OSError):  # it is closed or reset already
            self._socket.shutdown(how)

    # In the connection's own greenlet.

    def _converse(self) -> None:
        while not self.ending:
            received = self._receive()
            if not received:
                return
            for line in self._framer.feed(received):
                self._handle(line)
                if self.ending:
                    return
            self._note_progress()

    def _receive(self) -> bytes:
        """Wait for the client; nothing means that it sends no more, or is to be sent away."""
        try:
            return self._socket.recv(RECEIVE_BYTES)
        except OSError:
            if self.ending:  # gevent's shutdown has ended the wait
                return b""
            raise

    def _note_progress(self) -> None:
        """Note what the client is in the middle of, for the reaper."""
        now = self._heard_at = self._shop.time.now
        if self._framer.too_long:
            message = f"a frame has at most {FRAME_BYTES_MAX} bytes, with its LF"
            self.ending = Refused(Reason.FRAME_TOO_LONG, message, closes=True)
        self._frame_since = (self._frame_since or now) if self._framer.partial else 0.0
        self._order_since = (self._order_since or now) if self._session.gathers_order else 0.0

    def _handle(self, line: bytes) -> None:
        self._lines += 1
        if self._lines % LINES_BEFORE_OTHERS == 0:
            gevent.sleep(0)
        step = self._session.receive(line)
        if isinstance(step, Order):
            self._place(step)
        elif step is not None:
            self._wait_until(self._all_answered)
            self._answer(self._replies(step))

    def _place(self, order: Order) -> None:
        if self._unanswered >= self._shop.limits.pipelined_orders_max:
            self._wait_until(self._may_place)
        self._unanswered += 1
        if not self._shop.inventory.place(order, self):
            self._unanswered -= 1
            self._wait_until(self._all_answered)
            self._answer([_busy("orders wait")])

    def _answer(self, replies: Iterable[bytes]) -> None:
        """Send answers, each once the client has taken those before: back-pressure."""
        self._busy = True
        try:
            for reply in replies:
                self._wait_until(self._all_taken)
                self._outbox.send(reply)
        except StorageFailed as failure:
            log.error(  # noqa: TRY400 - the problem is told, its traceback is not needed
                "a read failed", extra={"facts": {"problem": str(failure)}}
            )
            message = "the store could not be read"
            self.ending = Refused(Reason.STORAGE_FAILED, message, closes=True)
        finally:
            self._busy = False
            self._heard_at = self._shop.time.now

    def _replies(
        self, step: Credentials | ProductsWanted | OrdersWanted | Refused
    ) -> Iterable[bytes]:
        match step:
            case ProductsWanted():
                snapshot = self._shop.store.products.snapshot()
                return self._shop.product_pages.pages(snapshot, step.sold_out)
            case OrdersWanted():
                assert self._session.user is not None  # noqa: S101 - the session says so
                return self._history(self._session.user, step)
            case Credentials():
                return self._login(step)
            case Refused():
                return self._refusal(step)

    def _login(self, credentials: Credentials) -> Iterator[bytes]:
        logins = self._shop.logins
        try:
            if isinstance(credentials.token, str):
                user = logins.by_token(credentials.token)
            else:
                assert isinstance(credentials.user, str)  # noqa: S101 - messages.py says so
                assert isinstance(credentials.password, str)  # noqa: S101
                user = logins.by_password(credentials.user, credentials.password)
        except TooManyLogins:
            yield _busy("logins wait")
            return
        if user is None:
            yield from self._refusal(self._session.refuse_login())
            return
        self._session.welcome(user)
        yield messages.encode_welcome(user.name, logins.issue_token(user))

    def _history(self, user: User, wanted: OrdersWanted) -> Iterator[bytes]:
        orders = self._shop.store.orders
        before = wanted.before if isinstance(wanted.before, int) else None
        limit = wanted.limit if isinstance(wanted.limit, int) else None
        writer = ListWriter(Code.ORDERS_LIST, "orders", orders.count())
        for page in orders.history(user, before, limit):
            yield from writer.add(messages.encode_order_entries(page))
            gevent.sleep(0)
        yield writer.end()

    def _refusal(self, refused: Refused) -> Iterable[bytes]:
        """Answer with an error; one that closes is said last, by _say_goodbye."""
        if refused.closes:
            self.ending = refused
            return ()
        return (messages.encode_error(refused.reason, refused.message, refused.facts),)

    def _say_goodbye(self) -> None:
        """Answer what was accepted, tell why the connection ends, and close without a reset."""
        self._wait_until(self._all_answered)
        if self.ending is None:
            self._wait_until(self._all_taken)
            return
        refused = self.ending
        self._outbox.send(messages.encode_error(refused.reason, refused.message, refused.facts))
        self._wait_until(self._all_taken)
        self._socket.shutdown(socket.SHUT_WR)
        read_until_end(self._socket, LINGER_SECONDS)

    def _wait_until(self, ready: Callable[[], bool]) -> None:
        """Wait; raises ConnectionLost when there is nobody to wait for."""
        while not ready():
            if self._outbox.lost:
                raise ConnectionLost
            self._gate = Event()
            self._gate.wait()
            self._gate = None
        if self._outbox.lost:
            raise ConnectionLost

    def _all_answered(self) -> bool:
        return self._unanswered == 0

    def _may_place(self) -> bool:
        return self._unanswered < self._shop.limits.pipelined_orders_max

    def _all_taken(self) -> bool:
        return self._outbox.empty


def read_until_end(connected: socket.socket, seconds_max: float) -> None:
    """Wait for the client to close: to close on what it still sends would reset what it reads."""
    with gevent.Timeout(seconds_max) as deadline:
        try:
            while connected.recv(RECEIVE_BYTES):
                pass
        except gevent.Timeout as timeout:
            if timeout is not deadline:
                raise


def _busy(what: str) -> bytes:
    return messages.encode_error(Reason.BUSY, f"more {what} than the shop accepts: try again")
