"""What a start can see of damage without reading everything twice: it refuses, in one line.

A stop leaves a seal in the database: how many orders there are, and a CRC-32 of the file's pages
and of the settings. The next start compares. A start breaks the seal before anything is sold, so
that after a crash there is none to compare with: then SQLite's quick check has a look, if the file
is small, and the newest lines of the ledger are compared with everything that follows from them.
The whole of a store is checked by no start.
"""

import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import apsw
import msgspec

from sportshop.storage.interface import StorageFailed
from sportshop.storage.sqlite_file import Header, beside, has_log, logged_pages
from sportshop.storage.sqlite_query import number, row, rows

SEALED_BYTES_MAX = 256 * 1024 * 1024  # a quarter of a second at each stop and start
QUICK_CHECK_BYTES_MAX = 32 * 1024 * 1024  # a quarter of a second, after a crash only
CHUNK_BYTES = 1024 * 1024
TAIL_LINES = 10_000  # of the ledger, compared at each start: 20 ms
PATH_BYTES_MAX = 700  # so that the settings stay on one page
UNSEAL = "sqlite3 {} \"DELETE FROM settings WHERE name = 'seal'\""

READ_TAIL = """
SELECT line, user, previous, product, quantity, stock_after FROM ledger ORDER BY line DESC LIMIT ?
"""


class Seal(msgspec.Struct, omit_defaults=True):
    """The row `seal` of the settings."""

    state: str
    """`open` while a shop has the store, and after a crash; `closed` after a stop."""
    orders: int
    path: str = ""
    """Where it was opened: a log that is left of a crash is beside it."""
    changes: int = 0
    """The file's change counter when it was closed: any copy made by SQLite has another."""
    crc: int | None = None
    """Of all pages but that of the settings, and of the other settings."""


def read_seal(connection: apsw.Connection) -> Seal | None:
    """Return the seal, if there is one. Raises StorageFailed if it is damaged."""
    found = row(connection, "SELECT value FROM settings WHERE name = 'seal'")
    if found is None:
        return None
    try:
        return msgspec.json.decode(found[0], type=Seal)
    except (msgspec.MsgspecError, TypeError):
        raise StorageFailed("damaged: the seal in the settings is not readable") from None


def write_seal(connection: apsw.Connection, seal: Seal) -> None:
    """Write a seal in the transaction that is open. Raises apsw.Error."""
    value = msgspec.json.encode(seal).decode()
    connection.execute("REPLACE INTO settings VALUES ('seal', ?)", (value,))


def break_seal(connection: apsw.Connection, path: Path, orders: int) -> None:
    """Note in the transaction that is open that the store is in use from here on."""
    place = str(path) if len(os.fsencode(path)) <= PATH_BYTES_MAX else ""
    write_seal(connection, Seal("open", orders, place))


def close_seal(connection: apsw.Connection, path: Path, descriptor: int, orders: int) -> None:
    """Seal the store in the transaction that is open, after the log was written back whole."""
    header = Header(descriptor)
    crc = None
    if not has_log(path) and header.file_bytes <= SEALED_BYTES_MAX:
        crc = contents_crc(connection, descriptor, header)
    write_seal(connection, Seal("closed", orders, changes=header.changes, crc=crc))


def contents_crc(connection: apsw.Connection, descriptor: int, header: Header) -> int:
    """Return the CRC-32 of the settings but the seal, and of every page but theirs."""
    settings = rows(connection, "SELECT * FROM settings WHERE name != 'seal' ORDER BY name")
    crc = zlib.crc32(repr(settings).encode())
    page = number(connection, "SELECT rootpage FROM sqlite_schema WHERE name = 'settings'")
    start = (page - 1) * header.page_bytes
    for begin, end in ((0, start), (start + header.page_bytes, header.file_bytes)):
        crc = _file_crc(descriptor, begin, end, crc)
    return crc


def _file_crc(descriptor: int, begin: int, end: int, crc: int) -> int:
    for offset in range(begin, end, CHUNK_BYTES):
        crc = zlib.crc32(os.pread(descriptor, min(CHUNK_BYTES, end - offset), offset), crc)
    return crc


def check_log_is_of(connection: apsw.Connection, path: Path) -> None:
    """Raise StorageFailed if the store was in use under another name, whose log has orders.

    A log goes by its database's name: opened by a second name (a hard link, a file that was moved
    without its log) what was sold last would be lost.
    """
    seal = read_seal(connection)
    if seal is None or not seal.path or seal.path == str(path):
        return
    other = Path(seal.path)
    is_this = not other.exists() or other.samefile(path)
    if is_this and has_log(other) and not has_log(path):
        raise StorageFailed(
            f"the shop was last open as {other}, and what it sold last is in {other.name}-wal"
            f" there: start it as sqlite:{other}, or put that file beside this one"
        )


def check_seal(connection: apsw.Connection, path: Path, descriptor: int, orders: int) -> bool:
    """Compare the store with the seal; return whether that vouches for the whole of it.

    Before anything is written or written back. Raises StorageFailed where they differ.
    """
    seal, header = read_seal(connection), Header(descriptor)
    if seal is None:
        return False
    if seal.orders > orders:
        raise StorageFailed(
            f"damaged: the ledger has {orders:,} orders, and the last"
            f" {'stop' if seal.state == 'closed' else 'start'} counted {seal.orders:,}"
        )
    if seal.state == "closed" and seal.orders < orders:  # sold by a version that knows no seals
        return False
    # A copy made by SQLite (.backup, VACUUM INTO) has the same rows on other pages.
    if seal.crc is None or not header.logs_ahead or header.changes != seal.changes:
        return False
    settings_page = number(connection, "SELECT rootpage FROM sqlite_schema WHERE name = 'settings'")
    if not logged_pages(path) <= {settings_page}:
        raise StorageFailed(
            f"{beside(path, '-wal').name} was not there when the shop closed {path.name}: remove it"
            " and its -shm if it is of another database"
        )
    if contents_crc(connection, descriptor, header) != seal.crc:
        raise StorageFailed(
            f"damaged: {path.name} is not as the shop left it when it stopped: put a copy back, or,"
            f" if you changed it on purpose, run: {UNSEAL.format(path)}"
        )
    return True


def quick_check(connection: apsw.Connection, descriptor: int) -> None:
    """Let SQLite look at every page of a small file. Raises StorageFailed."""
    if Header(descriptor).file_bytes > QUICK_CHECK_BYTES_MAX:
        return
    (found,) = row(connection, "PRAGMA quick_check(1)") or ("ok",)
    if found != "ok":
        raise StorageFailed(f"damaged: {' '.join(str(found).split())}: put a copy back")


def check_ledger(connection: apsw.Connection) -> int:
    """Compare the newest lines with what follows from them; return how many orders there are.

    Positions without a gap, lines that name users and products there are, the stock of each
    product that was sold lately. Bounded work. Raises StorageFailed.
    """
    lines = rows(connection, READ_TAIL, (TAIL_LINES,))
    if not lines:
        return 0
    taken = int(lines[0][0]) // 100
    users = number(connection, "SELECT max(id) FROM users")
    stock = {
        product: (name, left)
        for product, name, left in rows(connection, "SELECT id, name, stock FROM products")
    }
    newest: dict[int, int] = {}
    for number_, line in enumerate(lines):
        _check_line(line, lines[number_ - 1] if number_ else None, users, stock.keys().__contains__)
        newest.setdefault(line[3], line[5])
    if len(lines) < TAIL_LINES and lines[-1][0] != 100:
        raise StorageFailed(f"damaged: the ledger begins with order {lines[-1][0] / 100:g}")
    _replay(reversed(lines))
    for product, left in newest.items():
        if stock[product][1] != left:
            raise StorageFailed(
                f"damaged: the stock of {stock[product][0]!r} is {stock[product][1]:,}, and the"
                f" ledger's newest order of it left {left:,}"
            )
    return taken


def _replay(lines: Iterable[Sequence[Any]]) -> None:
    """Raise StorageFailed where an order does not follow from those before it, oldest first.

    What came before the first is not known: a product and a user count from when they are met.
    """
    left: dict[int, int] = {}
    newest: dict[int, int] = {}
    for order, group in groupby(lines, lambda line: line[0] // 100):
        items = list(group)
        _, user, previous, *_ = items[0]
        sold = Counter[int]()
        for *_, product, quantity, _after in items:
            sold[product] += quantity
        follows = newest.get(user, previous) == previous
        for _, item_user, item_previous, product, _, after in items:
            expected = left.get(product, after + sold[product]) - sold[product]
            follows = follows and (item_user, item_previous) == (user, previous)
            follows = follows and expected == after
        if not follows:
            raise StorageFailed(f"damaged: order {order} does not follow from those before it")
        left |= {product: after for *_, product, _, after in items}
        newest[user] = order


def _check_line(
    line: Sequence[Any],
    after: Sequence[Any] | None,
    users_max: int,
    is_product: Callable[[object], bool],
) -> None:
    """Raise StorageFailed if a line of the ledger can't stand before the one `after` it."""
    place, user, previous, product, quantity, stock_after = line
    order, item = divmod(place, 100)
    expected = after is None or after[0] - place == 1
    if after is not None and after[0] % 100 == 0:
        expected = after[0] // 100 - order == 1
    whole = (
        expected
        and item >= 0
        and 0 < user <= users_max
        and 0 <= previous < order
        and is_product(product)
        and quantity > 0
        and stock_after >= 0
    )
    if not whole:
        raise StorageFailed(f"damaged: the ledger is not whole at order {order}, item {item + 1}")


def check_index(connection: apsw.Connection, orders: int) -> None:
    """Raise StorageFailed if what was written of the index is of orders that there are not."""
    as_of = number(connection, "SELECT value FROM settings WHERE name = 'index_as_of'")
    newest_key = number(
        connection,
        "SELECT max(position) FROM"
        " (SELECT position FROM order_keys ORDER BY order_key DESC LIMIT 1000)",
    )
    newest_head = number(connection, "SELECT max(position) FROM heads")
    oldest_head = number(connection, "SELECT min(position) FROM heads")
    users = number(connection, "SELECT max(id) FROM users")
    last_user = number(connection, "SELECT max(user) FROM heads")
    first_user = number(connection, "SELECT min(user) FROM heads")
    sound = 0 <= newest_key <= as_of <= orders and 0 <= oldest_head <= newest_head <= as_of
    if not sound or not 0 <= first_user <= last_user <= users:
        raise StorageFailed(
            f"damaged: the index is as of order {as_of:,}, names order"
            f" {max(newest_key, newest_head):,} and user {last_user:,}, and the ledger has"
            f" {orders:,} orders of {users:,} users"
        )
