"""The rows of the CSV store: a receipt as lines of text, and back.

orders.csv has one row an item, a row is one line that ends with LF, and no cell has an LF in it.
The last row of a batch ends with the seal, a CRC-32 of the batch's bytes before the seal.

A spreadsheet takes a cell that begins with `=`, `+`, `-` or `@` for a formula, and an order key
is whatever a customer sends. Such a cell is written with an apostrophe before it, which
spreadsheets show as text; so is a cell that begins with an apostrophe itself. A cell that begins
with one is therefore always marked, in batches that this version wrote. Earlier versions marked
nothing: a batch in which some cell may be marked has the complement of the CRC as its seal.

Knows no file, so a test drives it by calling it.
"""

import csv
import re
import zlib
from collections.abc import Sequence
from functools import lru_cache

from sportshop.orders import Receipt, SoldItem, format_time, parse_time
from sportshop.products import format_cents, parse_cents
from sportshop.users import User

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
SEAL_BYTES = len(b"01234567\n")
MARKED = 0xFFFF_FFFF
"""What the CRC of a batch with marked cells is XORed with."""

# OWASP's list (CSV Injection), with the wide forms that East Asian spreadsheets accept, and with
# blanks before them, which some spreadsheets skip.
_FORMULA = re.compile("\\s*[=+\\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n']")
_MARKED_CELL = re.compile(rb"[,\n]\"?'")


def mark(text: str) -> str:
    """Return a cell's text as no spreadsheet takes it for a formula."""
    return "'" + text if _FORMULA.match(text) else text


def unmark(cell: str) -> str:
    """Return the text that `mark` was given."""
    return cell[1:] if cell.startswith("'") else cell


def _cell(text: str) -> str:
    """Mark a cell if need be, and quote it where RFC 4180 asks for it."""
    plain = '"' not in text and "," not in text and "\r" not in text and "\n" not in text
    if plain and text[0].isalnum():  # nearly always
        return text
    text = mark(text)
    return text if plain else '"' + text.replace('"', '""') + '"'


_name_cell = lru_cache(maxsize=10_000)(_cell)  # the same names again and again


def order_rows(receipt: Receipt) -> bytes:
    """Return an order's rows, unsealed. By hand: csv's writer takes three times as long."""
    placed_at, user = format_time(receipt.placed_at_ms), _name_cell(receipt.user.name)
    key = _cell(receipt.key) if receipt.key else ""
    order = f"{receipt.position},{placed_at},{user},{key}"
    rows = [
        f"{order},{_name_cell(item.product_name)},{item.quantity},{format_cents(item.price)},{item.stock},\n"
        for item in receipt.items
    ]
    return "".join(rows).encode()


def seal_of(unsealed: bytes) -> bytes:
    """Return the seal of a batch: eight hexadecimal digits. The batch is given without its LF."""
    crc = zlib.crc32(unsealed)
    if b"'" in unsealed and _MARKED_CELL.search(unsealed):
        crc ^= MARKED
    return b"%08x" % crc


def parse_rows(rows: bytes) -> list[list[str]]:
    """Return the cells of some rows. Raises ValueError, which names no line."""
    try:
        cells = list(csv.reader(rows.decode().split("\n")[:-1], strict=True))
    except csv.Error as problem:
        raise ValueError(f"not correct CSV: {problem}") from None
    if any(len(row) != len(ORDER_COLUMNS) for row in cells):
        raise ValueError(f"expected {len(ORDER_COLUMNS)} columns")
    return cells


def parse_receipt(rows: Sequence[Sequence[str]], user: User, marked: bool) -> Receipt:
    """Return the order of some rows, with cells that may be marked or not. Raises ValueError."""
    if not rows:
        raise ValueError("no rows")
    text = unmark if marked else str
    position, placed_at, _, key, *_ = rows[0]
    items = tuple(
        SoldItem(text(row[4]), int(row[5]), parse_cents(row[6]), int(row[7])) for row in rows
    )
    return Receipt(int(position), parse_time(placed_at), user, items, text(key) or None)
