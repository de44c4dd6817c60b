"""A shop in memory that speaks the protocol and lies in one chosen way, or in none."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import tests.system.lies_of_orders  # noqa: F401 - its lies note themselves
from tests.system.lies import LIARS, Lie
from tests.system.plain_shop import HONEST_ORDERS, opened


@contextmanager
def lying_shop(
    lie: Lie,
    stock: Mapping[str, int],
    prices: Mapping[str, int] | None = None,
    *,
    honest_orders: int = HONEST_ORDERS,
    every: int | None = None,
) -> Iterator[str]:
    """Open a shop, yield its host:port, close it.

    `prices` are in cents. After `honest_orders` it takes one opportunity to lie in `every`.
    """
    shop = LIARS[lie](stock, prices or {})
    shop.honest_orders = honest_orders
    shop.every = every or shop.every
    with opened(shop) as address:
        yield address
