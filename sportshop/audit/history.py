"""History: the record of a run, as its customers saw it.

It holds nothing but answers of the shop and what was asked for, so it can be written by anybody
who speaks the protocol. The ledger position that each sale bears is what puts them in order.
Knows no rule: what a correct shop would have answered is the checkers' business.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import msgspec

from sportshop.orders import Item, SoldItem, quantities
from sportshop.products import ProductList

KEY_TAG_CHARACTERS = 8  # how much of an order key's end names the run that made it


class Asked(msgspec.Struct, frozen=True, gc=False):
    """An order that a customer sent."""

    user: str
    key: str
    items: tuple[Item, ...]


class Sale(msgspec.Struct, frozen=True, gc=False):
    """An order as the shop told of it, in a receipt or in an order list."""

    user: str
    position: int
    key: str | None
    items: tuple[SoldItem, ...]
    total: int
    """Cents, as told and not as added up."""

    def __str__(self) -> str:
        """Name the order for evidence: position, customer and goods."""
        goods = ", ".join(f"{n} {name}" for name, n in quantities(self.items).items())
        return f"order {self.position} of {self.user} ({goods})"


class Listing(msgspec.Struct, frozen=True):
    """One customer's final order list."""

    as_of: int
    """The smallest `asOf` of the answers that it was put together from."""
    sales: tuple[Sale, ...]


@dataclass(frozen=True)
class History:
    """A run, from the product list before the first order to the order lists after the last.

    The final product list must have been asked for after every acknowledgement, and the order
    lists after that, down to the opening position at least.
    """

    opening: ProductList
    """Every product, also those sold out, before the first order."""
    final: ProductList
    acknowledged: Sequence[Sale]
    listings: Mapping[str, Listing]
    """By customer."""
    unsettled: Sequence[Asked] = ()
    """Orders whose answer never came: they may have been placed, or not."""
    misserved: Sequence[tuple[Asked, Sale]] = ()
    """Orders that were acknowledged with other items than were asked for."""
    key_tags: frozenset[str] = frozenset()
    """The last KEY_TAG_CHARACTERS of the keys that this run made."""
    incomplete: Sequence[str] = ()
    """Why this is not the whole record, if it is not: one sentence each."""

    @cached_property
    def listed(self) -> tuple[Sale, ...]:
        """The sales in the order lists that came after the opening and not after the final list.

        In ledger order. Orders from before the run are in the lists too, and are none of ours.
        """
        first, last = self.opening.as_of, self.final.as_of
        found = (
            sale
            for listing in self.listings.values()
            for sale in listing.sales
            if first < sale.position <= last
        )
        return tuple(sorted(found, key=_position))

    @cached_property
    def sold(self) -> tuple[Sale, ...]:
        """What the shop owes: every listed sale and every acknowledged one, in ledger order."""
        listed = {(sale.user, sale.position, sale.key) for sale in self.listed}
        only_told = (
            sale for sale in self.acknowledged if (sale.user, sale.position, sale.key) not in listed
        )
        return tuple(sorted((*self.listed, *only_told), key=_position))

    @cached_property
    def strangers(self) -> tuple[range, ...]:
        """Positions taken during the run that no customer of ours was told of or has listed."""
        taken = sorted({sale.position for sale in self.sold})
        edges = [self.opening.as_of, *taken, self.final.as_of + 1]
        between = (range(low + 1, high) for low, high in pairwise(edges))
        return tuple(gap for gap in between if gap)

    def told(self) -> Iterator[tuple[str, Sale]]:
        """Yield every sale since the opening with the customer who was told of it."""
        for sale in self.acknowledged:
            yield sale.user, sale
        for user, listing in self.listings.items():
            for sale in listing.sales:
                if sale.position > self.opening.as_of:
                    yield user, sale

    def made_key(self, key: str | None) -> bool:
        """Tell whether this run made the key."""
        return key is not None and key[-KEY_TAG_CHARACTERS:] in self.key_tags


def units(sales: Sequence[Sale]) -> dict[str, int]:
    """Add up what was sold of each product."""
    total: dict[str, int] = defaultdict(int)
    for sale in sales:
        for item in sale.items:
            total[item.product_name] += item.quantity
    return total


def _position(sale: Sale) -> int:
    return sale.position
