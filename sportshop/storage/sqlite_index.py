"""What follows from the SQLite ledger and is written out lazily: heads, order keys, marks.

Its tables are as of settings.index_as_of; what came later is in memory, and a start reads it from
the ledger. So a crash between two writes loses nothing.
"""

import array
from collections.abc import Iterable, Iterator, Mapping

import apsw

from sportshop.orders import KeyOfUser
from sportshop.storage.sqlite_query import row, rows

LINES_OF_ORDER = 100  # ledger.line is position * 100 + index of the item: orders.ITEMS_MAX
INDEX_WRITTEN_EVERY_ORDERS = 5_000  # takes 2 ms each time; a start goes through as many
BLOCK_POSITIONS = 64  # one of them is marked
GOLDEN = 0x9E37_79B9  # Fibonacci hashing (Knuth, TAOCP 6.4) of a block's number

WRITE_KEYS = """
INSERT INTO order_keys SELECT order_key, user, line / 100 FROM ledger
WHERE line >= ? AND line < ? AND line % 100 = 0 AND order_key IS NOT NULL ORDER BY order_key, user
"""
MAKE_MARKS = """
CREATE TABLE marks ( -- some orders of each user, as of settings.index_as_of: see Index
    user INTEGER NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (user, position)
) STRICT, WITHOUT ROWID
"""
WRITE_MARK = "INSERT OR IGNORE INTO marks SELECT user, line / 100 FROM ledger WHERE line = ?"
READ_MARK = "SELECT min(position) FROM marks WHERE user = ? AND position >= ?"


def marked_positions(first: int, last: int) -> Iterator[int]:
    """Yield the positions from `first` to `last` that are marked, whosever they are.

    One in each block of 64, at a place that looks random: a user who orders at every other
    position, or at every sixty-fourth, has marks all the same.
    """
    for block in range(first // BLOCK_POSITIONS, last // BLOCK_POSITIONS + 1):
        place = (block * GOLDEN % 2**32) >> 26
        position = block * BLOCK_POSITIONS + place
        if first <= position <= last:
            yield position


def make_marks(writer: apsw.Connection) -> None:
    """Make the table of marks if there is none, in the transaction that is open.

    A store of an earlier version gets its marks here: 50 ms for a million orders, once.
    """
    if row(writer, "SELECT 1 FROM sqlite_schema WHERE name = 'marks'"):
        return
    writer.execute(MAKE_MARKS)
    as_of = row(writer, "SELECT value FROM settings WHERE name = 'index_as_of'")
    write_marks(writer, 1, (as_of or (0,))[0])


def write_marks(writer: apsw.Connection, first: int, last: int) -> None:
    """Mark some orders of these positions, in the transaction that is open."""
    lines = ((position * LINES_OF_ORDER,) for position in marked_positions(first, last))
    writer.executemany(WRITE_MARK, lines)


class Index:
    """Where a user's newest order and an order key are: follows from the ledger.

    So it is written out lazily, by a statement for thousands of orders. Until then it is in memory,
    and a start goes through the ledger from where it was written last. Of a new key, if keys are
    ordered by time (UUIDv7), one look at the highest one that is written tells that it is new.
    Both together bring a keyed order from 2.4 to 1.5 µs above one without a key.

    With it go marks: of every 64 positions one, drawn as if by lot, is noted with its user, so that
    the middle of a long history is some 64 steps from a mark and not from its end. That costs the
    hot path nothing and an index write 78 rows.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        found = row(connection, "SELECT count(*) FROM sqlite_schema WHERE name = 'marks'")
        self.has_marks = found == (1,)
        """False until there is room for their table, in a store of an earlier version."""
        self._heads = array.array("q")  # by user: 8 bytes each
        self._changed: set[int] = set()
        self._keys: dict[KeyOfUser, int] = {}  # that are not written yet
        self._orders = 0  # that are not written yet
        for user, position in rows(connection, "SELECT user, position FROM heads"):
            self._set_head(user, position)
        self._highest_key = self._next_highest_key = _highest_key(connection)
        as_of = row(connection, "SELECT value FROM settings WHERE name = 'index_as_of'")
        self._as_of = self._next_as_of = (as_of or (0,))[0]
        query = "SELECT user, line, order_key FROM ledger WHERE line >= ? AND line % 100 = 0"
        for user, line, key in connection.execute(query, ((self._as_of + 1) * LINES_OF_ORDER,)):
            position = line // LINES_OF_ORDER
            self.add({user: position}, {} if key is None else {(user, key): position}, 1)

    def head(self, user: int) -> int:
        """Return the position of a user's newest order, or 0."""
        return self._heads[user] if user < len(self._heads) else 0

    def mark(self, reader: apsw.Connection, user: int, before: int) -> int:
        """Return a position of the user's at or above `before`, and not far above it.

        That is a mark, or the user's newest order. Raises StorageFailed.
        """
        found = row(reader, READ_MARK, (user, before)) if self.has_marks else None
        return int(found[0]) if found and found[0] else self.head(user)

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
        write_marks(writer, self._as_of + 1, as_of)
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


def _highest_key(connection: apsw.Connection) -> str:
    (highest,) = row(connection, "SELECT max(order_key) FROM order_keys") or (None,)
    return highest or ""
