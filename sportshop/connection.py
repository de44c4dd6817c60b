"""A connection: one client, bytes in, answers out in the order of the requests.

It does what session.py says is to be done. An order it only hands to the inventory, and listens
on: the committer sends the answer itself. So an order waits for nothing here, and is taken in the
hub, by the watcher that saw it come: no greenlet is switched to for it, and a client that is idle
costs no stack. What has to wait (a login, a long list, whatever is asked behind an order that is
not answered yet) goes on in a greenlet of its own, and until that has ended the client is not
listened to.
"""

import logging
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress

import gevent
from gevent.event import Event
from msgspec import UNSET

from sportshop import messages
from sportshop.framing import Framer
from sportshop.logins import TooManyLogins
from sportshop.messages import (
    FRAME_BYTES_MAX,
    LIST_ENTRIES_MAX,
    PAUSE,
    Code,
    Credentials,
    ListWriter,
    OrdersWanted,
    ProductsWanted,
    Reason,
)
from sportshop.orders import Accepted, Order, Outcome
from sportshop.outbox import Outbox
from sportshop.session import Refused, Session, Step
from sportshop.shop import SHUTTING_DOWN, Shop
from sportshop.sockets import (
    HUNG_UP,
    RECEIVE_BYTES,
    RESET,
    SHORTEST_SLEEP_SECONDS,
    read_until_end,
    shows,
)
from sportshop.storage.interface import StorageFailed
from sportshop.users import User

READABLE = 1  # libev's EV_READ
# For as long one connection keeps the hub, then everybody else has a turn, whatever it asks for.
TURN_SECONDS = 0.00025
LINGER_SECONDS = 2.0  # after an error that closes: closing at once could reset it off the wire

log = logging.getLogger(__name__)


class ConnectionLost(Exception):
    """The client is gone or was cut off: there is nobody left to answer."""


class Connection:
    """One client. While it waits for the client it has no greenlet, only a watcher."""

    __slots__ = (
        "_basket_items",
        "_closed",
        "_collected",
        "_frame_since",
        "_framer",
        "_gate",
        "_greenlet",
        "_heard_at",
        "_in_doubt",
        "_opened_at",
        "_order_since",
        "_outbox",
        "_readable",
        "_session",
        "_shop",
        "_socket",
        "_turn_ends",
        "_unanswered",
        "ending",
    )

    def __init__(
        self, connected: socket.socket, shop: Shop, closed: "Callable[[Connection], None]"
    ) -> None:
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = connected
        self._shop = shop
        self._closed = closed
        self._session = Session()
        self._framer = Framer()
        self._outbox = Outbox(connected.fileno(), shop.unread, shop.time, self._outbox_changed)
        self._collected: list[bytes] = []
        self._unanswered = 0  # orders that were placed
        self._basket_items = 0  # of orders of several items, since all were answered
        self._turn_ends = 0.0
        self._in_doubt = False
        self._gate: Event | None = None
        self._greenlet = False
        self._opened_at = self._heard_at = shop.time.now
        self._frame_since = self._order_since = 0.0
        self.ending: Refused | None = None
        """Why the connection is to end: said after everything that was accepted is answered."""
        self._readable = gevent.get_hub().loop.io(connected.fileno(), READABLE)
        self._readable.start(self._receive)

    # Called by others. Nothing here waits or raises.

    def end(self, refused: Refused) -> None:
        """End the connection, once what was accepted is answered, with this error."""
        if self.ending is None:
            self.ending = refused
            if self._greenlet:
                self._wake()
            else:
                self._go_on_in_greenlet(None, [], ended=True)

    def abort(self, refused: Refused) -> None:
        """End it with this error in place of the answers that are due: nobody knows them."""
        self._in_doubt = True
        self._unanswered = 0
        if self.ending:
            self.ending = refused
            self._wake()
        else:
            self.end(refused)

    def cut_off(self) -> None:
        """End it at once, without a word."""
        self._outbox.lose()

    def collect(self, outcome: Outcome) -> bool:
        """Take an order's outcome; see inventory.Customer."""
        try:
            if isinstance(outcome, Accepted):
                answer = messages.encode_accepted(outcome)
            else:
                answer = messages.encode_refusal(outcome)
        except Exception:
            log.exception("an answer could not be written")
            self.cut_off()  # the order is what it is: its key settles it
            answer = b""
        self._unanswered -= 1
        self._collected.append(answer)
        return len(self._collected) == 1

    def flush(self) -> None:
        """Send what was collected; see inventory.Customer."""
        answers, self._collected = self._collected, []
        self._outbox.send(b"".join(answers))
        self._heard_at = self._shop.time.now
        if not self._unanswered:
            self._basket_items = 0
        if self._gate is not None:
            self._gate.set()

    def overdue(self, now: float) -> str | None:
        """Tell what the client has been silent about for too long, if anything."""
        limits = self._shop.limits
        if self._greenlet or self._unanswered or self.ending:
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
        if self._outbox.empty:
            return 0.0
        self._outbox.note_progress()
        return now - self._outbox.unread_since

    def _has_hung_up(self) -> bool:
        """Tell whether the client sends no more, and waits for its last answers if it still reads.

        Raises ConnectionLost if it does not.
        """
        if self._outbox.lost or shows(self._socket.fileno(), RESET):
            raise ConnectionLost
        return shows(self._socket.fileno(), HUNG_UP)

    def _wake(self) -> None:
        if self._gate is not None:
            self._gate.set()

    def _outbox_changed(self) -> None:
        if self._outbox.lost:
            self._shutdown(socket.SHUT_RDWR)  # wakes whoever waits to read
        self._wake()

    def _shutdown(self, how: int) -> None:
        with suppress(OSError):  # it is closed or reset already
            self._socket.shutdown(how)

    # In the hub, when the client has sent something. Nothing here waits or raises.

    def _receive(self) -> None:
        try:
            received = self._socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self._outbox.lose()
            received = b""
        try:
            self._take(received)
        except Exception:
            log.exception("a connection failed by a fault of ours")
            self._close()

    def _take(self, received: bytes) -> None:
        lines = self._framer.feed(received)
        if lines:
            self._frame_since = self._turn_ends = 0.0
        for number, line in enumerate(lines, 1):
            step = self._session.receive(line)
            if not (self._place(step) if isinstance(step, Order) else self._done_at_once(step)):
                self._go_on_in_greenlet(step, lines[number:])
                return
        self._note_progress()
        if self.ending or not received:
            self._go_on_in_greenlet(None, [], ended=True)

    def _done_at_once(self, step: Step) -> bool:
        """Do what can be done without waiting: take an item, answer in one message."""
        if step is None:
            return True
        if self._unanswered or not self._outbox.empty or self._turn_is_over():
            return False
        answer = self._short_list(step)
        if answer:
            self._outbox.send(answer)
        return bool(answer)

    def _short_list(self, step: Step) -> bytes:
        """Return a list that is one message and is looked up within the turn; else nothing."""
        if isinstance(step, OrdersWanted):
            if step.limit is UNSET or step.limit > LIST_ENTRIES_MAX:
                return b""
        elif not isinstance(step, ProductsWanted):
            return b""
        answer = b""
        with suppress(StorageFailed):  # then it is tried again where that can be answered
            for message in self._replies(step):
                if answer or (message is PAUSE and self._turn_is_over()):
                    return b""
                answer = message
        return answer

    def _turn_is_over(self) -> bool:
        """Tell whether the client's requests have kept the hub for as long as they may."""
        now = time.perf_counter()
        if not self._turn_ends:
            self._turn_ends = now + TURN_SECONDS
        return now > self._turn_ends

    def _place(self, order: Order) -> bool:
        self._order_since = 0.0
        if not self._may_place():
            return False
        placed = self._shop.inventory.place(order, self)
        self._unanswered += placed
        if placed and len(order.items) > 1:
            self._basket_items += len(order.items)
        return placed

    def _may_place(self) -> bool:
        """Tell whether an order more of this client may wait, and its answer be kept for it."""
        limits = self._shop.limits
        return (
            self._unanswered < limits.pipelined_orders_max
            and self._basket_items < limits.pipelined_items_max
            and (self._outbox.empty or self._may_keep_more())
        )

    def _may_keep_more(self) -> bool:
        limits, shop = self._shop.limits, self._shop
        few = self._outbox.backlog_bytes < limits.unread_bytes_max
        return few and shop.unread.bytes < limits.unread_total_bytes_max

    def _go_on_in_greenlet(self, step: Step, lines: Sequence[bytes], ended: bool = False) -> None:
        self._readable.stop()
        self._greenlet = True
        gevent.spawn_raw(self._serve, step, lines, ended)

    # In a greenlet, while something has to be waited for.

    def _serve(self, step: Step, lines: Sequence[bytes], ended: bool) -> None:
        """Do what was asked last, and what was received behind it; then listen again, or end."""
        try:
            self._let_others_in_when_due()
            self._handle(step)
            for line in lines:
                if self.ending:
                    break
                self._let_others_in_when_due()
                self._handle(self._session.receive(line))
            self._note_progress()
            if not self.ending and not ended:
                self._greenlet = False
                self._readable.start(self._receive)
                return
            self._say_goodbye()
        except (ConnectionLost, OSError):
            log.debug("connection lost")
        except Exception:
            log.exception("a connection failed by a fault of ours")
        self._close()

    def _let_others_in_when_due(self) -> None:
        """Let everybody else have a turn after this one's; nothing is done for who is gone."""
        if self._turn_is_over():
            gevent.sleep(SHORTEST_SLEEP_SECONDS)
            self._turn_ends = 0.0
            if shows(self._socket.fileno(), RESET):
                raise ConnectionLost

    def _close(self) -> None:
        self._outbox.close()
        self._readable.stop()
        self._readable.close()
        self._socket.close()
        self._closed(self)

    def _handle(self, step: Step) -> None:
        if isinstance(step, Order):
            self._wait_until(self._may_place)
            if self._place(step):
                return
            if self._shop.inventory.failure:
                self.ending = self.ending or SHUTTING_DOWN
                return
            step = Refused(Reason.BUSY, "more orders wait than the shop accepts: try again")
        if step is not None:
            self._wait_until(self._all_answered)
            if not self._in_doubt:  # else nothing behind the orders that are may be answered
                self._answer(self._replies(step))

    def _note_progress(self) -> None:
        """Note what the client is in the middle of, for the reaper."""
        now = self._heard_at = self._shop.time.now
        framer = self._framer
        if not (framer.partial or framer.too_long or self._session.gathers_order):  # nearly always
            self._frame_since = self._order_since = 0.0
            return
        if framer.too_long:
            message = f"a frame has at most {FRAME_BYTES_MAX} bytes, with its LF"
            self.ending = self.ending or Refused(Reason.FRAME_TOO_LONG, message, closes=True)
        self._frame_since = (self._frame_since or now) if framer.partial else 0.0
        self._order_since = (self._order_since or now) if self._session.gathers_order else 0.0

    def _answer(self, replies: Iterable[bytes]) -> None:
        """Send answers, each once the client has taken those before: back-pressure."""
        try:
            for reply in replies:
                if reply is PAUSE:
                    self._let_others_in_when_due()
                self._wait_until(self._all_taken)
                if reply:
                    self._outbox.send(reply)
        except StorageFailed as failure:
            log.error(  # noqa: TRY400 - the problem is told, its traceback is not needed
                "a read failed", extra={"facts": {"problem": str(failure)}}
            )
            message = "the store could not be read"
            self.ending = Refused(Reason.STORAGE_FAILED, message, closes=True)

    def _replies(
        self, step: Credentials | ProductsWanted | OrdersWanted | Refused
    ) -> Iterable[bytes]:
        match step:
            case ProductsWanted():
                return self._product_pages(step)
            case OrdersWanted():
                assert self._session.user is not None  # noqa: S101 - the session says so
                return self._history(self._session.user, step)
            case Credentials():
                return self._login(step)
            case Refused():
                return self._refusal(step)

    def _product_pages(self, wanted: ProductsWanted) -> Iterable[bytes]:
        snapshot = self._shop.store.products.snapshot()
        return self._shop.product_pages.pages(snapshot, wanted.sold_out)

    def _login(self, credentials: Credentials) -> Iterator[bytes]:
        logins = self._shop.logins
        try:
            if isinstance(credentials.token, str):
                user = logins.by_token(credentials.token)
            else:
                assert isinstance(credentials.user, str)  # noqa: S101 - messages.py says so
                assert isinstance(credentials.password, str)  # noqa: S101
                user = logins.by_password(credentials.user, credentials.password, self._has_hung_up)
        except TooManyLogins:
            message = "more logins wait than the shop has room for: try again"
            yield messages.encode_error(Reason.BUSY, message)
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
            yield from writer.add(self._shop.order_entries.entries(page))
            yield PAUSE
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
        read_until_end(self._socket, LINGER_SECONDS, or_taken=self._shop.draining)

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

    def _all_taken(self) -> bool:
        return self._outbox.empty
