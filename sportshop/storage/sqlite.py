"""The SQLite store: the embedded default. One file, readable with the sqlite3 shell meanwhile.

Through APSW, which brings its own SQLite: WAL, synchronous FULL (an fsync a commit), STRICT
tables and a CHECK against negative stock as the last line of defence.

The hot path only appends: a user's history is not an index that every order would update, but a
chain through the ledger: each entry names the same user's previous one. Where the
chains begin, and where order keys were used, is in memory and is written out now and then; at the
next start what was written out is read and the entries since then are gone through.
"""

import array
import os
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from sportshop import tokens
from sportshop.catalogue import Catalogue
from sportshop.names import OtherForms
from sportshop.orders import Decisions, KeyOfUser, Receipt, SoldItem
from sportshop.products import Product, Shelf
from sportshop.storage.interface import StorageFailed, StoreBusy, StoreError
from sportshop.storage.locks import lock_file
from sportshop.users import NAME_CHARACTERS_MAX, NewUser, User, UserExists

APPLICATION_ID = 0x53_50_53_48  # "SPSH": tells our file from every other SQLite database
SCHEMA_VERSION = 1
LINES_OF_ORDER = 100  # ledger.line is position * 100 + index of the item: orders.ITEMS_MAX
PAGE_ORDERS = 100  # looked at between two pages, at some 5 µs each
RECENT_MAX = 20_000  # orders that were read lately: some 8 MB
INDEX_WRITTEN_EVERY_ORDERS = 5_000  # takes 2 ms each time; a start goes through as many
WAL_BYTES_KEPT = 64 * 1024 * 1024
USERS_BUSY_WAIT_MS = 10_000

SCHEMA = """
CREATE TABLE settings (
    name TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE users (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL
) STRICT;
CREATE TABLE products (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    price_cents INTEGER NOT NULL CHECK (price_cents >= 0),
    stock INTEGER NOT NULL CHECK (stock >= 0)
) STRICT;
CREATE TABLE ledger (
    line INTEGER PRIMARY KEY, -- position * 100 + index of the item in its order
    placed_at_ms INTEGER NOT NULL,
    user INTEGER NOT NULL REFERENCES users,
    previous INTEGER NOT NULL, -- position of the same user's order before this one, or 0
    order_key TEXT,
    product INTEGER NOT NULL REFERENCES products,
    quantity INTEGER NOT NULL CHECK (quantity > 0),
    price_cents INTEGER NOT NULL,
    stock_after INTEGER NOT NULL CHECK (stock_after >= 0)
) STRICT;
CREATE TABLE order_keys ( -- as of settings.index_as_of; key first: by time, they are appended
    order_key TEXT NOT NULL,
    user INTEGER NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (order_key, user)
) STRICT, WITHOUT ROWID;
CREATE TABLE heads ( -- each user's newest order, as of settings.index_as_of
    user INTEGER PRIMARY KEY,
    position INTEGER NOT NULL
) STRICT;
CREATE VIEW orders AS -- for people
    SELECT line / 100 AS "order", line % 100 + 1 AS item,
           strftime('%Y-%m-%dT%H:%M:%fZ', placed_at_ms / 1000.0, 'unixepoch') AS placed_at,
           users.name AS user, order_key, products.name AS product, quantity,
           ledger.price_cents / 100.0 AS price, stock_after
    FROM ledger JOIN users ON users.id = ledger.user JOIN products ON products.id = ledger.product;
"""
READ_ENTRY = """
SELECT previous, placed_at_ms, order_key, products.name, quantity, ledger.price_cents, stock_after
FROM ledger JOIN products ON products.id = product
WHERE line BETWEEN ? AND ? ORDER BY line
"""
WRITE_KEYS = """
INSERT INTO order_keys SELECT order_key, user, line / 100 FROM ledger
WHERE line >= ? AND line < ? AND line % 100 = 0 AND order_key IS NOT NULL ORDER BY order_key, user
"""
# The same as users.parameters_of: `$argon2id$v=19$` has 15 characters.
READ_PARAMETERS = """
SELECT DISTINCT substr(password_hash, 16, instr(substr(password_hash, 16), '$') - 1)
FROM users WHERE id > ? AND substr(password_hash, 1, 13) = '$argon2id$v=1'
"""
READ_NAMES_BEYOND_ASCII = """
SELECT name FROM users WHERE id > ? AND length(name) <> octet_length(name)
"""
READ_PREVIOUS = "SELECT previous FROM ledger WHERE line = ?"


class SqliteUsers:
    """Users in their table. They can be added while a server runs, by another process.

    Two things about them are kept in memory, brought up to date by looking at who is new: which
    names are not written in NFC, and which parameters the hashes have. (A million users: 1.2 s
    at the first look, some 30 µs at the next.)
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._looked_at = 0
        self._other_forms = OtherForms(NAME_CHARACTERS_MAX)
        self._parameters: frozenset[str] = frozenset()

    def find(self, name: str) -> User | None:
        """Return the user whose name is written just so."""
        try:
            name.encode()
        except UnicodeEncodeError:  # a lone surrogate, which no table can hold
            return None
        return self._one("SELECT id, name, password_hash FROM users WHERE name = ?", (name,))

    def find_same(self, name: str) -> User | None:
        """Return the user of that name, in this form or else in another."""
        found = self.find(name)
        if found is None:
            self._look_at_new()
            others = map(self.find, self._other_forms.candidates(name))
            found = next((user for user in others if user is not None), None)
        return found

    def parameters(self) -> frozenset[str]:
        """Return each text of Argon2 parameters that a hash has."""
        self._look_at_new()
        return self._parameters

    def count(self) -> int:
        """Return how many there are."""
        return int((_row(self._connection, "SELECT count(*) FROM users") or (0,))[0])

    def add(self, users: Iterable[NewUser]) -> int:
        """Add all of them durably, or none. Raises UserExists."""
        try:
            with _transaction(self._connection):
                return self._insert(users)
        except BaseException:
            self._forget()  # who was looked at may not be there after all
            raise

    def _insert(self, users: Iterable[NewUser]) -> int:
        added = 0
        for user in users:
            if self.find_same(user.name):
                raise UserExists(user.name)
            insert_users(self._connection, [user])
            added += 1
        return added

    def _look_at_new(self) -> None:
        (newest,) = _row(self._connection, "SELECT coalesce(max(id), 0) FROM users") or (0,)
        if newest <= self._looked_at:
            return
        seen = (self._looked_at,)
        self._parameters |= {text for (text,) in _rows(self._connection, READ_PARAMETERS, seen)}
        names = _rows(self._connection, READ_NAMES_BEYOND_ASCII, seen)
        self._other_forms.add(name for (name,) in names)
        self._looked_at = newest

    def _forget(self) -> None:
        self._looked_at = 0
        self._other_forms = OtherForms(NAME_CHARACTERS_MAX)
        self._parameters = frozenset()

    def _one(self, query: str, bindings: Sequence[object] = ()) -> User | None:
        row = _row(self._connection, query, bindings)
        return None if row is None else User(*row)


class SqliteOrders:
    """The ledger, read through a connection that never writes."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self.taken = (_row(connection, "SELECT max(line) FROM ledger") or (0,))[0] or 0
        self.taken //= LINES_OF_ORDER
        self.index = Index(connection)
        self._recent: dict[int, Entry] = {}

    def count(self) -> int:
        """Return how many positions are taken."""
        return self.taken

    def newest_at_ms(self) -> int:
        """Return when the newest order was placed."""
        query = "SELECT placed_at_ms FROM ledger ORDER BY line DESC LIMIT 1"
        return int((_row(self._connection, query) or (0,))[0])

    def history(
        self, user: User, before: int | None = None, limit: int | None = None
    ) -> Iterator[list[Receipt]]:
        """Yield the user's orders in pages, newest first."""
        left = self.taken if limit is None else limit
        position = self._first_before(user, before)
        while position and left > 0:
            page: list[Receipt] = []
            for _ in range(PAGE_ORDERS):
                if before is None or position < before:
                    page.append(self.at(user, position))
                    left -= 1
                position = self._previous(position)
                if not position or not left:
                    break
            yield page

    def at(self, user: User, position: int) -> Receipt:
        """Return the user's order at a position, which must be one of the user's."""
        return self._entry(position, user).receipt

    def _previous(self, position: int) -> int:
        """Return the position of the order before, of the same user; 0 if it was the first."""
        entry = self._recent.get(position)
        if entry is not None:
            return entry.previous
        row = _row(self._connection, READ_PREVIOUS, (position * LINES_OF_ORDER,))
        return int(row[0]) if row else 0

    def _entry(self, position: int, user: User) -> "Entry":
        """Return an order; entries of the ledger never change, so what was read lately is kept."""
        entry = self._recent.get(position)
        if entry is None:
            entry = read_entry(self._connection, user, position)
            if len(self._recent) >= RECENT_MAX:
                self._recent.clear()  # dropping the oldest alone would have to look for it
            self._recent[position] = entry
        return entry

    def _first_before(self, user: User, before: int | None) -> int:
        """Return where to start: a page's last order, as clients ask, is found at once."""
        head = self.index.head(user.id)
        if before is None or before > head:
            return head
        row = _row(
            self._connection,
            "SELECT previous FROM ledger WHERE line = ? AND user = ?",
            (before * LINES_OF_ORDER, user.id),
        )
        return head if row is None else int(row[0])


class Entry(NamedTuple):
    """An order as it stands in the ledger, with the position of the same user's one before."""

    receipt: Receipt
    previous: int


class Index:
    """Where a user's newest order and an order key are: follows from the ledger.

    So it is written out lazily, by a statement for thousands of orders. Until then it is in memory,
    and a start goes through the ledger from where it was written last. Of a new key, if keys are
    ordered by time (UUIDv7), one look at the highest one that is written tells that it is new.
    Both together bring a keyed order from 2.4 to 1.5 µs above one without a key.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self._heads = array.array("q")  # by user: 8 bytes each
        self._changed: set[int] = set()
        self._keys: dict[KeyOfUser, int] = {}  # that are not written yet
        self._orders = 0  # that are not written yet
        for user, position in connection.execute("SELECT user, position FROM heads"):
            self._set_head(user, position)
        self._highest_key = self._next_highest_key = _highest_key(connection)
        as_of = _row(connection, "SELECT value FROM settings WHERE name = 'index_as_of'")
        self._as_of = self._next_as_of = (as_of or (0,))[0]
        query = "SELECT user, line, order_key FROM ledger WHERE line >= ? AND line % 100 = 0"
        for user, line, key in connection.execute(query, ((self._as_of + 1) * LINES_OF_ORDER,)):
            position = line // LINES_OF_ORDER
            self.add({user: position}, {} if key is None else {(user, key): position}, 1)

    def head(self, user: int) -> int:
        """Return the position of a user's newest order, or 0."""
        return self._heads[user] if user < len(self._heads) else 0

    def find(self, writer: apsw.Connection, keys: Iterable[KeyOfUser]) -> dict[KeyOfUser, int]:
        """Return the positions of those order keys that were used."""
        recent, highest = self._keys, self._highest_key
        found = {key: recent[key] for key in keys if key in recent}
        older = [(key, user) for user, key in keys if key <= highest]
        if older:
            query = "SELECT user, order_key, position FROM order_keys"
            query += " WHERE order_key = ? AND user = ?"
            for user, key, position in writer.executemany(query, older):
                found[user, key] = position
        return found

    def add(self, newest: Mapping[int, int], keys: Mapping[KeyOfUser, int], orders: int) -> None:
        """Note users' newest positions, and the keys of some orders."""
        for user, position in newest.items():
            self._set_head(user, position)
        self._changed.update(newest)
        self._keys.update(keys)
        self._orders += orders

    def write_when_due(self, writer: apsw.Connection, as_of: int) -> bool:
        """Write it out in the transaction that is open, if enough orders have gathered."""
        if self._orders < INDEX_WRITTEN_EVERY_ORDERS:
            return False
        self.write(writer, as_of)
        return True

    def write(self, writer: apsw.Connection, as_of: int) -> None:
        """Write out what was added, in the transaction that is open."""
        changed = ((user, self._heads[user]) for user in sorted(self._changed))
        writer.executemany("REPLACE INTO heads VALUES (?, ?)", changed)
        if self._keys:
            lines = ((self._as_of + 1) * LINES_OF_ORDER, (as_of + 1) * LINES_OF_ORDER)
            writer.execute(WRITE_KEYS, lines)
        writer.execute("REPLACE INTO settings VALUES ('index_as_of', ?)", (as_of,))
        self._next_as_of, self._next_highest_key = as_of, _highest_key(writer)

    def written(self) -> None:
        """Note that what was written out is durable."""
        self._changed.clear()
        self._keys.clear()
        self._orders = 0
        self._as_of, self._highest_key = self._next_as_of, self._next_highest_key

    def _set_head(self, user: int, position: int) -> None:
        missing = user + 1 - len(self._heads)
        if missing > 0:
            self._heads.frombytes(bytes(8 * (missing + len(self._heads) // 2)))
        self._heads[user] = position


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
        except apsw.BusyError:
            raise StoreBusy from None

    def products(self, names: Collection[str]) -> Mapping[str, Product]:
        """Return the products of these names that exist, as they are in this transaction."""
        found = {}
        for asked in names:
            name = asked
            row = self._product(name)
            if row is None and (own := self._store.products.own_name(asked)) is not None:
                name, row = own, self._product(own)
            if row is not None:
                self._ids[name], price, stock = row
                found[asked] = Product(name, price, stock)
        return found

    def _product(self, name: str) -> tuple[Any, ...] | None:
        query = "SELECT id, price_cents, stock FROM products WHERE name = ?"
        return _row(self._writer, query, (name,))

    def receipts(self, keys: Collection[tuple[User, str]]) -> dict[KeyOfUser, Receipt]:
        """Return the receipts of the users' order keys that are in the ledger."""
        found = self._orders.index.find(self._writer, [(user.id, key) for user, key in keys])
        if not found:  # nearly always: a retry is rare
            return {}
        users = {user.id: user for user, _ in keys}
        return {key: self._orders.at(users[key[0]], found[key]) for key in found}

    def write(self, decisions: Decisions) -> None:
        """Append the receipts and set the stock."""
        self._decisions = decisions
        writer, ids = self._writer, self._ids
        writer.executemany("INSERT INTO ledger VALUES (?,?,?,?,?,?,?,?,?)", self._lines(decisions))
        stock = ((left, ids[name]) for name, left in decisions.stock.items())
        writer.executemany("UPDATE products SET stock = ? WHERE id = ?", stock)
        self._writes_index = self._orders.index.write_when_due(writer, self.taken)

    def commit(self) -> None:
        """Make it durable: waits for the disk, without the GIL."""
        self._writer.execute("COMMIT")

    def publish(self) -> None:
        """Show the batch to readers."""
        index, receipts = self._orders.index, self._decisions.receipts
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
    """A shop in a SQLite file, for the one server that has its lock."""

    def __init__(self, path: Path, catalogue: Callable[[], Catalogue]) -> None:
        self.name = f"sqlite:{path}"
        self._lock = lock_file(path.with_name(path.name + ".lock"), self.name)
        try:
            self.writer = open_database(path, catalogue)
            self._reader = _connect(path, apsw.SQLITE_OPEN_READWRITE)
            self._reader.execute("PRAGMA query_only = ON")
            self.users = SqliteUsers(self._reader)
            self.orders = SqliteOrders(self._reader)
            self.products = Shelf(_read_products(self._reader), self.orders.taken)
            self.token_key = _read_token_key(self._reader)
        except (apsw.Error, StorageFailed) as problem:
            os.close(self._lock)
            raise StoreError(f"store {self.name}: {problem}") from None
        except BaseException:
            os.close(self._lock)
            raise

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
        """Raise StorageFailed if the path no longer leads to what is open."""

    def begin(self) -> SqliteTransaction:
        """Start a batch."""
        return SqliteTransaction(self)

    def close(self) -> None:
        """Write out the index and close the file."""
        try:
            with _transaction(self.writer):
                self.orders.index.write(self.writer, self.orders.taken)
        except apsw.Error:
            pass  # the next start finds them in the ledger
        self._reader.close()
        self.writer.close()
        os.close(self._lock)


def open_database(path: Path, catalogue: Callable[[], Catalogue]) -> apsw.Connection:
    """Return a connection to write with; fill the file first if it is new.

    Raises StoreError if the file is not ours or of a newer version, apsw.Error if it can't be read.
    """
    connection = _connect(path, apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE)
    try:
        connection.set_busy_timeout(USERS_BUSY_WAIT_MS)
        with _transaction(connection):
            if _is_new(connection):
                _fill(connection, catalogue())
            _check_is_ours(connection, path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_KEPT}")
        # What a process that was killed had written and not synced is read all the same: sync it.
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        connection.set_busy_timeout(0)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def open_users(path: Path, catalogue: Callable[[], Catalogue]) -> Iterator[SqliteUsers]:
    """Open the users to add some, beside a server that may be running. Raises StoreError."""
    try:
        connection = open_database(path, catalogue)
        try:
            connection.set_busy_timeout(USERS_BUSY_WAIT_MS)
            yield SqliteUsers(connection)
        finally:
            connection.close()
    except (apsw.Error, StorageFailed) as problem:
        raise StoreError(f"store sqlite:{path}: {problem}") from None


@contextmanager
def _transaction(connection: apsw.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _connect(path: Path, flags: int) -> apsw.Connection:
    return apsw.Connection(str(path), flags=flags, statementcachesize=100)


def _is_new(connection: apsw.Connection) -> bool:
    row = _row(connection, "SELECT count(*) FROM sqlite_schema")
    return row == (0,) and _pragma(connection, "application_id") == 0


def _check_is_ours(connection: apsw.Connection, path: Path) -> None:
    if _pragma(connection, "application_id") != APPLICATION_ID:
        raise StoreError(f"store sqlite:{path} is a database, but not one of a sportshop")
    version = _pragma(connection, "user_version")
    if version != SCHEMA_VERSION:
        raise StoreError(
            f"store sqlite:{path} has schema version {version}:"
            f" this sportshop knows version {SCHEMA_VERSION}"
        )


def _fill(connection: apsw.Connection, catalogue: Catalogue) -> None:
    connection.execute(SCHEMA)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    key = secrets.token_bytes(tokens.KEY_BYTES)
    connection.execute("INSERT INTO settings VALUES ('token_key', ?)", (key,))
    connection.executemany(
        "INSERT INTO products (name, price_cents, stock) VALUES (?, ?, ?)",
        ((product.name, product.price, product.stock) for product in catalogue.products),
    )
    insert_users(connection, catalogue.users)


def insert_users(connection: apsw.Connection, users: Iterable[NewUser]) -> None:
    """Insert users in the transaction that is open."""
    connection.executemany(
        "INSERT INTO users (name, password_hash) VALUES (?, ?)",
        ((user.name, user.password_hash) for user in users),
    )


def read_entry(connection: apsw.Connection, user: User, position: int) -> Entry:
    """Return the order at a position, which must be one of the user's. Raises StorageFailed."""
    first = position * LINES_OF_ORDER
    rows = _rows(connection, READ_ENTRY, (first, first + LINES_OF_ORDER - 1))
    if not rows:
        raise StorageFailed(f"order {position} is not in the ledger")
    previous, placed_at_ms, key, *_ = rows[0]
    items = tuple(SoldItem(*row[3:]) for row in rows)
    return Entry(Receipt(position, placed_at_ms, user, items, key), previous)


def _highest_key(connection: apsw.Connection) -> str:
    (highest,) = _row(connection, "SELECT max(order_key) FROM order_keys") or (None,)
    return highest or ""


def _read_products(connection: apsw.Connection) -> Iterator[Product]:
    for row in _rows(connection, "SELECT name, price_cents, stock FROM products"):
        yield Product(*row)


def _read_token_key(connection: apsw.Connection) -> bytes:
    row = _row(connection, "SELECT value FROM settings WHERE name = 'token_key'")
    assert row is not None  # noqa: S101 - every file that _fill has made has one
    return bytes(row[0])


def _pragma(connection: apsw.Connection, name: str) -> int:
    row = _row(connection, f"PRAGMA {name}")
    return int(row[0]) if row else 0


def _rows(
    connection: apsw.Connection, query: str, bindings: Sequence[Any] = ()
) -> list[tuple[Any, ...]]:
    """Run a query to its end, so that no read is left open. Raises StorageFailed."""
    try:
        return connection.execute(query, bindings).fetchall()
    except apsw.Error as problem:
        raise StorageFailed(str(problem)) from None


def _row(
    connection: apsw.Connection, query: str, bindings: Sequence[Any] = ()
) -> tuple[Any, ...] | None:
    """Return the first row, if there is one. Raises StorageFailed."""
    return next(iter(_rows(connection, query, bindings)), None)
