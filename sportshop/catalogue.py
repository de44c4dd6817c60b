"""The catalogue: the CSV files that fill an empty store, and their errors.

products.csv has name,price,stockQuantity and users.csv user,passwordHash; the CSV store keeps
files of the same form. Every defect is told with file, line and column, and nothing is loaded.
"""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from sportshop import users
from sportshop.products import (
    NAME_CHARACTERS_MAX,
    STOCK_MAX,
    Product,
    has_control_characters,
    parse_cents,
)
from sportshop.users import NewUser

if TYPE_CHECKING:
    from _csv import Reader as CsvReader  # which the standard library names nowhere else

PRODUCT_COLUMNS = ("name", "price", "stockQuantity")
USER_COLUMNS = ("user", "passwordHash")
SECRET_COLUMN = USER_COLUMNS[1]

T = TypeVar("T")


class CatalogueError(Exception):
    """A file that is missing or has a bad line; the text names file, line and column."""


class Row(NamedTuple):
    """One record of a CSV file."""

    path: Path
    line: int
    cells: dict[str, str]

    def read(self, column: str, parse: Callable[[str], T]) -> T:
        """Return a cell's value; the ValueError of `parse` says what was expected."""
        try:
            return parse(self.cells[column])
        except ValueError as problem:
            raise self.error(column, str(problem)) from None

    def error(self, column: str, expected: str) -> CatalogueError:
        """Return the error of a column."""
        found = self.cells[column]
        shown = f", found {found[:40] + '…' if len(found) > 40 else found!r}"
        if column == SECRET_COLUMN:  # it may be a password in place of its hash
            shown = ""
        return CatalogueError(f"{self.path}, line {self.line}, column {column}: {expected}{shown}")


class Catalogue(NamedTuple):
    """What fills an empty store."""

    products: Sequence[Product] = ()
    users: Sequence[NewUser] = ()


def read_catalogue(folder: Path) -> Catalogue:
    """Return a folder's products and users. Raises CatalogueError."""
    return Catalogue(
        read_products(folder / "products.csv"),
        read_users(folder / "users.csv"),
    )


def read_products(path: Path, also: Sequence[str] = ()) -> list[Product]:
    """Return a file's products; `also` names columns that may follow. Raises CatalogueError."""
    return [
        Product(
            row.read("name", _product_name),
            row.read("price", parse_cents),
            row.read("stockQuantity", read_stock),
        )
        for row in _unique(read_rows(path, PRODUCT_COLUMNS, also), "name")
    ]


def read_users(path: Path) -> list[NewUser]:
    """Return a file's users. Raises CatalogueError."""
    return [
        NewUser(
            row.read("user", users.check_name),
            row.read("passwordHash", users.check_password_hash),
        )
        for row in _unique(read_rows(path, USER_COLUMNS), "user")
    ]


def read_rows(path: Path, columns: Sequence[str], also: Sequence[str] = ()) -> Iterator[Row]:
    """Yield the records of a CSV file with just these columns. Raises CatalogueError."""
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except OSError as problem:
        raise CatalogueError(f"{path}: cannot be read: {problem.strerror}") from None
    except UnicodeDecodeError as problem:
        line = content[: problem.start].count(b"\n") + 1
        raise CatalogueError(f"{path}, line {line}: expected UTF-8") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    yield from _records(path, reader, columns, also)


def _records(
    path: Path, reader: "CsvReader", columns: Sequence[str], also: Sequence[str]
) -> Iterator[Row]:
    header: list[str] | None = None
    line = 1
    try:
        for cells in reader:
            if header is None:
                header = _header(path, cells, columns, also)
            elif cells:
                yield _row(path, line, header, cells)
            line = reader.line_num + 1  # a quoted cell can span lines: name the first of them
    except csv.Error as problem:
        raise CatalogueError(f"{path}, line {line}: not correct CSV: {problem}") from None
    if header is None:
        raise CatalogueError(f"{path}, line 1: expected the columns {','.join(columns)}")


def _header(path: Path, cells: list[str], columns: Sequence[str], also: Sequence[str]) -> list[str]:
    if cells not in (list(columns), [*columns, *also]):
        raise CatalogueError(
            f"{path}, line 1: expected the columns {','.join(columns)}, found {','.join(cells)}"
        )
    return cells


def _row(path: Path, line: int, header: list[str], cells: list[str]) -> Row:
    if len(cells) != len(header):
        raise CatalogueError(
            f"{path}, line {line}: expected {len(header)} columns ({','.join(header)}),"
            f" found {len(cells)}"
        )
    return Row(path, line, dict(zip(header, cells, strict=True)))


def _unique(rows: Iterator[Row], column: str) -> Iterator[Row]:
    first: dict[str, int] = {}
    for row in rows:
        earlier = first.setdefault(row.cells[column], row.line)
        if earlier != row.line:
            raise row.error(column, f"expected each once, and line {earlier} has it")
        yield row


def _product_name(text: str) -> str:
    if not 1 <= len(text) <= NAME_CHARACTERS_MAX:
        raise ValueError(f"expected 1 to {NAME_CHARACTERS_MAX} characters")
    if has_control_characters(text):
        raise ValueError("expected no control characters")
    return text


def read_stock(text: str) -> int:
    """Read a stock; the ValueError says what was expected."""
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= STOCK_MAX):
        raise ValueError(f"expected a whole number from 0 to {STOCK_MAX}")
    return int(text)
