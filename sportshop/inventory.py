"""The inventory: group commit, the heart of the shop.

One order alone costs one wait for the disk, with everyone else waiting behind it. So orders that
arrive together commit together: a single committer takes all that wait, holds the Semaphore that
guards the stock, decides them one after another in order of arrival, makes them durable in one
transaction, and then, not before, hands out the outcomes. Meanwhile the next batch gathers.

An order that can't be served never fails its batch. What is known not to have been done (the store
is full, or somebody else has it) is told so, and the shop goes on. A commit that fails acknowledges
nothing and ends the inventory for good: after a failed fsync nobody knows what the disk holds.

Writes take the Semaphore; reads (`store.products.snapshot()`) take none.
Knows no connection: who places an order is a Customer, and takes the outcome.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from typing import Protocol

import gevent
import msgspec
from gevent.event import Event
from gevent.lock import Semaphore

from sportshop.disk import Disk
from sportshop.messages import FRAME_BYTES_MAX, receipt_bytes_max
from sportshop.orders import (
    Decisions,
    KeyOfUser,
    NotNow,
    Order,
    Outcome,
    Receipt,
    by_own_names,
    decide,
    decide_without_selling,
)
from sportshop.products import Product
from sportshop.storage.interface import (
    StorageFailed,
    Store,
    StoreBusy,
    StoreFull,
    Transaction,
)

BUSY_STORE_PAUSE_SECONDS = 0.005  # while another process adds users to the SQLite file
BUSY_STORE_SECONDS_MAX = 2.0  # longer than that takes: somebody has locked the store and left
LOCKED = "another program has locked the store"
FULL = "the store has no room"
UNREADABLE = "the shop cannot decide this order now"

log = logging.getLogger(__name__)


class Customer(Protocol):
    """Who placed an order. Called by the committer: may neither wait nor raise."""

    def collect(self, outcome: Outcome) -> bool:
        """Take the outcome of the order placed first of those that wait.

        True if this batch had none for this customer before.
        """

    def flush(self) -> None:
        """Send what was collected from a batch, at once."""


class Bounds(msgspec.Struct, frozen=True):
    """How much may wait, and how much is committed at once; see settings.py."""

    waiting_orders: int = 20_000
    waiting_items: int = 200_000
    batch_orders: int = 4_000
    batch_items: int = 4_000


class LedgerTime:
    """The ledger's time: the clock's, but it never goes back and never stands still.

    `newest_ms` is the newest entry's time and `clock_ms` the clock's, in milliseconds since 1970;
    `steady_s` returns seconds that only go forward. Where the clock was set back, time goes on from
    the latest that it has shown.
    """

    def __init__(
        self, newest_ms: int, clock_ms: Callable[[], int], steady_s: Callable[[], float]
    ) -> None:
        self._clock_ms = clock_ms
        self._steady_s = steady_s
        self._latest_ms, self._at_s = newest_ms, steady_s()

    def now_ms(self) -> int:
        """Return milliseconds since 1970."""
        clock_ms, steady_s = self._clock_ms(), self._steady_s()
        at_least_ms = self._latest_ms + int((steady_s - self._at_s) * 1000)
        if clock_ms < at_least_ms:
            return at_least_ms
        self._latest_ms, self._at_s = clock_ms, steady_s
        return clock_ms


class Undecided(Exception):
    """A batch could not be decided, and nothing was written; the cause says why."""


class Facts(msgspec.Struct):
    """What a batch is decided from, as it is in its transaction."""

    products: Mapping[str, Product]
    earlier: Mapping[KeyOfUser, Receipt]
    taken: int


class Inventory:
    """Takes orders and hands out their outcomes once they are durable.

    `fail` is called once, with the customers whose orders are in doubt after a commit failed; it
    may neither wait nor raise. `now_ms` tells the ledger's time, see LedgerTime.
    """

    def __init__(
        self,
        store: Store,
        fail: Callable[[Sequence[Customer], StorageFailed], None],
        now_ms: Callable[[], int],
        bounds: Bounds,
    ) -> None:
        self._store = store
        self._fail = fail
        self._now_ms = now_ms
        self._bounds = bounds
        self._orders: list[Order] = []
        self._customers: list[Customer] = []
        self._items = 0  # of the orders that wait
        self._arrived = Event()
        self._settled = Event()
        self._settled.set()
        self._stock_guard: AbstractContextManager[object] = Semaphore()
        self._disk = Disk()
        self._committer: gevent.Greenlet[..., None] | None = None
        self._lost: StorageFailed | None = None
        self._trouble: str | None = None
        self.failure: StorageFailed | None = None

    def start(self) -> None:
        """Start the committer."""
        self._committer = gevent.spawn(self._commit_forever)

    def place(self, order: Order, customer: Customer) -> bool:
        """Take an order; the customer gets its outcome. False if too many wait. Never waits."""
        orders, items = self._orders, self._items + len(order.items)
        if not orders:
            if self.failure:
                return False
            self._settled.clear()
            self._arrived.set()
        elif len(orders) >= self._bounds.waiting_orders or items > self._bounds.waiting_items:
            return False
        self._items = items
        orders.append(order)
        self._customers.append(customer)
        return True

    def lose(self, lost: StorageFailed) -> None:
        """End as after a failed commit, at the next batch: the store was taken away."""
        if self._lost or self.failure:  # it is looked for again and again
            return
        self._lost = lost
        self._settled.clear()
        self._arrived.set()

    def settle(self, timeout_s: float | None = None) -> bool:
        """Wait until every order that was placed is answered; False if that took too long."""
        return bool(self._settled.wait(timeout_s))

    def close(self) -> None:
        """Stop the committer, which must have nothing to do."""
        if self._committer is not None:
            self._committer.kill()
        self._disk.close()

    def _commit_forever(self) -> None:
        while True:
            if not self._orders and self._lost is None:
                self._arrived.clear()
                self._settled.set()
                self._arrived.wait()
            orders, customers = self._next_batch()
            if self._lost:
                self._give_up(customers, self._lost)
                return
            try:
                hand_out(customers, self._outcomes(orders))
            except Exception as problem:  # whatever it is, these are in doubt
                self._give_up(customers, problem)
                return

    def _next_batch(self) -> tuple[list[Order], list[Customer]]:
        """Take what waits, in order of arrival."""
        size = self._batch_size()
        orders, self._orders = self._orders[:size], self._orders[size:]
        customers, self._customers = self._customers[:size], self._customers[size:]
        self._items = sum(len(order.items) for order in self._orders) if self._orders else 0
        return orders, customers

    def _batch_size(self) -> int:
        """Return how many of the orders that wait are one batch: it is bounded in items, too."""
        bounds = self._bounds
        if self._items <= bounds.batch_items:
            return bounds.batch_orders
        items = 0
        for size, order in enumerate(islice(self._orders, bounds.batch_orders)):
            items += len(order.items)
            if size and items > bounds.batch_items:
                return size
        return bounds.batch_orders

    def _outcomes(self, orders: Sequence[Order]) -> list[Outcome]:
        """Commit a batch. One that can't be decided is halved until the order is found that harms.

        So it harms nobody but its customer: nothing of it was written.
        """
        try:
            return self.commit(orders)
        except Undecided as undecided:
            if len(orders) > 1:
                half = len(orders) // 2
                return self._outcomes(orders[:half]) + self._outcomes(orders[half:])
            log.error(  # noqa: TRY400 - only a fault of ours brings its traceback
                "an order could not be decided",
                exc_info=None if isinstance(undecided.__cause__, StorageFailed) else undecided,
                extra={"facts": {"problem": str(undecided)}},
            )
            return [NotNow(UNREADABLE)]

    def commit(self, orders: Sequence[Order]) -> list[Outcome]:
        """Decide a batch and return the outcomes when they are durable.

        Raises Undecided if nothing was written. Raises StorageFailed, or whatever else the store
        raised: the batch is in doubt then.
        """
        with self._stock_guard:
            transaction = self._begin()
            if transaction is None:
                return [NotNow(self._trouble or LOCKED)] * len(orders)
            try:
                orders, facts, decisions = self._decide(orders, transaction)
                if decisions.receipts:
                    self._make_durable(transaction, decisions)
                    self._note_trouble(None)
            except (StoreFull, StoreBusy) as problem:  # it is certain that nothing was kept
                why = self._note_trouble(
                    FULL if isinstance(problem, StoreFull) else LOCKED, str(problem)
                )
                return decide_without_selling(
                    orders, facts.products, facts.earlier, facts.taken, why
                )
            finally:
                transaction.rollback()
        return decisions.outcomes

    def _decide(
        self, asked: Sequence[Order], transaction: Transaction
    ) -> tuple[Sequence[Order], Facts, Decisions]:
        """Return the orders by the products' own names, what decided them, and what became of them.

        Raises Undecided.
        """
        try:
            names = {item.product_name for order in asked for item in order.items}
            keys = [(order.user, order.key) for order in asked if order.key is not None]
            orders, products = by_own_names(asked, transaction.products(names), _receipt_fits)
            facts = Facts(products, transaction.receipts(keys) if keys else {}, transaction.taken)
            decisions = decide(orders, facts.products, facts.earlier, facts.taken, self._now_ms())
        except Exception as problem:
            raise Undecided(f"{type(problem).__name__}: {problem}") from problem
        return orders, facts, decisions

    def _make_durable(self, transaction: Transaction, decisions: Decisions) -> None:
        if self._lost:
            raise self._lost
        transaction.write(decisions)
        self._disk.wait_for(transaction.commit)
        if self._lost:  # it went where nobody will find it
            raise self._lost
        transaction.publish()

    def _begin(self) -> Transaction | None:
        """Start a transaction, once whoever else writes to the store for a moment has finished.

        None if that takes too long: then the next batch does not wait for it again.
        """
        deadline = time.monotonic() + (0 if self._trouble == LOCKED else BUSY_STORE_SECONDS_MAX)
        while True:
            try:
                transaction = self._store.begin()
            except StoreFull as full:
                self._note_trouble(FULL, str(full))
                return None
            except StoreBusy:
                if time.monotonic() >= deadline:
                    self._note_trouble(LOCKED)
                    return None
                gevent.sleep(BUSY_STORE_PAUSE_SECONDS)
            else:
                if self._trouble == LOCKED:
                    self._note_trouble(None)
                return transaction

    def _note_trouble(self, trouble: str | None, problem: str = "") -> str:
        """Log that orders are told BUSY from now on, or are taken again: once each."""
        if trouble != self._trouble:
            self._trouble = trouble
            if trouble is None:
                log.info("orders are taken again")
            else:
                facts = {"why": trouble} | ({"problem": problem} if problem else {})
                log.warning("new orders are told BUSY", extra={"facts": facts})
        return trouble or ""

    def _give_up(self, customers: list[Customer], problem: Exception) -> None:
        failure = problem if isinstance(problem, StorageFailed) else StorageFailed(str(problem))
        failure.__cause__ = problem
        self.failure = failure
        in_doubt = customers + self._customers
        self._orders, self._customers, self._items = [], [], 0
        self._fail(in_doubt, failure)
        self._settled.set()


def _receipt_fits(product_names: Sequence[str]) -> bool:
    return receipt_bytes_max(product_names) <= FRAME_BYTES_MAX


def hand_out(customers: Sequence[Customer], outcomes: Sequence[Outcome]) -> None:
    """Give each customer its outcomes: one send a customer, however many orders it had."""
    served = [
        customer
        for customer, outcome in zip(customers, outcomes, strict=True)
        if customer.collect(outcome)
    ]
    for customer in served:
        customer.flush()
