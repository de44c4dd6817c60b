"""The rule that decides orders."""

from hypothesis import given
from hypothesis import strategies as st

from sportshop import orders
from sportshop.orders import (
    Accepted,
    InsufficientStock,
    Item,
    Order,
    OrderKeyReused,
    ProductNotFound,
    SoldItem,
    decide,
)
from sportshop.products import Product
from sportshop.users import User

USER, OTHER = User(1, "user1", ""), User(2, "user2", "")
SHELF = {"Ball": Product("Ball", 1_000, 5), "Net": Product("Net", 250, 2)}


def order(*items: tuple[str, int], user: User = USER, key: str | None = None) -> Order:
    return Order(user, tuple(Item(*item) for item in items), key)


def test_lines_of_the_same_product_are_added_up_before_they_are_compared() -> None:
    decisions = decide([order(("Ball", 3), ("Net", 1), ("Ball", 3))], SHELF, {}, 0, 0)
    assert decisions.outcomes == [InsufficientStock("Ball", 6, 5, as_of=0)]
    assert decisions.stock == {}


def test_both_lines_of_a_product_bear_what_is_left_after_the_order() -> None:
    decisions = decide([order(("Ball", 1), ("Ball", 2))], SHELF, {}, 10, 77)
    (receipt,) = decisions.receipts
    assert receipt.items == (SoldItem("Ball", 1, 1_000, 2), SoldItem("Ball", 2, 1_000, 2))
    assert (receipt.position, receipt.placed_at_ms, receipt.total) == (11, 77, 3_000)
    assert decisions.stock == {"Ball": 2}


def test_an_order_is_all_or_nothing_and_does_not_fail_its_batch() -> None:
    decisions = decide(
        [order(("Ball", 1), ("Net", 3)), order(("Ball", 5), ("Net", 2))], SHELF, {}, 0, 0
    )
    assert decisions.outcomes[0] == InsufficientStock("Net", 3, 2, as_of=0)
    assert isinstance(decisions.outcomes[1], Accepted)
    assert decisions.stock == {"Ball": 0, "Net": 0}


def test_the_first_product_that_falls_short_is_named() -> None:
    decisions = decide([order(("Net", 1), ("Ball", 9), ("Net", 9))], SHELF, {}, 3, 0)
    assert decisions.outcomes == [InsufficientStock("Net", 10, 2, as_of=3)]


def test_an_unknown_product_is_named_even_behind_one_that_falls_short() -> None:
    decisions = decide([order(("Ball", 9), ("Bat", 1))], SHELF, {}, 3, 0)
    assert decisions.outcomes == [ProductNotFound("Bat", as_of=3)]


@given(
    st.sampled_from(["Ball", "Net", "Bat"]),
    st.integers(1, 6),
    st.dictionaries(st.sampled_from(["Ball", "Net"]), st.integers(0, 5)),
)
def test_one_item_is_sold_as_any_number_of_them_are(
    name: str, quantity: int, stock: dict[str, int]
) -> None:
    items, left = (Item(name, quantity),), dict(stock)
    assert orders._sell_one(items, SHELF, stock, 3) == orders._sell(items, SHELF, left, 3)
    assert stock == left


def test_a_retry_is_answered_with_the_first_receipt_though_nothing_is_left() -> None:
    first = order(("Ball", 5), key="k")
    decisions = decide([first, order(("Ball", 1)), first], SHELF, {}, 0, 0)
    accepted, refused, replay = decisions.outcomes
    assert isinstance(accepted, Accepted)
    assert isinstance(refused, InsufficientStock)
    assert replay == Accepted(accepted.receipt, as_of=1, replayed=True)
    assert len(decisions.receipts) == 1


def test_a_key_with_other_items_is_refused_even_for_a_product_that_does_not_exist() -> None:
    decisions = decide([order(("Ball", 1), key="k"), order(("Bat", 1), key="k")], SHELF, {}, 0, 0)
    assert decisions.outcomes[1] == OrderKeyReused("k")


def test_keys_of_different_users_have_nothing_to_do_with_each_other() -> None:
    decisions = decide(
        [order(("Ball", 1), key="k"), order(("Ball", 2), user=OTHER, key="k")], SHELF, {}, 0, 0
    )
    assert [o.replayed for o in decisions.outcomes if isinstance(o, Accepted)] == [False, False]


def test_a_refused_order_takes_no_position() -> None:
    decisions = decide(
        [order(("Ball", 1)), order(("Ball", 9)), order(("Ball", 1))], SHELF, {}, 40, 0
    )
    assert [r.position for r in decisions.receipts] == [41, 42]
    assert [o.as_of for o in decisions.outcomes if not isinstance(o, OrderKeyReused)] == [
        41,
        41,
        42,
    ]


@given(
    st.lists(st.lists(st.tuples(st.sampled_from(["Ball", "Net"]), st.integers(1, 4)), min_size=1))
)
def test_never_more_is_sold_than_there_was(baskets: list[list[tuple[str, int]]]) -> None:
    decisions = decide([order(*basket) for basket in baskets], SHELF, {}, 0, 0)
    for name, product in SHELF.items():
        sold = sum(
            i.quantity for r in decisions.receipts for i in r.items if i.product_name == name
        )
        left = decisions.stock.get(name, product.stock)
        assert sold + left == product.stock
        assert left >= 0
