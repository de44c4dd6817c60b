"""The folder of a CSV store: its files besides the ledger, how they are filled and replaced.

A folder is filled only where nothing of a store is. `filling` is there while that goes on, so a
filling that a crash cut short is told from a store that has lost its store.json.
Knows no order.
"""

import csv
import errno
import io
import logging
import os
import re
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from sportshop import products, tokens, users
from sportshop.catalogue import (
    PRODUCT_COLUMNS,
    USER_COLUMNS,
    Catalogue,
    Row,
    read_rows,
    read_stock,
)
from sportshop.products import Product, format_cents, parse_cents
from sportshop.storage.csv_rows import HEADER, mark, unmark
from sportshop.storage.interface import StoreError
from sportshop.users import NewUser, User

VERSION = 1
STORE, USERS, PRODUCTS, ORDERS = "store.json", "users.csv", "products.csv", "orders.csv"
LOCK, FILLING = "lock", "filling"
STORE_PRODUCT_COLUMNS = (*PRODUCT_COLUMNS, "openingStock")
# What file systems and desktops put into a folder by themselves.
IGNORED = re.compile(
    r"lost\+found|\.DS_Store|Thumbs\.db|desktop\.ini|\.directory|\.gitignore|\.gitkeep"
    r"|\.nfs.*|\.fuse_hidden.*|\.Trash.*|\.snapshot|\._.*|\$RECYCLE\.BIN|System Volume Information"
    r"|\.Spotlight-V100|\.fseventsd|\..*\.new"
)
REMAINS = re.compile(
    r"store\.json|users\.csv|products\.csv|orders\.csv|ledger\.mark|torn-after-order-.*\.csv"
)
OTHERS = 0o077
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

log = logging.getLogger(__name__)

sync = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync


def is_full(problem: OSError) -> bool:
    """Tell whether there was no room, and nothing worse."""
    return problem.errno in FULL


class Settings(msgspec.Struct, rename="camel"):
    """store.json: tells a store's folder from any other. Written last, so it vouches for all."""

    format: str
    version: int
    token_key: str
    marked: bool = False
    """Whether names in users.csv and products.csv are marked (see csv_rows.py)."""


def prepare(folder: Path, store: str) -> None:
    """Make the folder if need be; refuse one that has files that are not a store's."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = {path.name for path in folder.iterdir()}
    except OSError as problem:
        raise StoreError(f"store {store}: {problem.filename}: {problem.strerror}") from None
    if STORE in found or LOCK in found or FILLING in found:
        return
    remains = sorted(name for name in found if REMAINS.fullmatch(name))
    foreign = sorted(name for name in found if not IGNORED.fullmatch(name))
    if foreign:
        raise StoreError(
            f"store {store}: the folder has files that are not a store's"
            f" ({', '.join(foreign[:3])}): give the store a folder of its own"
            + (f", or put back {STORE} if it was one" if remains else "")
        )


def fill_if_new(folder: Path, store: str, catalogue: Callable[[], Catalogue]) -> None:
    """Fill a folder that has nothing of a store. Raises StoreError if it has remains of one."""
    found = {path.name for path in folder.iterdir()}
    if STORE in found:
        _check_nothing_is_missing(folder, store, found)
        (folder / FILLING).unlink(missing_ok=True)
        return
    remains = sorted(name for name in found if REMAINS.fullmatch(name))
    if FILLING in found and {*remains} <= {USERS, PRODUCTS, ORDERS} and not _has_orders(folder):
        remains = []  # of a filling that was cut short
    if remains:
        raise StoreError(
            f"store {store}: {STORE} is missing beside {', '.join(remains)}: put it back from a"
            " backup, or give the shop a folder without anything of a store"
        )
    _fill(folder, catalogue())


def _check_nothing_is_missing(folder: Path, store: str, found: Collection[str]) -> None:
    missing = [str(folder / name) for name in (ORDERS, PRODUCTS, USERS) if name not in found]
    if missing:
        raise StoreError(f"store {store}: {', '.join(missing)}: No such file or directory")


def _has_orders(folder: Path) -> bool:
    with suppress(FileNotFoundError):
        return (folder / ORDERS).stat().st_size > len(HEADER)
    return False


def _fill(folder: Path, catalogue: Catalogue) -> None:
    (folder / FILLING).touch(mode=0o600)
    sync_folder(folder)
    stock = {product.name: product.stock for product in catalogue.products}
    key = secrets.token_hex(tokens.KEY_BYTES)
    settings = Settings("sportshop-csv", VERSION, key, marked=True)
    _write(folder / PRODUCTS, products_file(catalogue.products, stock, settings.marked))
    _write(folder / USERS, users_file(catalogue.users, settings.marked))
    _write(folder / ORDERS, HEADER)
    sync_folder(folder)
    write_settings(folder, settings)
    (folder / FILLING).unlink()


def read_settings(folder: Path) -> Settings:
    """Return store.json. Raises StoreError if the folder is not ours or newer."""
    path = folder / STORE
    try:
        settings = msgspec.json.decode(path.read_bytes(), type=Settings)
        key = bytes.fromhex(settings.token_key)
    except (msgspec.DecodeError, ValueError) as problem:
        raise StoreError(f"store csv:{folder}: {path}: {problem}") from None
    if settings.format != "sportshop-csv":
        raise StoreError(f"store csv:{folder}: {path}: not one of a sportshop")
    if len(key) != tokens.KEY_BYTES:
        raise StoreError(f"store csv:{folder}: {path}: damaged: tokenKey has {len(key)} bytes")
    if settings.version != VERSION:
        raise StoreError(
            f"store csv:{folder} has version {settings.version}:"
            f" this sportshop knows version {VERSION}"
        )
    return settings


def write_settings(folder: Path, settings: Settings) -> None:
    """Write store.json."""
    write_durably(folder / STORE, msgspec.json.encode(settings) + b"\n")


class Books(NamedTuple):
    """What stands in users.csv and products.csv."""

    users: list[NewUser]
    opening: list[Product]
    """The products, with the stock of before the first order."""
    ambiguous: bool
    """Some name begins with an apostrophe in the file."""


def read_books(folder: Path, marked: bool) -> Books:
    """Return the users and products. Raises CatalogueError.

    Names and hashes are held to what was let in when a store could take them.
    """
    text = unmark if marked else str
    user_rows = list(_each_once(read_rows(folder / USERS, USER_COLUMNS), "user"))
    product_rows = list(_each_once(read_rows(folder / PRODUCTS, STORE_PRODUCT_COLUMNS), "name"))
    names = [row.cells["user"] for row in user_rows] + [row.cells["name"] for row in product_rows]
    return Books(
        [_user(row, text) for row in user_rows],
        [_product(row, text) for row in product_rows],
        any(name.startswith("'") for name in names),
    )


def _user(row: Row, text: Callable[[str], str]) -> NewUser:
    name = row.read("user", lambda cell: users.check_stored_name(text(cell)))
    return NewUser(name, row.read("passwordHash", users.check_stored_hash))


def _product(row: Row, text: Callable[[str], str]) -> Product:
    name = row.read("name", lambda cell: products.check_stored_name(text(cell)))
    row.read("stockQuantity", read_stock)
    return Product(name, row.read("price", parse_cents), row.read("openingStock", read_stock))


def _each_once(rows: Iterable[Row], column: str) -> Iterable[Row]:
    first: dict[str, int] = {}
    for row in rows:
        name = row.cells[column]
        if name in first:
            raise row.error(column, f"expected each once, and line {first[name]} has it")
        first[name] = row.line
        yield row


def products_file(opening: Iterable[Product], left: Mapping[str, int], marked: bool) -> bytes:
    """Return products.csv: what is left is for people, openingStock is what counts."""
    text = mark if marked else str
    rows = ((text(p.name), format_cents(p.price), left[p.name], p.stock) for p in opening)
    return _csv([STORE_PRODUCT_COLUMNS, *rows])


def users_file(everyone: Iterable[NewUser | User], marked: bool) -> bytes:
    """Return users.csv."""
    text = mark if marked else str
    return _csv([USER_COLUMNS, *((text(user.name), user.password_hash) for user in everyone)])


def _csv(rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def write_if_other(path: Path, content: bytes) -> None:
    """Replace a file whole, unless that is what it has. Raises OSError."""
    if path.read_bytes() != content:
        write_durably(path, content)


def write_durably(path: Path, content: bytes) -> None:
    """Replace a file whole: after a crash it is there as before or as after, never between.

    Raises OSError, and leaves the file as it was.
    """
    new = path.with_name(f".{path.name}.new")
    try:
        _write(new, content)
        new.replace(path)
    except OSError:
        with suppress(OSError):
            new.unlink()  # it would take the room that was wanting
        raise
    sync_folder(path.parent)


def _write(path: Path, content: bytes) -> None:
    with suppress(FileNotFoundError):
        path.unlink()  # it may be somebody's who could read what is written
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(file, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(file)


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the folder's names."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def keep_to_owner(folder: Path) -> None:
    """Take from others what rights they have to a store's files, old ones too."""
    for path in folder.iterdir():
        if path.name == LOCK or REMAINS.fullmatch(path.name):
            mode = path.stat().st_mode
            if mode & OTHERS:
                _take_rights(path, mode)


def _take_rights(path: Path, mode: int) -> None:
    facts: dict[str, object] = {"file": str(path), "mode": f"{mode & 0o777:04o}"}
    try:
        path.chmod(0o600)
        log.warning("others could open a file of the store", extra={"facts": facts})
    except OSError as problem:  # it is another's, or the file system knows no rights
        facts["problem"] = problem.strerror
        log.warning("others can open a file of the store", extra={"facts": facts})


def set_aside_bytes(folder: Path) -> int:
    """Return how many bytes starts have set aside in all."""
    with suppress(OSError):
        return sum(path.stat().st_size for path in folder.glob("torn-after-order-*.csv"))
    return 0


def set_aside(folder: Path, orders: int, torn: bytes) -> Path:
    """Keep what follows the last whole batch in a file of its own; return which. Raises OSError.

    What was set aside before is never lost: a file is replaced by one that begins with the same
    bytes, otherwise there is a second.
    """
    number = 1
    while True:
        again = f"-{number}" if number > 1 else ""
        path = folder / f"torn-after-order-{orders}{again}.csv"
        try:
            earlier = path.read_bytes()
        except FileNotFoundError:
            earlier = b""
        if torn.startswith(earlier):
            if torn != earlier:
                write_durably(path, torn)
            return path
        number += 1
