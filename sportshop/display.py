"""Display: what a customer is shown, as text for people and as JSON for programs.

The rule it keeps: what a shop says is untrusted. No control character of it reaches the terminal,
and none of it is taken for markup. On a terminal lists are tables, elsewhere lines of tabs.
Knows no socket and asks nothing: terminal.py and commands.py do.
"""

import json
import sys
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any

import click

from sportshop import streams
from sportshop.arguments import address
from sportshop.client import (
    Client,
    ConnectionLost,
    DeadlineExceeded,
    InsufficientStock,
    InvalidCredentials,
    OrderList,
    OutcomeUnknown,
    PastOrder,
    ProductList,
    ProductNotFound,
    ProtocolViolation,
    Receipt,
    Refused,
    ShopError,
    SoldItem,
    SoldOut,
)

# Controls, surrogates, line and paragraph separators; formats, of which some reverse the text.
_HARMFUL = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_HARMLESS_FORMATS = frozenset("\u200c\u200d")  # the joiners that emoji and some scripts are made of
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

Columns = Mapping[str, bool]
"""The heading of each column, and whether it holds numbers."""
PRODUCT_COLUMNS: Columns = {"#": True, "product": False, "price": True, "in stock": True}
ORDER_COLUMNS: Columns = {
    "order": True,
    "placed at": False,
    "product": False,
    "quantity": True,
    "price": True,
    "total": True,
}
RECEIPT_COLUMNS: Columns = {"product": False, "quantity": True, "price": True, "left": True}


class Failed(click.ClickException):
    """The shop refused, or could not be asked."""

    exit_code = 1

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the one line."""
        click.echo(f"sportshop: {clean(self.format_message())}", file=file or sys.stderr)


def clean(text: str) -> str:
    """Return the text with every character replaced that could do more than be seen."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_REPLACEMENT if _is_harmful(character) else character for character in text)


def _is_harmful(character: str) -> bool:
    return unicodedata.category(character) in _HARMFUL and character not in _HARMLESS_FORMATS


def is_terminal() -> bool:
    """Tell whether a person looks at the output."""
    return sys.stdout.isatty()


def say(text: str = "") -> None:
    """Write one line."""
    click.echo(_encodable(clean(text)))


def show_table(columns: Columns, rows: Sequence[Sequence[str]]) -> None:
    """Write a table for a person, or lines of cells with tabs between them for a program."""
    cells = [[_encodable(clean(cell)) for cell in row] for row in rows]
    if not is_terminal():
        for line in [list(columns), *cells]:
            click.echo("\t".join(line))
        return
    # Only here: rich takes a fifth of the time that a start of the shop takes.
    from sportshop import tables  # noqa: PLC0415

    tables.show(columns, cells)


def _encodable(text: str) -> str:
    """Return what is left of a text where the output is not UTF-8."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)


def show_json(document: object) -> None:
    """Write one JSON document, in ASCII."""
    click.echo(json.dumps(document, indent=2))


# Products.


def show_products(found: ProductList) -> None:
    """Write the products, numbered from 1."""
    none_left = "sold out" if is_terminal() else "0"
    rows = [
        (str(number), product.name, str(product.price), str(product.stock or none_left))
        for number, product in enumerate(found, 1)
    ]
    show_table(PRODUCT_COLUMNS, rows)


def products_document(found: ProductList) -> dict[str, object]:
    """Return the list as in PROTOCOL.md."""
    products = [
        {"name": product.name, "price": str(product.price), "stockQuantity": product.stock}
        for product in found
    ]
    return {"products": products, "asOf": found.as_of}


# Orders.


def show_orders(found: OrderList) -> None:
    """Write the orders, a line for each of their items."""
    rows = [
        (
            str(order.order),
            f"{order.placed_at:%Y-%m-%d %H:%M:%S} UTC",
            item.product_name,
            str(item.quantity),
            str(item.price),
            str(order.total),
        )
        for order in found
        for item in order.items
    ]
    show_table(ORDER_COLUMNS, rows)


def orders_document(found: OrderList) -> dict[str, object]:
    """Return the list as in PROTOCOL.md."""
    return {"orders": [_order_document(order) for order in found], "asOf": found.as_of}


def _order_document(order: PastOrder) -> dict[str, object]:
    moment = order.placed_at
    return {
        "order": order.order,
        "placedAt": f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z",
        **({} if order.key is None else {"orderKey": order.key}),
        "items": [_item_document(item) for item in order.items],
        "total": str(order.total),
    }


def _item_document(item: SoldItem) -> dict[str, object]:
    return {
        "productName": item.product_name,
        "quantity": item.quantity,
        "price": str(item.price),
        "stockQuantity": item.stock,
    }


def deliver(receipt: Receipt, show: Callable[[Receipt], None]) -> None:
    """Show what was bought. Raises Failed, with order and key, if that can't be written."""
    bought = f"order {receipt.order} was placed with the key {receipt.key}"
    try:
        show(receipt)
        sys.stdout.flush()
    except OSError as problem:
        streams.discard(sys.stdout)
        raise Failed(
            f"{bought}, but standard output cannot be written: {problem.strerror}"
        ) from None
    if streams.is_missing(1):
        streams.tell(f"{bought}; standard output is closed")


def show_receipt(receipt: Receipt) -> None:
    """Write what was bought."""
    rows = [
        (item.product_name, str(item.quantity), str(item.price), str(item.stock))
        for item in receipt.items
    ]
    show_table(RECEIPT_COLUMNS, rows)
    before = " had been placed before, and was not placed again" if receipt.replayed else ""
    say(f"order {receipt.order}{before}: {receipt.total} in total")


def receipt_document(receipt: Receipt) -> dict[str, object]:
    """Return the receipt as in PROTOCOL.md, with the key that the order was asked with."""
    return {
        "order": receipt.order,
        "items": [_item_document(item) for item in receipt.items],
        "total": str(receipt.total),
        "asOf": receipt.as_of,
        "replayed": receipt.replayed,
        **({} if receipt.key is None else {"orderKey": receipt.key}),
    }


# Errors.


def sentence(problem: ShopError, customer: Client) -> str:
    """Return what a person should know of an error, in one line."""
    where = f"the shop at {address(customer.host, customer.port)}"
    match problem:
        case ConnectionLost(stage="connect"):
            text = f"cannot reach {where}: {problem}"
        case ConnectionLost():
            text = f"lost the connection to {where}: {problem}"
        case DeadlineExceeded():
            text = f"{where} gave {problem}"
        case ProtocolViolation():
            text = f"{where} does not keep to the protocol: {problem}"
        case OutcomeUnknown():
            text = _doubt(problem, customer)
        case Refused():
            text = _refusal(problem)
        case _:
            text = str(problem)
    return clean(text)


def _refusal(problem: Refused) -> str:
    match problem:
        case SoldOut():
            return f"{problem.product_name!r} is sold out"
        case InsufficientStock(product_name=name, requested=requested, available=available):
            return f"{requested} of {name!r} requested, {available} available"
        case ProductNotFound(product_name=name):
            return f"there is no product {name!r}"
        case InvalidCredentials():
            return "the user or the password is wrong"
        case _:
            return f"the shop refused: {problem.message} ({problem.reason})"


def _doubt(problem: OutcomeUnknown, customer: Client) -> str:
    cause = problem.__cause__
    why = f" ({sentence(cause, customer)})" if isinstance(cause, ShopError) else ""
    return f"{problem}{why}"
