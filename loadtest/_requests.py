"""Requests: what shoppers and the audit ask of the shop, as the bytes that are sent.

The messages of an order are templates that lack only the key. Knows no socket.
"""

import json
from collections.abc import Mapping
from functools import lru_cache

Items = tuple[tuple[str, int], ...]
"""Of an order: products and quantities."""
NO_PRODUCT = "Squared Circle"
"""A product that no shop has."""


def line(code: str, data: Mapping[str, object], end_of_data: bool = True) -> bytes:
    """Return a request."""
    message: dict[str, object] = {"code": code, "data": data}
    if not end_of_data:
        message["endOfData"] = False
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


GET_PRODUCTS = line("GET_PRODUCTS", {})
SOLD_OUT_TOO = line("GET_PRODUCTS", {"soldOut": True})


@lru_cache(maxsize=100)
def orders_line(limit: int) -> bytes:
    """Return the request for one's newest orders."""
    return line("GET_ORDERS", {"limit": limit})


def order_lines(items: Items, key: str) -> bytes:
    """Return the messages of an order."""
    marked = key.encode()
    if len(items) == 1:  # nearly always
        return _template(items[0], True).replace(b"\x00", marked)
    *others, last = items
    return b"".join([*(_template(item, False) for item in others), _template(last, True)]).replace(
        b"\x00", marked
    )


@lru_cache(maxsize=10_000)
def _template(item: tuple[str, int], last: bool) -> bytes:
    name, quantity = item
    data = {"productName": name, "quantity": quantity, "orderKey": "?"}
    return line("NEW_ORDER_ITEM", data, last).replace(b'"orderKey":"?"', b'"orderKey":"\x00"')
