"""The SQLite store: the embedded default. One file, readable with the sqlite3 shell meanwhile.

Through APSW, which brings its own SQLite: WAL, synchronous FULL (an fsync a commit), STRICT
tables and a CHECK against negative stock as the last line of defence.

The hot path only appends: a user's history is not an index that every order would update, but a
chain through the ledger: each entry names the same user's previous one. Where the
chains begin, and where order keys were used, is in memory and is written out now and then; at the
next start what was written out is read and the entries since then are gone through.
"""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import apsw

from sportshop.catalogue import Catalogue
from sportshop.orders import Decisions, KeyOfUser, Receipt
from sportshop.products import Product, Shelf
from sportshop.storage.interface import (
    StorageFailed,
    StoreBusy,
    StoreError,
    StoreFull,
    StoreLocked,
)
from sportshop.storage.sqlite_file import (
    DatabaseFile,
    check_size,
    close_to_others,
    has_log,
    has_room,
    one_line,
    real_path,
)
from sportshop.storage.sqlite_index import LINES_OF_ORDER, make_marks
from sportshop.storage.sqlite_log import check_against_index, check_log_is_whole
from sportshop.storage.sqlite_query import (
    connect,
    keep_log_at_close,
    row,
    transaction,
    write_failure,
)
from sportshop.storage.sqlite_read import SqliteOrders, SqliteUsers, read_products, read_token_key
from sportshop.storage.sqlite_schema import (
    USERS_BUSY_WAIT_MS,
    NoRoom,
    make_if_missing,
    open_to_write,
)
from sportshop.storage.sqlite_seal import (
    break_seal,
    check_index,
    check_ledger,
    check_log_is_of,
    check_seal,
    close_seal,
    quick_check,
)
from sportshop.users import User

log = logging.getLogger(__name__)

READ_PRODUCT = "SELECT id, price_cents, stock FROM products WHERE name = ?"


class SqliteTransaction:
    """A batch: one SQLite transaction."""

    def __init__(self, store: "SqliteStore") -> None:
        self._store = store
        self._writer = store.writer
        self._orders = store.orders
        self._ids: dict[str, int] = {}
        self._decisions = Decisions([], [], {})
        self._newest: dict[int, int] = {}  # of the users who ordered: see Index
        self._writes_index = False
        self.taken = store.orders.taken
        try:
            self._writer.execute("BEGIN IMMEDIATE")
        except apsw.Error as problem:
            raise write_failure(problem, self._writer) from None

    def products(self, names: Collection[str]) -> Mapping[str, Product]:
        """Return the products of these names that exist, as they are in this transaction."""
        found = {}
        for asked in names:
            name, product = asked, row(self._writer, READ_PRODUCT, (asked,))
            if product is None and (own := self._store.products.own_name(asked)) is not None:
                name, product = own, row(self._writer, READ_PRODUCT, (own,))
            if product is not None:
                self._ids[name], price, stock = product
                found[asked] = Product(name, price, stock)
        return found

    def receipts(self, keys: Collection[tuple[User, str]]) -> dict[KeyOfUser, Receipt]:
        """Return the receipts of the users' order keys that are in the ledger."""
        try:
            found = self._orders.index.find(self._writer, [(user.id, key) for user, key in keys])
        except apsw.Error as problem:
            raise StorageFailed(str(problem)) from None
        if not found:  # nearly always: a retry is rare
            return {}
        users = {user.id: user for user, _ in keys}
        return {key: self._orders.at(users[key[0]], found[key]) for key in found}

    def write(self, decisions: Decisions) -> None:
        """Append the receipts and set the stock. Raises StoreFull, StoreBusy, StorageFailed."""
        self._decisions = decisions
        if self._store.without_room:
            raise StoreFull("no room beside the database")
        try:
            self._write(decisions)
        except apsw.Error as problem:
            raise write_failure(problem, self._writer) from None

    def _write(self, decisions: Decisions) -> None:
        writer, ids = self._writer, self._ids
        if self._store.unprepared:
            self._store.prepare()
        writer.executemany("INSERT INTO ledger VALUES (?,?,?,?,?,?,?,?,?)", self._lines(decisions))
        stock = ((left, ids[name]) for name, left in decisions.stock.items())
        writer.executemany("UPDATE products SET stock = ? WHERE id = ?", stock)
        self._writes_index = self._orders.index.write_when_due(writer, self.taken)

    def commit(self) -> None:
        """Make it durable: waits for the disk, without the GIL.

        Raises StoreFull or StoreBusy if it is certain that nothing was kept, StorageFailed if not.
        """
        try:
            self._writer.execute("COMMIT")
        except apsw.Error as problem:
            raise write_failure(problem, self._writer) from None

    def publish(self) -> None:
        """Show the batch to readers."""
        index, receipts = self._orders.index, self._decisions.receipts
        if self._store.unprepared:
            self._store.note_prepared()
        if self._writes_index:
            index.written()
        keys = {(r.user.id, r.key): r.position for r in receipts if r.key is not None}
        index.add(self._newest, keys, len(receipts))
        self._orders.taken += len(receipts)
        self._store.products.publish(self._orders.taken, self._decisions.stock)

    def rollback(self) -> None:
        """Undo what was not committed."""
        if self._writer.in_transaction:
            self._writer.execute("ROLLBACK")

    def _lines(self, decisions: Decisions) -> Iterator[tuple[Any, ...]]:
        ids, head, newest = self._ids, self._orders.index.head, self._newest
        for receipt in decisions.receipts:
            user = receipt.user.id
            previous = newest.get(user) or head(user)
            newest[user] = receipt.position
            for line, item in enumerate(receipt.items, receipt.position * LINES_OF_ORDER):
                yield (
                    line,
                    receipt.placed_at_ms,
                    user,
                    previous,
                    receipt.key,
                    ids[item.product_name],
                    item.quantity,
                    item.price,
                    item.stock,
                )


class SqliteStore:
    """A shop in a SQLite file, for the one server that has its locks."""

    def __init__(self, path: Path, catalogue: Callable[[], Catalogue]) -> None:
        self.name = f"sqlite:{path}"
        self.without_room = False
        """There is no room for the log's index: nothing can be sold until there is."""
        self.unprepared = True
        """The seal is not broken yet: the next batch that is written does that first."""
        with one_line(self.name), ExitStack() as opened:
            self._file = DatabaseFile(path, self.name)
            opened.callback(self._file.close)
            make_if_missing(self._file.path, self.name, self._file.was_here, catalogue)
            self._file.lock_database()
            opened.callback(self._close_connections)
            check_against_index(self._file.path)
            self._connect()
            close_to_others(self._file.path, self.name)
            with damage_in_one_line():
                self._read()
            self._file.note_what_is_open()
            self._opened = opened.pop_all()

    def _connect(self) -> None:
        """Open the database; without an index of the log if there is no room for one."""
        path, self.without_room = self._file.path, False
        check_size(self._file.descriptor, path)
        try:
            self.writer = self._reader = open_to_write(path, self.name)
            self._reader = connect(path)
            keep_log_at_close(self._reader, keep=True)
            self._reader.execute("PRAGMA query_only = ON")
        except NoRoom:
            self.writer = self._reader = open_to_write(path, self.name, alone=True)
            self.without_room = True

    def _read(self) -> None:
        """Read what is kept in memory, and see that it is whole. Raises StorageFailed."""
        reader, path, descriptor = self._reader, self._file.path, self._file.descriptor
        check_log_is_of(reader, path)
        check_log_is_whole(reader, path)
        orders = check_ledger(reader)
        check_index(reader, orders)
        if not check_seal(reader, path, descriptor, orders):
            quick_check(reader, descriptor)
        keep_log_at_close(self.writer, keep=False)
        self.users = SqliteUsers(reader)
        self.orders = SqliteOrders(reader)
        self.products = Shelf(read_products(reader), self.orders.taken)
        self.token_key = read_token_key(reader)
        self._start_writing()

    def _start_writing(self) -> None:
        """Break the seal, and sync what a process that was killed wrote, if there is room."""
        no_room = self.without_room
        try:
            if not no_room:
                with writing(self.writer), transaction(self.writer):
                    self.prepare()
                self.note_prepared()
        except StoreFull:
            no_room = True  # the first batch does it, when there is room
        except StoreBusy:
            pass  # the same, when whoever holds it has finished
        if no_room:
            log.warning(
                "no room on the disk: nothing is sold until there is",
                extra={"facts": {"store": self.name}},
            )
        # It syncs the log, which is read and so has to be durable, and brings the broken seal into
        # the database itself, where it is seen by whatever name that is opened.
        with suppress(StoreFull, StoreBusy), writing(self.writer):
            self.writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)

    def prepare(self) -> None:
        """Break the seal in the transaction that is open, and make what earlier versions lack."""
        make_marks(self.writer)
        break_seal(self.writer, self._file.path, self.orders.taken)

    def note_prepared(self) -> None:
        """Note that this is durable."""
        self.unprepared = False
        self.orders.index.has_marks = True

    @property
    def contents(self) -> Mapping[str, int]:
        """Count what was opened."""
        return {
            "orders": self.orders.count(),
            "products": len(self.products.snapshot().products),
            "users": self.users.count(),
            "set_aside_bytes": 0,
        }

    def check_is_there(self) -> None:
        """Raise StorageFailed if a path no longer leads to the file that is open."""
        self._file.check_is_there()

    def begin(self) -> SqliteTransaction:
        """Start a batch. Raises StoreBusy, StorageFailed."""
        if self.without_room and has_room(self._file.path):
            self._take_room()
        return SqliteTransaction(self)

    def _take_room(self) -> None:
        """Open the database as it should be, now that there is room. Raises StorageFailed."""
        self._close_connections()
        try:
            self._connect()
        except apsw.Error as problem:
            raise StorageFailed(str(problem)) from None
        keep_log_at_close(self.writer, keep=False)
        self.users.connection = self.orders.connection = self._reader
        self._file.note_what_is_open()
        if not self.without_room:
            log.info("there is room on the disk again", extra={"facts": {"store": self.name}})

    def close(self) -> None:
        """Write out the index, seal the store and close its files. Never raises.

        What can't be written for lack of room or after a failure the next start derives from the
        ledger.
        """
        with suppress(apsw.Error, StorageFailed, OSError):
            with transaction(self.writer):
                if self.unprepared:
                    self.prepare()
                self.orders.index.write(self.writer, self.orders.taken)
            self._seal()
        self._opened.close()

    def _seal(self) -> None:
        """Seal the store, if all of the log could be written back into it."""
        in_log, written_back = self.writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        if in_log == written_back:
            file = self._file
            with transaction(self.writer):
                close_seal(self.writer, file.path, file.descriptor, self.orders.taken)

    def _close_connections(self) -> None:
        for connection in (getattr(self, "_reader", None), getattr(self, "writer", None)):
            if connection is not None:
                with suppress(apsw.Error):
                    connection.close()


@contextmanager
def open_users(path: Path, catalogue: Callable[[], Catalogue]) -> Iterator[SqliteUsers]:
    """Open the users to add some, beside a server that may be running. Raises StoreError."""
    name = f"sqlite:{path}"
    with one_line(name):
        _see_to_it_alone(path, name, catalogue)
        real = real_path(path, name)
        had_log = has_log(real)  # of a shop that runs or was killed: it is for the shop to judge
        try:
            connection = open_to_write(real, name)
        except NoRoom:
            raise StoreError(f"store {name}: no room on the disk") from None
        try:
            close_to_others(real, name)
            check_log_is_of(connection, real)
            keep_log_at_close(connection, keep=had_log)
            connection.set_busy_timeout(USERS_BUSY_WAIT_MS)
            with damage_in_one_line():
                yield SqliteUsers(connection)
        finally:
            connection.close()


def _see_to_it_alone(path: Path, name: str, catalogue: Callable[[], Catalogue]) -> None:
    """Fill a store if need be, and see that no shop has it open by another name.

    Its log would not be seen. A shop that has it open by this name is fine. Raises StoreError.
    """
    try:
        file = DatabaseFile(path, name)
    except StoreLocked:
        return
    try:
        make_if_missing(file.path, name, file.was_here, catalogue)
        file.lock_database()
    finally:
        file.close()


@contextmanager
def damage_in_one_line() -> Iterator[None]:
    """Take what can't be made sense of for what it is. Raises StorageFailed."""
    try:
        yield
    except (TypeError, ValueError, KeyError, OverflowError, MemoryError) as problem:
        raise StorageFailed(f"damaged: {problem}: put a copy back") from None


@contextmanager
def writing(connection: apsw.Connection) -> Iterator[None]:
    """Say what an error of a write means: StoreFull, StoreBusy or StorageFailed."""
    try:
        yield
    except apsw.Error as problem:
        raise write_failure(problem, connection) from None
