"""The server: listens, makes a connection of every client, and drains at the end.

On SIGTERM, SIGINT or SIGHUP: no new client is accepted, what was accepted is answered, everyone is
told SHUTTING_DOWN, and `run` returns within the drain's deadline. A second signal, unless it comes
right behind the first, ends at once.
"""

import gc
import logging
import os
import resource
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import suppress

import gevent
from gevent import socket as gevent_socket
from gevent.event import Event
from gevent.server import StreamServer

from sportshop import messages
from sportshop.connection import Connection
from sportshop.disk import Disk
from sportshop.inventory import Bounds, Customer, Inventory, LedgerTime
from sportshop.logins import Logins
from sportshop.messages import TOKEN_HOURS, Reason
from sportshop.session import Refused
from sportshop.settings import Limits
from sportshop.shop import SHUTTING_DOWN, CoarseTime, Shop
from sportshop.sockets import SHORTEST_SLEEP_SECONDS, read_until_end
from sportshop.storage.interface import StorageFailed, Store
from sportshop.tokens import Tokens

LISTEN_BACKLOG = 4096  # a flash sale's clients come at once; the kernel caps it at somaxconn
DESCRIPTORS_RESERVED = 100  # files, the store, and room to tell clients BUSY
DESCRIPTORS_RESERVED_MIN = 32  # where there are few
DESCRIPTORS_OF_THE_SHOP = 24  # files, the store, the loop
LINGERING_REFUSALS_MAX = 64  # as far as the reserve allows
TICK_SECONDS_MAX = 1.0
ENDED_IN_A_ROW = 20  # connections: some 2 ms, then everybody else has a turn
# `kill -TERM` of make's process group reaches the shop twice: make forwards its own. Somebody who
# insists has waited for a moment.
INSISTENCE_SECONDS = 1.0
CLOSE_SECONDS_MIN = 2.0  # to write out and seal a large store, however short the drain
ALLOCATIONS_BEFORE_COLLECTION = 100_000
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

TOO_MANY_CONNECTIONS = "more connections than the shop accepts"
IN_DOUBT = Refused(
    Reason.STORAGE_FAILED,
    "the order's outcome is unknown until it is asked again with its orderKey",
    closes=True,
)

log = logging.getLogger(__name__)


class CannotListen(Exception):
    """The server can't listen: at this address, or for want of descriptors; the text says why."""


class Server:
    """A shop on a socket. Not started before `start`. Raises CannotListen."""

    def __init__(self, store: Store, host: str, port: int, limits: Limits) -> None:
        self._limits = limits
        self._wanted = f"{host}:{port}"
        self._connections_max, reserved = _raise_descriptor_limit(limits.connections_max)
        self._lingering_max = min(LINGERING_REFUSALS_MAX, reserved - DESCRIPTORS_OF_THE_SHOP)
        self._connections: set[Connection] = set()
        self._lingering = 0
        self._stop = Event()
        self._signalled_at: float | None = None
        self._listener = StreamServer(
            (host, port),
            self._accept,
            backlog=LISTEN_BACKLOG,
            spawn=None,
        )
        self._shop = Shop(
            store,
            Logins(
                store.users,
                Tokens(store.token_key, TOKEN_HOURS * 3600, time.time),
                limits.login_threads,
                limits.waiting_logins_max,
            ),
            limits,
            CoarseTime(time.monotonic()),
            Inventory(
                store,
                self._storage_failed,
                LedgerTime(store.orders.newest_at_ms(), _now_ms, time.monotonic).now_ms,
                Bounds(
                    waiting_orders=limits.waiting_orders_max,
                    waiting_items=limits.waiting_items_max,
                    batch_orders=limits.batch_orders_max,
                    batch_items=limits.batch_items_max,
                ),
            ),
        )

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that are listened on; the port is the one chosen if 0 was asked for."""
        return str(self._listener.server_host), int(self._listener.server_port or 0)

    @property
    def failure(self) -> StorageFailed | None:
        """Why the shop had to stop, if it had to."""
        return self._shop.inventory.failure

    def start(self) -> None:
        """Listen, and drain on a signal from now on. Raises CannotListen."""
        try:
            self._listener.start()
        except OSError as problem:
            raise CannotListen(f"cannot listen on {self._wanted}: {_what(problem)}") from None
        for number in SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup
                gevent.signal_handler(number, self._signalled)
        self._shop.inventory.start()
        gevent.spawn(self._reap_forever)
        _tame_garbage_collection()

    def stop(self) -> None:
        """Ask `run` to drain and return."""
        self._stop.set()

    def run(self) -> None:
        """Serve until `stop` or a signal; then drain. `start` comes first."""
        self._stop.wait()
        self._drain()

    def _signalled(self) -> None:
        now = time.monotonic()
        if self._signalled_at is None:
            self._signalled_at = now
            log.info("stopping", extra={"facts": {"connections": len(self._connections)}})
            self._stop.set()
        elif now - self._signalled_at >= INSISTENCE_SECONDS:
            _end_at_once()  # the operator insists; what is acknowledged is durable

    def _accept(self, accepted: gevent_socket.socket, _address: object) -> None:
        """Make a connection of a client; called by the listener in the hub."""
        connected = socket.socket(fileno=accepted.detach())  # we wait for it ourselves
        connected.setblocking(False)
        if len(self._connections) >= self._connections_max:
            self._shop.tally.connections_refused += 1
            self._refuse(connected)
            return
        self._shop.tally.connections += 1
        self._connections.add(Connection(connected, self._shop, self._connections.discard))

    def _refuse(self, connected: socket.socket) -> None:
        """Tell a client too many BUSY, and see that it arrives if there is room to wait for it."""
        try:
            connected.send(messages.encode_error(Reason.BUSY, TOO_MANY_CONNECTIONS))
            connected.shutdown(socket.SHUT_WR)
        except OSError:  # it did not wait for the answer
            connected.close()
            return
        if self._lingering < self._lingering_max:
            self._lingering += 1
            gevent.spawn_raw(self._linger, connected)
        else:
            connected.close()

    def _linger(self, refused: socket.socket) -> None:
        try:
            with suppress(OSError):
                read_until_end(refused, 1)
        finally:
            self._lingering -= 1
            refused.close()

    def _reap_forever(self) -> None:
        """End what takes too long: one look at everyone a tick, in place of a timer each."""
        limits = self._limits
        shortest = min(
            limits.login_seconds, limits.frame_seconds, limits.order_seconds,
            limits.idle_seconds, limits.unread_seconds,
        )  # fmt: skip
        while True:
            gevent.sleep(min(TICK_SECONDS_MAX, shortest / 4))
            self._shop.time.now = time.monotonic()
            try:
                self._look_after_store()
                self._reap(self._shop.time.now)
            except Exception:
                log.exception("a look at the connections failed by a fault of ours")

    def _look_after_store(self) -> None:
        """Stop selling what nobody will find again: the store's files were removed or replaced."""
        try:
            self._shop.store.check_is_there()
        except StorageFailed as lost:
            self._shop.inventory.lose(lost)

    def _reap(self, now: float) -> None:
        """End who takes too long; however many that are at once, others are served meanwhile."""
        ended = 0
        for connection in list(self._connections):
            if connection in self._connections and self._is_ended(connection, now):
                ended += 1
                if ended % ENDED_IN_A_ROW == 0:
                    gevent.sleep(SHORTEST_SLEEP_SECONDS)

    def _is_ended(self, connection: Connection, now: float) -> bool:
        """End a connection if it has taken too long; tell whether it had."""
        if connection.unread_for(now) > self._limits.unread_seconds:
            self._shop.tally.cut_off += 1
            connection.cut_off()
            return True
        overdue = connection.overdue(now)
        if overdue:
            self._shop.tally.timed_out += 1
            connection.end(Refused(Reason.TIMED_OUT, overdue, closes=True))
        return bool(overdue)

    def _storage_failed(self, in_doubt: Sequence[Customer], failure: StorageFailed) -> None:
        """Stop the shop: called by the inventory, which will commit nothing more."""
        log.critical("the store failed: stopping", extra={"facts": {"problem": str(failure)}})
        doubtful = set(in_doubt)
        for connection in self._connections:
            if connection in doubtful:
                connection.abort(IN_DOUBT)
        self._stop.set()

    def _drain(self) -> None:
        deadline = time.monotonic() + self._limits.drain_seconds
        self._shop.draining = True
        self._listener.close()
        self._shop.logins.refuse_waiting()
        for number, connection in enumerate(list(self._connections), 1):
            connection.end(SHUTTING_DOWN)
            if number % ENDED_IN_A_ROW == 0:
                gevent.sleep(SHORTEST_SLEEP_SECONDS)
        settled = self._shop.inventory.settle(_left(deadline))
        while self._connections and _left(deadline) > 0:
            gevent.sleep(0.01)
        for connection in list(self._connections):
            self._shop.tally.cut_off += 1
            connection.cut_off()
        log.info("stopped", extra={"facts": {"settled": settled, **vars(self._shop.tally)}})
        if not settled:
            log.critical("the store did not answer within the drain's deadline")
            _end_at_once()  # a thread hangs in the disk: it can't be waited for
        self._shop.inventory.close()
        self._shop.logins.close()


def close_store(store: Store, seconds_max: float) -> None:
    """Close a store, which may wait for the disk; signals are heard meanwhile.

    Where that takes too long the process ends: nothing is lost by that, only the next start has
    more to do.
    """
    disk = Disk()
    try:
        with gevent.Timeout(max(seconds_max, CLOSE_SECONDS_MIN)):
            disk.wait_for(store.close)
    except gevent.Timeout:
        log.critical("the store did not close in time")
        _end_at_once()
    disk.close()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _left(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())


def _what(problem: OSError) -> str:
    return problem.strerror.partition(": ")[0] if problem.strerror else str(problem)


def _end_at_once() -> None:
    logging.shutdown()  # what was logged is to be read
    os._exit(1)


def _raise_descriptor_limit(connections_max: int) -> tuple[int, int]:
    """Raise the soft limit as far as needed.

    Return how many connections it leaves room for, and how many descriptors are kept for the rest.
    Raises CannotListen if there is room for none.
    """
    descriptors = _descriptors(connections_max + DESCRIPTORS_RESERVED)
    reserved = max(DESCRIPTORS_RESERVED_MIN, min(DESCRIPTORS_RESERVED, descriptors // 2))
    possible = descriptors - reserved
    if possible >= connections_max:
        return connections_max, reserved
    if possible < 1:
        raise CannotListen(
            f"{descriptors} file descriptors (ulimit -n) leave no room for connections:"
            f" {reserved} are kept for files"
        )
    facts = {"connections_max": possible, "asked": connections_max, "descriptors": descriptors}
    log.warning("fewer connections than asked for", extra={"facts": facts})
    return possible, reserved


def _descriptors(wanted: int) -> int:
    """Return how many descriptors there may be, after asking for so many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    more = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (more, hard))
    except (OSError, ValueError):  # macOS: the kernel's own limit is lower than the hard one
        return soft
    return more


def _tame_garbage_collection() -> None:
    """Leave what the start made out of every collection, and collect seldom.

    A full collection walks every connection; nothing on the hot path makes cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(ALLOCATIONS_BEFORE_COLLECTION, 50, 100)
