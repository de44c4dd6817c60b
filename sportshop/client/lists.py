"""Lists: products and past orders, which come in as many messages as the shop likes.

The rule it keeps: a shop that lies or never ends a list can't fill this program's memory, and
what is returned is one list as PROTOCOL.md describes it: of one moment, nothing twice, orders
newest first and only those that were asked for. Whether the stocks of two lists fit together is
for an audit (sportshop.audit) to find. Knows no socket.
"""

from collections.abc import Callable, Iterator
from typing import Annotated, TypeVar

from msgspec import Meta

from sportshop.client.answers import (
    Count,
    FromShop,
    OrderList,
    PastOrder,
    Product,
    ProductList,
    read,
)
from sportshop.client.checks import check_total
from sportshop.client.errors import ProtocolViolation
from sportshop.messages import LIST_ENTRIES_MAX, Answer, Code

# Together with their texts some hundred MiB. Whoever has more orders reads them part by part.
LINES_MAX = 250_000


class _Page(FromShop, frozen=True):
    """A message of a list."""

    as_of: Count


class _ProductsPage(_Page, frozen=True):
    products: Annotated[list[Product], Meta(max_length=LIST_ENTRIES_MAX)]


class _OrdersPage(_Page, frozen=True):
    orders: Annotated[list[PastOrder], Meta(max_length=LIST_ENTRIES_MAX)]


_SomePage = TypeVar("_SomePage", bound=_Page)


def read_products(receive: Callable[[], Answer]) -> ProductList:
    """Return the list that the next answers make up, calling `receive` up to its last message.

    Raises Refused, ProtocolViolation (also for over LINES_MAX products), and whatever `receive`
    raises.
    """
    products: dict[str, Product] = {}
    as_of = 0
    for page in _pages(receive, Code.PRODUCTS_LIST, _ProductsPage):
        for product in page.products:
            if product.name in products:
                raise ProtocolViolation(f"a list that has {product.name!r} twice")
            products[product.name] = product
        _check_length(len(products))
        as_of = page.as_of
    return ProductList(as_of, tuple(products.values()))


def read_orders(
    receive: Callable[[], Answer], before: int | None = None, limit: int | None = None
) -> OrderList:
    """Return the list that the next answers make up, calling `receive` up to its last message.

    `before` and `limit` are what was asked for. Raises Refused, ProtocolViolation (also for over
    LINES_MAX items), and whatever `receive` raises.
    """
    orders: list[PastOrder] = []
    lines = as_of = 0
    for page in _pages(receive, Code.ORDERS_LIST, _OrdersPage):
        for order in page.orders:
            _check_place(order, before, page.as_of)
            check_total(order)
            before = order.order
            lines += len(order.items)
        orders += page.orders
        if limit is not None and len(orders) > limit:
            raise ProtocolViolation(f"{len(orders)} orders where at most {limit} were asked for")
        _check_length(lines)
        as_of = page.as_of
    return OrderList(as_of, tuple(orders))


def _check_place(order: PastOrder, below: int | None, as_of: int) -> None:
    if below is not None and order.order >= below:
        raise ProtocolViolation(f"order {order.order} in a list that goes on below {below}")
    if order.order > as_of:
        raise ProtocolViolation(f"order {order.order} in a list as of {as_of}")


def _check_length(lines: int) -> None:
    if lines > LINES_MAX:
        raise ProtocolViolation(
            f"a list of over {LINES_MAX:,} lines, more than this client takes in at once"
        )


def _pages(receive: Callable[[], Answer], code: Code, kind: type[_SomePage]) -> Iterator[_SomePage]:
    """Yield the messages of one list, which is one snapshot."""
    as_of = None
    more = True
    while more:
        answer = receive()
        page = read(answer, code, kind)
        if as_of is not None and page.as_of != as_of:
            raise ProtocolViolation(f"one list as of {as_of} and as of {page.as_of}")
        as_of = page.as_of
        more = not answer.end_of_data
        yield page
