"""The inventory: group commit, the heart of the shop.

One order alone costs one wait for the disk, with everyone else waiting behind it. So orders that
arrive together commit together: a single committer takes all that wait, holds the Semaphore that
guards the stock, decides them one after another in order of arrival, makes them durable in one
transaction, and then, not before, hands out the outcomes. Meanwhile the next batch gathers.

An order that can't be served never fails its batch. A commit that fails acknowledges nothing and
ends the inventory for good: after a failed fsync nobody knows what the disk holds.

Writes take the Semaphore; reads (`store.products.snapshot()`) take none.
Knows no connection: who places an order is a Customer, and takes the outcome.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import gevent
from gevent.event import Event
from gevent.lock import Semaphore

from sportshop.disk import Disk
from sportshop.messages import FRAME_BYTES_MAX, receipt_bytes_max
from sportshop.orders import Decisions, Order, Outcome, by_own_names, decide
from sportshop.storage.interface import StorageFailed, Store, StoreBusy, Transaction

BUSY_STORE_PAUSE_SECONDS = 0.005  # while another process adds users to the SQLite file
BUSY_STORE_SECONDS_MAX = 30


class Customer(Protocol):
    """Who placed an order. Called by the committer: may neither wait nor raise."""

    def collect(self, outcome: Outcome) -> bool:
        """Take the outcome of the order placed first of those that wait.

        True if this batch had none for this customer before.
        """

    def flush(self) -> None:
        """Send what was collected from a batch, at once."""


class Inventory:
    """Takes orders and hands out their outcomes once they are durable.

    `fail` is called once, with the customers whose orders are in doubt after a commit failed; it
    may neither wait nor raise. `now_ms` tells milliseconds since 1970.
    """

    def __init__(
        self,
        store: Store,
        fail: Callable[[Sequence[Customer], StorageFailed], None],
        now_ms: Callable[[], int],
        waiting_orders_max: int,
        batch_orders_max: int,
    ) -> None:
        self._store = store
        self._fail = fail
        self._now_ms = now_ms
        self._waiting_orders_max = waiting_orders_max
        self._batch_orders_max = batch_orders_max
        self._orders: list[Order] = []
        self._customers: list[Customer] = []
        self._arrived = Event()
        self._settled = Event()
        self._settled.set()
        self._stock_guard: AbstractContextManager[object] = Semaphore()
        self._disk = Disk()
        self._committer: gevent.Greenlet[..., None] | None = None
        self.failure: StorageFailed | None = None

    def start(self) -> None:
        """Start the committer."""
        self._committer = gevent.spawn(self._commit_forever)

    def place(self, order: Order, customer: Customer) -> bool:
        """Take an order; the customer gets its outcome. False if too many wait. Never waits."""
        if len(self._orders) >= self._waiting_orders_max or self.failure:
            return False
        if not self._orders:
            self._settled.clear()
            self._arrived.set()
        self._orders.append(order)
        self._customers.append(customer)
        return True

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
            if not self._orders:
                self._arrived.clear()
                self._settled.set()
                self._arrived.wait()
            orders, customers = self._next_batch()
            try:
                hand_out(customers, self.commit(orders))
            except Exception as problem:  # whatever it is, these are in doubt
                self._give_up(customers, problem)
                return

    def _next_batch(self) -> tuple[list[Order], list[Customer]]:
        """Take what waits, in order of arrival."""
        size = self._batch_orders_max
        orders, self._orders = self._orders[:size], self._orders[size:]
        customers, self._customers = self._customers[:size], self._customers[size:]
        return orders, customers

    def commit(self, orders: Sequence[Order]) -> list[Outcome]:
        """Decide a batch and return the outcomes when they are durable.

        Raises StorageFailed, or whatever the store raised: the batch is in doubt then.
        """
        with self._stock_guard:
            transaction = self._begin()
            try:
                decisions = self._decide(orders, transaction)
                if decisions.receipts:
                    transaction.write(decisions)
                    self._disk.wait_for(transaction.commit)
                    transaction.publish()
            finally:
                transaction.rollback()
        return decisions.outcomes

    def _decide(self, orders: Sequence[Order], transaction: Transaction) -> Decisions:
        names = {item.product_name for order in orders for item in order.items}
        keys = [(order.user, order.key) for order in orders if order.key is not None]
        orders, products = by_own_names(orders, transaction.products(names), _receipt_fits)
        return decide(
            orders,
            products,
            transaction.receipts(keys) if keys else {},
            transaction.taken,
            self._now_ms(),
        )

    def _begin(self) -> Transaction:
        """Start a transaction, once whoever else writes to the store for a moment has finished."""
        for _ in range(int(BUSY_STORE_SECONDS_MAX / BUSY_STORE_PAUSE_SECONDS)):
            try:
                return self._store.begin()
            except StoreBusy:
                gevent.sleep(BUSY_STORE_PAUSE_SECONDS)
        raise StorageFailed(f"another process kept it locked for {BUSY_STORE_SECONDS_MAX} s")

    def _give_up(self, customers: list[Customer], problem: Exception) -> None:
        failure = problem if isinstance(problem, StorageFailed) else StorageFailed(str(problem))
        failure.__cause__ = problem
        self.failure = failure
        in_doubt = customers + self._customers
        self._orders, self._customers = [], []
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
