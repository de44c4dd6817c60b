"""Wording: how evidence names orders and goods. Knows no rule."""

from collections.abc import Iterable, Mapping, Sequence

from sportshop.audit.history import Sale
from sportshop.products import format_cents

RANGES_MAX = 5  # a record full of holes is told by its first ones
NEWEST_MAX = 3  # a wrong sum is most often the doing of the newest orders


def conjoin(things: Iterable[object]) -> str:
    """Return "a and b and c"."""
    return " and ".join(map(str, things))


def goods(quantities: Mapping[str, int]) -> str:
    """Return "2 Football, 1 Yoga Mat"."""
    return ", ".join(f"{quantity} {name}" for name, quantity in quantities.items())


def in_full(sale: Sale) -> str:
    """Return everything that was told of an order."""
    items = ", ".join(
        f"{item.quantity} {item.product_name} at {format_cents(item.price)}, {item.stock} left"
        for item in sale.items
    )
    return f"[{items}; total {format_cents(sale.total)}; key {sale.key}]"


def newest_orders(sales: Sequence[Sale], name: str) -> str:
    """Name the newest orders of a product."""
    positions = [
        str(sale.position)
        for sale in sales
        if any(item.product_name == name for item in sale.items)
    ]
    if not positions:
        return "no order of it is listed"
    return f"newest orders of it: {', '.join(positions[-NEWEST_MAX:])}"


def ranges(gaps: Sequence[range]) -> str:
    """Return "5, 9 to 12"."""
    shown = [
        str(gap[0]) if len(gap) == 1 else f"{gap[0]} to {gap[-1]}" for gap in gaps[:RANGES_MAX]
    ]
    return ", ".join(shown) + (", …" if len(gaps) > RANGES_MAX else "")
