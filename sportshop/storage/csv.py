"""The CSV store: three files that any spreadsheet opens, durable all the same.

orders.csv is the ledger: append-only, a row per item, appended and synced once a batch. The last
row of a batch ends with a seal, a CRC over the batch's bytes: a batch that a crash cut short has
none, or a wrong one, and is set aside whole at the next start. Stock is not written with an order,
so order and stock can never disagree: it is products.csv's openingStock less what the ledger
sold. Its stockQuantity is for people, brought up to date whenever the store is opened or closed.

One process opens a folder: `lock` and orders.csv itself are locked, by whatever names they are
reached. On a full disk the store opens, is read, and takes orders again once there is room.
"""

import logging
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from sportshop.catalogue import Catalogue, CatalogueError
from sportshop.orders import Decisions, KeyOfUser, Receipt
from sportshop.products import Product, Shelf
from sportshop.storage import csv_files
from sportshop.storage.csv_files import Books, Settings, is_full
from sportshop.storage.csv_ledger import CsvLedger
from sportshop.storage.csv_rows import SEAL_BYTES, order_rows, seal_of
from sportshop.storage.interface import StoreError
from sportshop.storage.locks import lock_file
from sportshop.storage.memory import MemoryUsers
from sportshop.users import NewUser, User, UserExists

log = logging.getLogger(__name__)


class CsvTransaction:
    """A batch: one append to orders.csv."""

    def __init__(self, shelf: Shelf, ledger: CsvLedger) -> None:
        self.taken = ledger.count()
        self._shelf = shelf
        self._ledger = ledger
        self._decisions = Decisions([], [], {})
        self._row_bytes: list[int] = []
        self._seal = b""
        self._batch = b""

    def products(self, names: Collection[str]) -> Mapping[str, Product]:
        """Return the products that exist by the names asked."""
        return self._shelf.find_all(names)

    def receipts(self, keys: Collection[tuple[User, str]]) -> dict[KeyOfUser, Receipt]:
        """Return the receipts of the users' order keys that are in the ledger."""
        return self._ledger.receipts(keys)

    def write(self, decisions: Decisions) -> None:
        """Make the rows, the last of them sealed. Raises StoreFull."""
        self._ledger.prepare()
        self._decisions = decisions
        orders = [order_rows(receipt) for receipt in decisions.receipts]
        unsealed = b"".join(orders)[:-1]
        self._seal = seal_of(unsealed)
        self._batch = b"%s%s\n" % (unsealed, self._seal)
        self._row_bytes = [len(rows) for rows in orders]
        self._row_bytes[-1] += SEAL_BYTES - 1

    def commit(self) -> None:
        """Append and sync. Raises StoreFull, StorageFailed."""
        self._ledger.append(self._batch)

    def publish(self) -> None:
        """Show the batch to readers."""
        self._ledger.publish(self._decisions.receipts, self._row_bytes, self._seal)
        self._shelf.publish(self._ledger.count(), self._decisions.stock)

    def rollback(self) -> None:
        """Forget the batch. What of it reached the file is cut off at the next start."""


class CsvUsers(MemoryUsers):
    """users.csv, whole in memory."""

    def __init__(self, path: Path, users: Iterable[NewUser], marked: bool) -> None:
        super().__init__()
        self._path = path
        self._marked = marked
        self.load(users)

    def add(self, users: Iterable[NewUser]) -> int:
        """Add all of them durably, or none. Raises UserExists, StoreError."""
        added = self.check_new(users)
        content = csv_files.users_file([*self, *added], self._marked)
        try:
            csv_files.write_durably(self._path, content)
        except OSError as problem:
            what = f"{self._path}: {problem.strerror}: nothing was added"
            raise StoreError(f"store csv:{self._path.parent}: {what}") from None
        self.load(added)
        return len(added)


class CsvStore:
    """A shop in a folder of CSV files, for the one process that has its lock."""

    def __init__(self, folder: Path, catalogue: Callable[[], Catalogue]) -> None:
        self.name = f"csv:{folder}"
        self._folder = folder
        csv_files.prepare(folder, self.name)
        self._lock = lock_file(folder / csv_files.LOCK, self.name)
        try:
            csv_files.fill_if_new(folder, self.name, catalogue)
            csv_files.keep_to_owner(folder)
            self._open()
        except OSError as problem:
            os.close(self._lock)
            where = problem.filename or folder
            raise StoreError(f"store {self.name}: {where}: {problem.strerror}") from None
        except BaseException:
            os.close(self._lock)
            raise

    def _open(self) -> None:
        settings = csv_files.read_settings(self._folder)
        self.token_key = bytes.fromhex(settings.token_key)
        books, self._marked = self._read_books(settings)
        try:
            self.users = CsvUsers(self._folder / csv_files.USERS, books.users, self._marked)
        except UserExists as problem:
            raise StoreError(f"store {self.name}: {problem}") from None
        path = self._folder / csv_files.ORDERS
        self._opening = books.opening
        self.orders = CsvLedger(path, self.name, self.users, self._opening)
        try:
            self._show_what_is_left()
        except BaseException:
            self.orders.close()
            raise

    def _read_books(self, settings: Settings) -> tuple[Books, bool]:
        """Return users and products, and whether their names are marked in the files from now on.

        An earlier version marked none. Unless some name begins with an apostrophe, its files mean
        the same either way.
        """
        try:
            books = csv_files.read_books(self._folder, settings.marked)
        except CatalogueError as problem:
            raise StoreError(f"store {self.name}: {problem}") from None
        if settings.marked or books.ambiguous:
            return books, settings.marked
        try:
            now = msgspec.structs.replace(settings, marked=True)
            csv_files.write_settings(self._folder, now)
        except OSError as problem:
            if not is_full(problem):
                raise
            return books, False
        return books, True

    def _show_what_is_left(self) -> None:
        stock = self.orders.stock
        now = [msgspec.structs.replace(p, stock=stock[p.name]) for p in self._opening]
        self.products = Shelf(now, self.orders.count())
        try:
            self._write_products()
        except OSError as problem:
            if not is_full(problem):
                raise
            facts = {"store": self.name, "problem": f"{csv_files.PRODUCTS}: {problem.strerror}"}
            log.warning("the disk is full: no orders until there is room", extra={"facts": facts})

    @property
    def contents(self) -> Mapping[str, int]:
        """Count what was opened."""
        return {
            "orders": self.orders.count(),
            "products": len(self._opening),
            "users": len(self.users),
            "set_aside_bytes": csv_files.set_aside_bytes(self._folder),
        }

    def check_is_there(self) -> None:
        """Raise StorageFailed if the folder no longer leads to the ledger that is open."""
        self.orders.check_is_there()

    def begin(self) -> CsvTransaction:
        """Start a batch."""
        return CsvTransaction(self.products, self.orders)

    def close(self) -> None:
        """Bring products.csv up to date and let go of the folder."""
        with suppress(OSError):  # it is for people; the next start derives it from the ledger
            self._write_products()
        self.orders.close()
        os.close(self._lock)

    def _write_products(self) -> None:
        left = {p.name: p.stock for p in self.products.snapshot().products}
        content = csv_files.products_file(self._opening, left, self._marked)
        csv_files.write_if_other(self._folder / csv_files.PRODUCTS, content)
