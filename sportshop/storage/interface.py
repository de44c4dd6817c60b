"""What a store is: repositories to read from, and a transaction per batch to write with.

The interface suits a store that only this process writes as well as a database shared by many
servers: stock and ledger position are read inside the transaction, never trusted from memory.
"""

from collections.abc import Collection, Mapping
from typing import Protocol

from sportshop.orders import Decisions, KeyOfUser, OrderRepository, Receipt
from sportshop.products import Product, ProductRepository
from sportshop.users import User, UserRepository


class StoreError(Exception):
    """A store that cannot be opened; the text says which and why, in one line."""


class StoreLocked(StoreError):
    """The store is open in another process."""


class StoreBusy(Exception):
    """Another writer holds the store for a moment: nothing happened, try again."""


class StoreFull(Exception):
    """There is no room: nothing of the batch was kept, and the store goes on."""


class StorageFailed(Exception):
    """The disk or the database refused: what was being written may or may not be durable."""


class Transaction(Protocol):
    """One batch of orders, all or nothing. Only `commit` may wait."""

    @property
    def taken(self) -> int:
        """Ledger positions taken before this batch."""

    def products(self, names: Collection[str]) -> Mapping[str, Product]:
        """Return the products that exist by the names asked, as they are in this transaction.

        A product's own name can be another form of the one asked: see names.py.
        """

    def receipts(self, keys: Collection[tuple[User, str]]) -> dict[KeyOfUser, Receipt]:
        """Return the receipts of the users' order keys that are in the ledger."""

    def write(self, decisions: Decisions) -> None:
        """Append the receipts and set the stock. Raises StoreFull."""

    def commit(self) -> None:
        """Make it durable, or raise: StoreFull if it is certain that nothing was kept.

        Runs in a native thread: waits for the disk, runs no Python to speak of and touches
        nothing that the hub's thread touches meanwhile.
        """

    def publish(self) -> None:
        """Show readers what was committed. Never waits."""

    def rollback(self) -> None:
        """Undo what was not committed. Harmless after a failed commit."""


class Store(Protocol):
    """Users, products and orders of one shop."""

    @property
    def name(self) -> str:
        """What it is, for the log: `sqlite:data/shop.db`."""

    @property
    def users(self) -> UserRepository:
        """The users."""

    @property
    def products(self) -> ProductRepository:
        """The products."""

    @property
    def orders(self) -> OrderRepository:
        """The ledger."""

    @property
    def token_key(self) -> bytes:
        """Signs login tokens. As old as the store, so that tokens survive a restart."""

    @property
    def contents(self) -> Mapping[str, int]:
        """What was opened, for the log: `orders`, `products`, `users`, `set_aside_bytes`."""

    def check_is_there(self) -> None:
        """Raise StorageFailed if the store's path no longer leads to the files that are open."""

    def begin(self) -> Transaction:
        """Start a batch. Raises StoreBusy. Only the holder of the stock's Semaphore may."""

    def close(self) -> None:
        """Let go of the store. What was committed is durable whether this is called or not."""
