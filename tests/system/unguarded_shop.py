"""A shop with a planted fault: it commits every order by itself and without the Semaphore.

    python -m tests.system.unguarded_shop serve …

Everything else is the real server. The race test must convict it.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import gevent

from sportshop import cli, server
from sportshop.disk import Disk
from sportshop.inventory import Customer, Inventory, hand_out
from sportshop.orders import Order


class SlowDisk(Disk):
    """A disk that lets others run in every commit."""

    def wait_for(self, commit: Callable[[], None]) -> None:
        gevent.sleep(0.001)
        commit()


class UnguardedInventory(Inventory):
    """Reads the stock, waits for the disk, and writes the stock that it read less what it sold."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._stock_guard = nullcontext()
        self._disk = SlowDisk()

    def place(self, order: Order, customer: Customer) -> bool:
        gevent.spawn(self._commit_alone, [customer], [order])
        return True

    def _commit_alone(self, customers: Sequence[Customer], orders: Sequence[Order]) -> None:
        hand_out(customers, self.commit(orders))


if __name__ == "__main__":
    server.Inventory = UnguardedInventory  # type: ignore[assignment, attr-defined]
    cli.run()
