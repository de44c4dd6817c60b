"""Runs made at random: the audit acquits what the shop's own rule decided, and no fault on top.

The shop here is `orders.decide`, the pure rule that the server runs; the clients forget answers
at random, as they do when a connection breaks.
"""

from collections.abc import Sequence
from dataclasses import replace

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from sportshop.audit import Asked, History, Listing, Outcome, Sale, audit, worst
from sportshop.orders import Accepted, Item, Order, Receipt, SoldItem, decide
from sportshop.products import Product, ProductList
from sportshop.users import User

TAG = "0ddba11s"
USERS = [User(1, "ann", ""), User(2, "bob", ""), User(3, "cid", "")]
NAMES = ["Ball", "Shoe", "Bat"]

items = st.lists(
    st.builds(Item, st.sampled_from(NAMES), st.integers(1, 3)), min_size=1, max_size=3
).map(tuple)
wishes = st.lists(st.tuples(st.sampled_from(USERS), items, st.booleans()), max_size=25)
stocks = st.lists(st.integers(0, 12), min_size=3, max_size=3)
earlier = st.integers(0, 5)  # positions that were taken before the run


def shelf(as_of: int, stock: dict[str, int]) -> ProductList:
    return ProductList(as_of, tuple(Product(name, 990, stock[name]) for name in NAMES))


def told(receipt: Receipt) -> Sale:
    return Sale(receipt.user.name, receipt.position, receipt.key, receipt.items, receipt.total)


def correct_run(
    stock: Sequence[int], taken: int, wanted: Sequence[tuple[User, tuple[Item, ...], bool]]
) -> History:
    """Let the shop decide every wish; where the flag is false its answer is never seen."""
    opening = shelf(taken, dict(zip(NAMES, stock, strict=True)))
    placed = [Order(user, what, f"{number}-{TAG}") for number, (user, what, _) in enumerate(wanted)]
    decided = decide(placed, {product.name: product for product in opening.products}, {}, taken, 0)
    seen = [answer_came for _, _, answer_came in wanted]
    sales = [told(receipt) for receipt in decided.receipts]
    final = {product.name: product.stock for product in opening.products} | decided.stock
    return History(
        opening=opening,
        final=shelf(taken + len(sales), final),
        acknowledged=[
            told(outcome.receipt)
            for outcome, came in zip(decided.outcomes, seen, strict=True)
            if came and isinstance(outcome, Accepted)
        ],
        listings={
            user.name: Listing(
                taken + len(sales), tuple(sale for sale in sales[::-1] if sale.user == user.name)
            )
            for user in USERS
        },
        unsettled=[
            Asked(order.user.name, order.key or "", order.items)
            for order, came in zip(placed, seen, strict=True)
            if not came
        ],
        key_tags=frozenset({TAG}),
    )


histories = st.builds(correct_run, stocks, earlier, wishes)


@given(histories)
def test_a_correct_run_passes(history: History) -> None:
    assert [v for v in audit(history) if v.outcome is not Outcome.PASS] == []


@given(histories.filter(lambda history: len(history.listed) > 0), st.data())
def test_a_correct_run_with_one_list_entry_removed_never_passes(
    history: History, data: st.DataObject
) -> None:
    victim = data.draw(st.sampled_from(history.listed))
    listing = history.listings[victim.user]
    without = Listing(listing.as_of, tuple(sale for sale in listing.sales if sale != victim))
    listings = {**history.listings, victim.user: without}
    broken = replace(history, listings=listings)
    assert worst(audit(broken)) is not Outcome.PASS
    if victim in history.acknowledged:
        assert worst(audit(broken)) is Outcome.FAIL


@given(histories.filter(lambda history: len(history.listed) > 0), st.data())
def test_a_correct_run_with_one_stock_changed_in_a_receipt_fails(
    history: History, data: st.DataObject
) -> None:
    victim = data.draw(st.sampled_from(history.listed))
    error = data.draw(st.sampled_from([-1, 1, 5]))
    first, *rest = victim.items
    lie = SoldItem(first.product_name, first.quantity, first.price, first.stock + error)
    liar = msgspec.structs.replace(victim, items=(lie, *rest))
    listing = history.listings[victim.user]
    lying = Listing(
        listing.as_of, tuple(liar if sale == victim else sale for sale in listing.sales)
    )
    broken = replace(
        history,
        acknowledged=[liar if sale == victim else sale for sale in history.acknowledged],
        listings={**history.listings, victim.user: lying},
    )
    assert worst(audit(broken)) is Outcome.FAIL


@given(histories, st.sampled_from(NAMES), st.sampled_from([-3, -1, 1, 2]))
def test_a_correct_run_with_another_final_stock_fails(
    history: History, name: str, error: int
) -> None:
    products = tuple(
        msgspec.structs.replace(product, stock=product.stock + error)
        if product.name == name
        else product
        for product in history.final.products
    )
    broken = replace(history, final=ProductList(history.final.as_of, products))
    assert worst(audit(broken)) is Outcome.FAIL
