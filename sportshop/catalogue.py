"""The catalogue: the CSV files that fill an empty store, and their errors.

products.csv has name,price,stockQuantity and users.csv user,passwordHash; the CSV store keeps
files of the same form. Every defect is told with file, line and column, and nothing is loaded.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from sportshop import products, users
from sportshop.names import same_form
from sportshop.products import STOCK_MAX, Product, parse_cents
from sportshop.rows import CatalogueError, Row, read_rows
from sportshop.users import NewUser

__all__ = [  # with the reader of the files, for whoever reads others of the same kind
    "PRODUCT_COLUMNS",
    "USER_COLUMNS",
    "Catalogue",
    "CatalogueError",
    "Row",
    "line_of_user",
    "read_catalogue",
    "read_products",
    "read_rows",
    "read_stock",
    "read_users",
]

PRODUCT_COLUMNS = ("name", "price", "stockQuantity")
USER_COLUMNS = ("user", "passwordHash")


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


def read_products(path: Path) -> list[Product]:
    """Return a file's products. Raises CatalogueError."""
    rows = _each_once(read_rows(path, PRODUCT_COLUMNS), "name", products.check_name, _form_product)
    return [_product(row) for row in rows]


def read_users(path: Path) -> list[NewUser]:
    """Return a file's users. Raises CatalogueError."""
    rows = _each_once(read_rows(path, USER_COLUMNS), "user", users.check_name, _form_user)
    return [_user(row) for row in rows]


def line_of_user(path: Path, name: str) -> int:
    """Return the line of a user in a file that `read_users` has read. Raises CatalogueError."""
    return next((r.line for r in read_rows(path, USER_COLUMNS) if r.cells["user"] == name), 1)


def read_stock(text: str) -> int:
    """Read a stock; the ValueError says what was expected."""
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= STOCK_MAX):
        raise ValueError(f"expected a whole number from 0 to {STOCK_MAX}")
    return int(text)


def _product(row: Row) -> Product:
    return Product(
        row.cells["name"],
        row.read("price", parse_cents),
        row.read("stockQuantity", read_stock),
    )


def _user(row: Row) -> NewUser:
    return NewUser(row.cells["user"], row.read("passwordHash", users.check_password_hash))


def _each_once(
    rows: Iterable[Row], column: str, check: Callable[[str], str], form: Callable[[str], str | None]
) -> Iterator[Row]:
    """Yield rows whose names are right, and none the same as another by the form compared."""
    first: dict[str | None, int] = {}
    for row in rows:
        name = row.read(column, check)
        earlier = first.setdefault(form(name), row.line)
        if earlier != row.line:
            raise row.error(column, f"expected each once, and line {earlier} has it")
        yield row


def _form_product(name: str) -> str | None:
    return same_form(name, products.NAME_CHARACTERS_MAX)


def _form_user(name: str) -> str | None:
    return same_form(name, users.NAME_CHARACTERS_MAX)
