"""Reading a SQLite store: its users, its products, the ledger.

Runs each query to its end, so that no read is left open and none sees half of a batch.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import apsw

from sportshop import tokens
from sportshop.names import OtherForms
from sportshop.orders import Receipt, SoldItem
from sportshop.products import Product
from sportshop.storage.interface import StorageFailed
from sportshop.storage.sqlite_index import LINES_OF_ORDER, Index
from sportshop.storage.sqlite_query import number, row, rows, transaction
from sportshop.storage.sqlite_seal import Seal, read_seal, write_seal
from sportshop.users import NAME_CHARACTERS_MAX, NewUser, User, UserExists

PAGE_ORDERS = 100  # looked at between two pages, at some 5 µs each
PAGE_ITEMS = 1_000
NEAR_ORDERS = 100  # of everybody, among which a user's is looked for first
RECENT_BYTES_MAX = 20_000_000  # of orders that were read lately
ENTRY_BYTES = 700  # measured: an order with its key, and its place in the dictionary
ITEM_BYTES = 130
READ_ENTRY = """
SELECT previous, placed_at_ms, order_key, products.name, quantity, ledger.price_cents, stock_after
FROM ledger JOIN products ON products.id = product
WHERE line BETWEEN ? AND ? AND user = ? ORDER BY line
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
READ_NEAR = """
SELECT line / 100 FROM ledger WHERE line >= ? AND line < ? AND user = ? ORDER BY line DESC LIMIT 1
"""


class SqliteUsers:
    """Users in their table. They can be added while a server runs, by another process.

    Two things about them are kept in memory, brought up to date by looking at who is new: which
    names are not written in NFC, and which parameters the hashes have. (A million users: 1.2 s
    at the first look, some 30 µs at the next.)
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self.connection = connection
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
            found = self._find_other_form(name)
        return found

    def parameters(self) -> frozenset[str]:
        """Return each text of Argon2 parameters that a hash has."""
        self._look_at_new()
        return self._parameters

    def count(self) -> int:
        """Return how many there are."""
        return number(self.connection, "SELECT count(*) FROM users")

    def add(self, users: Iterable[NewUser]) -> int:
        """Add all of them durably, or none. Raises UserExists."""
        try:
            with transaction(self.connection):
                return self._insert(users)
        except BaseException:
            self._forget()  # who was looked at may not be there after all
            raise

    def _insert(self, users: Iterable[NewUser]) -> int:
        added = 0
        self._look_at_new()  # once: within the transaction nobody else adds any
        for user in users:
            if self.find(user.name) or self._find_other_form(user.name):
                raise UserExists(user.name)
            insert_users(self.connection, [user])
            self._other_forms.add([user.name])
            added += 1
        unseal(self.connection)
        return added

    def _find_other_form(self, name: str) -> User | None:
        others = map(self.find, self._other_forms.candidates(name))
        return next((user for user in others if user is not None), None)

    def _look_at_new(self) -> None:
        newest = number(self.connection, "SELECT max(id) FROM users")
        if newest <= self._looked_at:
            return
        seen = (self._looked_at,)
        self._parameters |= {text for (text,) in rows(self.connection, READ_PARAMETERS, seen)}
        names = rows(self.connection, READ_NAMES_BEYOND_ASCII, seen)
        self._other_forms.add(name for (name,) in names)
        self._looked_at = newest

    def _forget(self) -> None:
        self._looked_at = 0
        self._other_forms = OtherForms(NAME_CHARACTERS_MAX)
        self._parameters = frozenset()

    def _one(self, query: str, bindings: Sequence[object] = ()) -> User | None:
        found = row(self.connection, query, bindings)
        return None if found is None else User(*found)


class Entry(NamedTuple):
    """An order as it stands in the ledger, with the position of the same user's one before."""

    receipt: Receipt
    previous: int


class SqliteOrders:
    """The ledger, read through a connection that never writes."""

    def __init__(self, connection: apsw.Connection) -> None:
        self.connection = connection
        self.taken = number(connection, "SELECT max(line) FROM ledger") // LINES_OF_ORDER
        self.index = Index(connection)
        self._recent: dict[int, Entry] = {}
        self._recent_bytes = 0
        self._names: dict[str, str] = {}  # of products, each once

    def count(self) -> int:
        """Return how many positions are taken."""
        return self.taken

    def newest_at_ms(self) -> int:
        """Return when the newest order was placed."""
        return number(self.connection, "SELECT placed_at_ms FROM ledger ORDER BY line DESC LIMIT 1")

    def history(
        self, user: User, before: int | None = None, limit: int | None = None
    ) -> Iterator[list[Receipt]]:
        """Yield the user's orders in pages, newest first."""
        left = self.taken if limit is None else limit
        position = self._first_before(user, before)
        while position and left > 0:
            page: list[Receipt] = []
            steps = items = 0
            while position and left and steps < PAGE_ORDERS and items < PAGE_ITEMS:
                if before is None or position < before:
                    page.append(self.at(user, position))
                    items += len(page[-1].items)
                    left -= 1
                position = self._previous(position)
                steps += 1
            yield page

    def at(self, user: User, position: int) -> Receipt:
        """Return the user's order at a position, which must be one of the user's."""
        return self._entry(position, user).receipt

    def _previous(self, position: int) -> int:
        """Return the position of the order before, of the same user; 0 if it was the first."""
        entry = self._recent.get(position)
        if entry is not None:
            return entry.previous
        found = row(self.connection, READ_PREVIOUS, (position * LINES_OF_ORDER,))
        if found is None or not 0 <= found[0] < position:
            raise StorageFailed(f"damaged: order {position} does not lead to the one before it")
        return int(found[0])

    def _entry(self, position: int, user: User) -> "Entry":
        """Return an order; entries of the ledger never change, so what was read lately is kept."""
        entry = self._recent.get(position)
        if entry is None:
            entry = read_entry(self.connection, user, position, self._names)
            self._recent_bytes += ENTRY_BYTES + ITEM_BYTES * len(entry.receipt.items)
            if self._recent_bytes > RECENT_BYTES_MAX:
                self._recent.clear()  # dropping the oldest alone would have to look for it
                self._names.clear()
                self._recent_bytes = ENTRY_BYTES + ITEM_BYTES * len(entry.receipt.items)
            self._recent[position] = entry
        return entry

    def _first_before(self, user: User, before: int | None) -> int:
        """Return a position to start from: that which is wanted first, or one not far above it.

        The last order of a page, as clients ask, leads to the next at once. Otherwise it is among
        the orders of everybody shortly before, or else few of the user's are above it as far as
        the next mark.
        """
        head = self.index.head(user.id)
        if before is None or before > head:
            return head
        line, nearest = before * LINES_OF_ORDER, max(0, before - NEAR_ORDERS) * LINES_OF_ORDER
        own = row(self.connection, READ_PREVIOUS + " AND user = ?", (line, user.id))
        if own is not None:
            return int(own[0])
        near = row(self.connection, READ_NEAR, (nearest, line, user.id))
        return int(near[0]) if near else self.index.mark(self.connection, user.id, before)


def insert_users(connection: apsw.Connection, users: Iterable[NewUser]) -> None:
    """Insert users in the transaction that is open."""
    connection.executemany(
        "INSERT INTO users (name, password_hash) VALUES (?, ?)",
        ((user.name, user.password_hash) for user in users),
    )


def unseal(connection: apsw.Connection) -> None:
    """Break the seal of a store that is closed, in the transaction that is open."""
    seal = read_seal(connection)
    if seal is not None and seal.state == "closed":
        write_seal(connection, Seal("open", seal.orders))


def read_entry(
    connection: apsw.Connection, user: User, position: int, names: dict[str, str]
) -> Entry:
    """Return the order at a position, which must be one of the user's. Raises StorageFailed.

    Takes each product's name from `names`, so that it is in memory once.
    """
    first = position * LINES_OF_ORDER
    lines = rows(connection, READ_ENTRY, (first, first + LINES_OF_ORDER - 1, user.id))
    if not lines:
        raise StorageFailed(f"order {position} of {user.name!r} is not in the ledger")
    previous, placed_at_ms, key, *_ = lines[0]
    if not 0 <= previous < position:
        raise StorageFailed(f"damaged: order {position} does not lead to the one before it")
    items = tuple(
        SoldItem(names.setdefault(name, name), quantity, price, stock)
        for *_, name, quantity, price, stock in lines
    )
    return Entry(Receipt(position, placed_at_ms, user, items, key), previous)


def read_products(connection: apsw.Connection) -> Iterator[Product]:
    """Yield all products. Raises StorageFailed."""
    for product in rows(connection, "SELECT name, price_cents, stock FROM products"):
        yield Product(*product)


def read_token_key(connection: apsw.Connection) -> bytes:
    """Return the key that signs login tokens. Raises StorageFailed."""
    found = row(connection, "SELECT value FROM settings WHERE name = 'token_key'")
    if found is None or not isinstance(found[0], bytes) or len(found[0]) != tokens.KEY_BYTES:
        raise StorageFailed("damaged: the settings have no key to sign tokens with")
    return found[0]
