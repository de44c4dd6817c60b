"""The server: listens, makes a connection of every client, and drains at the end.

On SIGTERM or SIGINT: no new client is accepted, what was accepted is answered, everyone is told
SHUTTING_DOWN, and `run` returns within the drain's deadline. A second signal ends at once.
"""

import gc
import logging
import os
import resource
import signal
import socket
import time
from collections.abc import Sequence

import gevent
from gevent import socket as gevent_socket
from gevent.event import Event
from gevent.server import StreamServer

from sportshop import messages
from sportshop.connection import Connection, read_until_end
from sportshop.inventory import Customer, Inventory
from sportshop.logins import Logins
from sportshop.messages import TOKEN_HOURS, Reason
from sportshop.session import Refused
from sportshop.settings import Limits
from sportshop.shop import SHUTTING_DOWN, CoarseTime, Shop
from sportshop.storage.interface import StorageFailed, Store
from sportshop.tokens import Tokens

LISTEN_BACKLOG = 4096  # a flash sale's clients come at once; the kernel caps it at somaxconn
DESCRIPTORS_RESERVED = 100  # files, the store, and room to tell clients BUSY
LINGERING_REFUSALS_MAX = 64
TICK_SECONDS_MAX = 1.0
ALLOCATIONS_BEFORE_COLLECTION = 100_000
SIGNALS = (signal.SIGTERM, signal.SIGINT)

IN_DOUBT = Refused(
    Reason.STORAGE_FAILED,
    "the order's outcome is unknown until it is asked again with its orderKey",
    closes=True,
)

log = logging.getLogger(__name__)


class CannotListen(Exception):
    """The address can't be listened on; the text says which and why."""


class Server:
    """A shop on a socket. Not started before `start`."""

    def __init__(self, store: Store, host: str, port: int, limits: Limits) -> None:
        self._limits = limits
        self._wanted = f"{host}:{port}"
        self._connections_max = _raise_descriptor_limit(limits.connections_max)
        self._connections: set[Connection] = set()
        self._lingering = 0
        self._stop = Event()
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
                _now_ms,
                limits.waiting_orders_max,
                limits.batch_orders_max,
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
        """Listen, and drain on SIGTERM and SIGINT from now on. Raises CannotListen."""
        try:
            self._listener.start()
        except OSError as problem:
            raise CannotListen(f"cannot listen on {self._wanted}: {_what(problem)}") from None
        for number in SIGNALS:
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
        if self._stop.is_set():
            os._exit(1)  # the operator insists; what is acknowledged is durable
        log.info("stopping", extra={"facts": {"connections": len(self._connections)}})
        self._stop.set()

    def _accept(self, accepted: gevent_socket.socket, _address: object) -> None:
        """Make a connection of a client; called by the listener in the hub."""
        connected = socket.socket(fileno=accepted.detach())  # we wait for it ourselves
        connected.setblocking(False)
        if len(self._connections) >= self._connections_max:
            self._shop.tally.refused += 1
            gevent.spawn_raw(self._refuse, connected)
            return
        self._shop.tally.accepted += 1
        self._connections.add(Connection(connected, self._shop, self._connections.discard))

    def _refuse(self, connected: socket.socket) -> None:
        """Tell a client too many BUSY, and see that it arrives if there is room to wait for it."""
        busy = messages.encode_error(Reason.BUSY, "more connections than the shop accepts")
        self._lingering += 1
        try:
            connected.send(busy)
            connected.shutdown(socket.SHUT_WR)
            if self._lingering <= LINGERING_REFUSALS_MAX:
                read_until_end(connected, 1)
        except OSError:
            pass  # it did not wait for the answer
        finally:
            self._lingering -= 1
            connected.close()

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
            self._reap(self._shop.time.now)

    def _reap(self, now: float) -> None:
        for connection in list(self._connections):
            if connection.unread_for(now) > self._limits.unread_seconds:
                self._shop.tally.cut_off += 1
                connection.cut_off()
            elif overdue := connection.overdue(now):
                self._shop.tally.timed_out += 1
                connection.end(Refused(Reason.TIMED_OUT, overdue, closes=True))

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
        for connection in list(self._connections):
            connection.end(SHUTTING_DOWN)
        settled = self._shop.inventory.settle(_left(deadline))
        while self._connections and _left(deadline) > 0:
            gevent.sleep(0.01)
        for connection in list(self._connections):
            self._shop.tally.cut_off += 1
            connection.cut_off()
        log.info("stopped", extra={"facts": {"settled": settled, **vars(self._shop.tally)}})
        if not settled:
            log.critical("the store did not answer within the drain's deadline")
            os._exit(1)  # a thread hangs in the disk: it can't be waited for
        self._shop.inventory.close()
        self._shop.logins.close()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _left(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())


def _what(problem: OSError) -> str:
    return problem.strerror.partition(": ")[0] if problem.strerror else str(problem)


def _raise_descriptor_limit(connections_max: int) -> int:
    """Raise the soft limit as far as needed; return how many connections it leaves room for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections_max + DESCRIPTORS_RESERVED
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    possible = connections_max if soft == resource.RLIM_INFINITY else soft - DESCRIPTORS_RESERVED
    if possible < connections_max:
        facts = {"connections_max": possible, "asked": connections_max, "descriptors": soft}
        log.warning("fewer connections than asked for", extra={"facts": facts})
    return min(connections_max, possible)


def _tame_garbage_collection() -> None:
    """Leave what the start made out of every collection, and collect seldom.

    A full collection walks every connection; nothing on the hot path makes cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(ALLOCATIONS_BEFORE_COLLECTION, 50, 100)
