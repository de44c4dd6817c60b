"""The CSV store: three files that any spreadsheet opens, durable all the same.

orders.csv is the ledger: append-only, a row per item, appended and synced once a batch. The last
row of a batch ends with a seal, a CRC over the batch's bytes: a batch that a crash cut short has
none, or a wrong one, and is dropped whole at the next start. Stock is not written with an order,
so order and stock can never disagree: it is products.csv's openingStock less what the ledger
sold. Its stockQuantity is for people, brought up to date whenever the store is opened or closed.

One process opens a folder. In memory: 16 bytes an order, and the order keys.
"""

import array
import csv
import io
import os
import re
import secrets
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from sportshop import tokens
from sportshop.catalogue import (
    PRODUCT_COLUMNS,
    USER_COLUMNS,
    Catalogue,
    CatalogueError,
    Row,
    read_rows,
    read_stock,
    read_stored_products,
    read_stored_users,
)
from sportshop.orders import (
    Decisions,
    KeyOfUser,
    Receipt,
    SoldItem,
    format_time,
    parse_time,
    quantities,
)
from sportshop.products import Product, Shelf, format_cents, parse_cents
from sportshop.storage.interface import StorageFailed, StoreError
from sportshop.storage.locks import lock_file
from sportshop.storage.memory import MemoryUsers
from sportshop.users import NewUser, User

VERSION = 1
PAGE_ORDERS = 100
SEALED = re.compile(rb",[0-9a-f]{8}\n\Z")
SEAL_BYTES = len(b"01234567\n")
STEPS_BETWEEN_PAGES = 10_000  # half a millisecond of searching before others may run
ORDER_COLUMNS = (
    "order",
    "placedAt",
    "user",
    "orderKey",
    "productName",
    "quantity",
    "price",
    "stockQuantity",
    "seal",
)
HEADER = (",".join(ORDER_COLUMNS) + "\n").encode()


class Settings(msgspec.Struct, rename="camel"):
    """store.json: tells a store's folder from any other. Written last, so it vouches for all."""

    format: str
    version: int
    token_key: str


class CsvLedger:
    """orders.csv, and in memory where each order of it stands."""

    def __init__(self, path: Path, users: MemoryUsers, opening: Iterable[Product]) -> None:
        self.path = path
        self._users = {user.name: user for user in users}
        self._offsets = array.array("Q")
        self._previous = array.array("Q")
        self._heads: dict[int, int] = {}
        self._keys: dict[KeyOfUser, int] = {}
        self._newest_at_ms = 0
        self.stock = {product.name: product.stock for product in opening}
        rows = SealedRows(path)
        for line, offset, receipt in self._orders(rows):
            self._replay(line, receipt)
            self._index(receipt, offset)
        self.size = rows.end
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        if rows.torn:
            self._drop(rows.torn)
        os.fdatasync(self._file)  # the last batch may have been written and not synced

    def count(self) -> int:
        """Return how many positions are taken."""
        return len(self._offsets)

    def newest_at_ms(self) -> int:
        """Return when the newest order was placed."""
        return self._newest_at_ms

    def history(
        self, user: User, before: int | None = None, limit: int | None = None
    ) -> Iterator[list[Receipt]]:
        """Yield the user's orders in pages, newest first."""
        page: list[Receipt] = []
        position, steps = self._heads.get(user.id, 0), 0
        left = self.count() if limit is None else limit
        while position and left:
            if before is None or position < before:
                page.append(self._read(user, position))
                left -= 1
            position, steps = self._previous[position - 1], steps + 1
            if len(page) == PAGE_ORDERS or steps % STEPS_BETWEEN_PAGES == 0:
                yield page
                page = []
        yield page

    def receipt_of(self, user: User, key: str) -> Receipt | None:
        """Return the receipt of a user's order key."""
        position = self._keys.get((user.id, key))
        return None if position is None else self._read(user, position)

    def append(self, batch: bytes) -> None:
        """Append a sealed batch and wait until the disk has it."""
        written = 0
        while written < len(batch):
            written += os.write(self._file, batch[written:])
        os.fdatasync(self._file)

    def publish(self, receipts: Sequence[Receipt], row_bytes: Sequence[int]) -> None:
        """Show a batch that is durable."""
        for receipt, size in zip(receipts, row_bytes, strict=True):
            self._index(receipt, self.size)
            self.size += size

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _index(self, receipt: Receipt, offset: int) -> None:
        user = receipt.user.id
        self._newest_at_ms = receipt.placed_at_ms
        self._offsets.append(offset)
        self._previous.append(self._heads.get(user, 0))
        self._heads[user] = receipt.position
        if receipt.key is not None:
            self._keys[user, receipt.key] = receipt.position

    def _read(self, user: User, position: int) -> Receipt:
        start = self._offsets[position - 1]
        end = self._offsets[position] if position < self.count() else self.size
        try:
            rows = os.pread(self._file, end - start, start)
        except OSError as problem:
            raise StorageFailed(f"{self.path}: {problem.strerror}") from None
        return _receipt(list(csv.reader(rows.decode().splitlines())), user)

    def _orders(self, batches: "SealedRows") -> Iterator[tuple[int, int, Receipt]]:
        """Yield each order with the line and offset at which it begins."""
        for batch in batches:
            cells = csv.reader(row.decode() for _, _, row in batch)
            order: list[list[str]] = []
            begins = (0, 0)
            for (line, offset, _), row in zip(batch, cells, strict=True):
                if order and order[0][0] != row[0]:
                    yield *begins, self._parse(begins[0], order)
                    order = []
                if not order:
                    begins = (line, offset)
                order.append(row)
            yield *begins, self._parse(begins[0], order)

    def _parse(self, line: int, rows: list[list[str]]) -> Receipt:
        try:
            return _receipt(rows, self._users[rows[0][2]])
        except KeyError as unknown:
            raise self._defect(line, f"users.csv has no {unknown}") from None
        except (ValueError, IndexError) as problem:
            raise self._defect(line, str(problem)) from None

    def _replay(self, line: int, receipt: Receipt) -> None:
        """Hold an order against those before it: the ledger checks itself."""
        if receipt.position != self.count() + 1:
            raise self._defect(line, f"expected order {self.count() + 1}")
        for name, sold in quantities(receipt.items).items():
            if name not in self.stock:
                raise self._defect(line, f"products.csv has no {name!r}")
            self.stock[name] -= sold
        for item in receipt.items:
            left = self.stock[item.product_name]
            if item.stock != left or left < 0:
                raise self._defect(line, f"expected stockQuantity {left}, found {item.stock}")

    def _defect(self, line: int, what: str) -> StoreError:
        return StoreError(f"{self.path}, line {line}: {what}")

    def _drop(self, torn: bytes) -> None:
        """Cut off a batch that a crash cut short; nobody was told that it was accepted."""
        kept = self.path.with_name(f"torn-after-order-{self.count()}.csv")
        write_durably(kept, torn)
        os.ftruncate(self._file, self.size)


class SealedRows:
    """Reads orders.csv batch by batch, and tells a batch cut short from a damaged file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.end = len(HEADER)  # where the last whole batch ends
        self.torn = b""  # what follows it, once all batches are read

    def __iter__(self) -> Iterator[list[tuple[int, int, bytes]]]:
        """Yield batches of (line, offset, row). Raises StoreError if the file is damaged."""
        try:
            with self._path.open("rb") as file:
                if file.readline() != HEADER:
                    raise StoreError(f"{self._path}, line 1: expected {HEADER.decode().strip()}")
                yield from self._batches(file)
                file.seek(self.end)
                self.torn = file.read()
        except OSError as problem:
            raise StoreError(f"{self._path}: {problem.strerror}") from None

    def _batches(self, file: Iterable[bytes]) -> Iterator[list[tuple[int, int, bytes]]]:
        batch: list[tuple[int, int, bytes]] = []
        offset, crc, broken = self.end, 0, 0
        for line, row in enumerate(file, 2):
            batch.append((line, offset, row))
            offset += len(row)
            sealed = SEALED.search(row)
            crc = zlib.crc32(row[:-SEAL_BYTES] if sealed else row, crc)
            if not sealed:
                continue
            if broken:
                raise StoreError(f"{self._path}, lines {broken} to {line}: damaged: wrong seal")
            if b"%08x\n" % crc == row[-SEAL_BYTES:]:
                self.end = offset
                yield batch
                batch, crc = [], 0
            else:
                broken = batch[0][0]


class CsvTransaction:
    """A batch: one append to orders.csv."""

    def __init__(self, shelf: Shelf, ledger: CsvLedger) -> None:
        self.taken = ledger.count()
        self._shelf = shelf
        self._ledger = ledger
        self._decisions = Decisions([], [], {})
        self._row_bytes: list[int] = []
        self._batch = b""

    def products(self, names: Collection[str]) -> Mapping[str, Product]:
        """Return the products of these names that exist."""
        return self._shelf.find_all(names)

    def receipts(self, keys: Collection[tuple[User, str]]) -> dict[KeyOfUser, Receipt]:
        """Return the receipts of the users' order keys that are in the ledger."""
        found = {(user.id, key): self._ledger.receipt_of(user, key) for user, key in keys}
        return {key: receipt for key, receipt in found.items() if receipt is not None}

    def write(self, decisions: Decisions) -> None:
        """Make the rows, the last of them sealed."""
        self._decisions = decisions
        orders = [_rows(receipt) for receipt in decisions.receipts]
        unsealed = b"".join(orders)[:-1]
        self._batch = b"%s%08x\n" % (unsealed, zlib.crc32(unsealed))
        self._row_bytes = [len(rows) for rows in orders]
        self._row_bytes[-1] += SEAL_BYTES - 1

    def commit(self) -> None:
        """Append and sync."""
        self._ledger.append(self._batch)

    def publish(self) -> None:
        """Show the batch to readers."""
        self._ledger.publish(self._decisions.receipts, self._row_bytes)
        self._shelf.publish(self._ledger.count(), self._decisions.stock)

    def rollback(self) -> None:
        """Forget the batch. What of it reached the file is cut off at the next start."""


class CsvUsers(MemoryUsers):
    """users.csv, whole in memory."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.load(read_stored_users(path))
        self._path = path

    def add(self, users: Iterable[NewUser]) -> int:
        """Add all of them durably, or none. Raises UserExists."""
        added = super().add(users)
        write_users(self._path, self)
        return added


class CsvStore:
    """A shop in a folder of CSV files, for the one process that has its lock."""

    def __init__(self, folder: Path, catalogue: Callable[[], Catalogue]) -> None:
        self.name = f"csv:{folder}"
        self._folder = folder
        _make_folder(folder, self.name)
        self._lock = lock_file(folder / "lock", self.name)
        try:
            if not (folder / "store.json").exists():
                _fill(folder, catalogue())
            self._open()
        except OSError as problem:
            os.close(self._lock)
            where = problem.filename or folder
            raise StoreError(f"store {self.name}: {where}: {problem.strerror}") from None
        except BaseException:
            os.close(self._lock)
            raise

    def _open(self) -> None:
        self.token_key = _read_settings(self._folder)
        try:
            self.users = CsvUsers(self._folder / "users.csv")
            opening = _read_opening(self._folder / "products.csv")
        except CatalogueError as problem:
            raise StoreError(f"store {self.name}: {problem}") from None
        self.orders = CsvLedger(self._folder / "orders.csv", self.users, opening)
        self._opening = opening
        stock = self.orders.stock
        now = [msgspec.structs.replace(p, stock=stock[p.name]) for p in opening]
        self.products = Shelf(now, self.orders.count())
        self._write_products()

    @property
    def contents(self) -> Mapping[str, int]:
        """Count what was opened."""
        return {
            "orders": self.orders.count(),
            "products": len(self.products.snapshot().products),
            "users": len(self.users),
            "set_aside_bytes": 0,
        }

    def check_is_there(self) -> None:
        """Raise StorageFailed if the path no longer leads to what is open."""

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
        left = self.products.find_all([product.name for product in self._opening])
        write_products(self._folder / "products.csv", self._opening, left)


def _make_folder(folder: Path, store: str) -> None:
    """Make the folder if need be; refuse one that has files that are not a store's."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = {path.name for path in folder.iterdir()}
    except OSError as problem:
        raise StoreError(f"store {store}: {problem.filename}: {problem.strerror}") from None
    if found and not found & {"store.json", "lock"}:
        raise StoreError(
            f"store {store}: the folder has files that are not a store's"
            f" ({', '.join(sorted(found)[:3])}): give the store a folder of its own"
        )


def _fill(folder: Path, catalogue: Catalogue) -> None:
    stock = {product.name: product for product in catalogue.products}
    write_products(folder / "products.csv", catalogue.products, stock)
    write_users(folder / "users.csv", catalogue.users)
    write_durably(folder / "orders.csv", HEADER)
    settings = Settings("sportshop-csv", VERSION, secrets.token_hex(tokens.KEY_BYTES))
    write_durably(folder / "store.json", msgspec.json.encode(settings) + b"\n")


def _read_settings(folder: Path) -> bytes:
    """Return the token key. Raises StoreError if the folder is not ours or newer."""
    path = folder / "store.json"
    try:
        settings = msgspec.json.decode(path.read_bytes(), type=Settings)
        key = bytes.fromhex(settings.token_key)
    except OSError as problem:
        raise StoreError(f"store csv:{folder}: {path}: {problem.strerror}") from None
    except (msgspec.DecodeError, ValueError) as problem:
        raise StoreError(f"store csv:{folder}: {path}: {problem}") from None
    if settings.format != "sportshop-csv":
        raise StoreError(f"store csv:{folder}: {path}: not one of a sportshop")
    if settings.version != VERSION:
        raise StoreError(
            f"store csv:{folder} has version {settings.version}:"
            f" this sportshop knows version {VERSION}"
        )
    return key


def _read_opening(path: Path) -> list[Product]:
    """Return the products with the stock of before the first order."""
    opening = {
        row.cells["name"]: row.read("openingStock", read_stock) for row in _product_rows(path)
    }
    return [
        msgspec.structs.replace(product, stock=opening[product.name])
        for product in read_stored_products(path, also=("openingStock",))
    ]


def _product_rows(path: Path) -> Iterator[Row]:
    return read_rows(path, (*PRODUCT_COLUMNS, "openingStock"))


def write_products(path: Path, opening: Iterable[Product], left: Mapping[str, Product]) -> None:
    """Write products.csv: what is left is for people, openingStock is what counts."""
    rows = ((p.name, format_cents(p.price), left[p.name].stock, p.stock) for p in opening)
    write_durably(path, _csv([(*PRODUCT_COLUMNS, "openingStock"), *rows]))


def write_users(path: Path, users: Iterable[NewUser | User]) -> None:
    """Write users.csv."""
    rows = ((user.name, user.password_hash) for user in users)
    write_durably(path, _csv([USER_COLUMNS, *rows]))


def write_durably(path: Path, content: bytes) -> None:
    """Replace a file whole: after a crash it is there as before or as after, never between."""
    new = path.with_name(f".{path.name}.new")
    file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(file, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(file)
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _csv(rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _cell(text: str) -> str:
    """Quote a cell where RFC 4180 asks for it."""
    if '"' in text or "," in text or "\r" in text or "\n" in text:
        return '"' + text.replace('"', '""') + '"'
    return text


def _rows(receipt: Receipt) -> bytes:
    """Return an order's rows, unsealed. By hand: csv's writer takes three times as long."""
    placed_at = format_time(receipt.placed_at_ms)
    user, key = _cell(receipt.user.name), _cell(receipt.key or "")
    order = f"{receipt.position},{placed_at},{user},{key}"
    rows = [
        f"{order},{_cell(item.product_name)},{item.quantity},{format_cents(item.price)},{item.stock},\n"
        for item in receipt.items
    ]
    return "".join(rows).encode()


def _receipt(rows: list[list[str]], user: User) -> Receipt:
    """Return the order of some rows. Raises ValueError or IndexError."""
    position, placed_at, _, key, *_ = rows[0]
    items = tuple(SoldItem(row[4], int(row[5]), parse_cents(row[6]), int(row[7])) for row in rows)
    return Receipt(int(position), parse_time(placed_at), user, items, key or None)
