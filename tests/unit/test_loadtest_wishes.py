"""What a workload may ask for. A mistake is the workload's: named, before anything is sent."""

from collections.abc import Callable
from typing import Any

import pytest
from _buying import Customer, rearranged
from _options import NOWHERE, Account, parse_address
from _part import Part
from _wishes import Spellings, checked_items

from sportshop.orders import ITEMS_MAX, QUANTITY_MAX
from tests.unit.fake_shop import FakeShop, Peer

TAG = "5ca1ab1e"
BALL = (("Ball", 1),)
WRONG_ITEMS = {
    "none of it": ((("Golf Ball", 0),), ValueError, "items[0]: quantity: expected 1 to 1,000,000"),
    "negative": ((("Ball", -3),), ValueError, "items[0]: quantity: expected 1 to 1,000,000, got"),
    "too many": ((("Ball", 2_000_000),), ValueError, "quantity: expected 1 to 1,000,000, got 2,0"),
    "endless": ((("Ball", 10**5_000),), ValueError, "got a number of many digits"),
    "a text": ((("Ball", "2"),), TypeError, "quantity: expected a whole number from 1 to"),
    "a half": ((("Ball", 2.5),), TypeError, "got float 2.5"),
    "a float": ((("Ball", 1.0),), TypeError, "got float 1.0"),
    "true": ((("Ball", True),), TypeError, "got bool True"),
    "nothing": ((("Ball", None),), TypeError, "got NoneType None"),
    "second": ((("Ball", 1), ("Shoe", 0)), ValueError, "items[1]: quantity: expected 1 to"),
    "101 items": (BALL * 101, ValueError, "items: expected 1 to 100, got 101"),
    "no items": ((), ValueError, "items: expected 1 to 100, got 0"),
    "long name": ((("x" * 201, 1),), ValueError, "name of 1 to 200 characters, got 201"),
    "no name": ((("", 1),), ValueError, "name of 1 to 200 characters, got 0"),
    "tab": ((("Ball\t", 1),), ValueError, r"without control characters, got 'Ball\t'"),
    "escape": ((("\x1b[2J", 1),), ValueError, "without control characters"),
    "C1": ((("Ball\x85", 1),), ValueError, "without control characters"),
    "surrogate": ((("Ball\ud800", 1),), ValueError, "without surrogates"),
    "too long a receipt": (
        tuple((f"{'⚽' * 197}{number:03}", 1) for number in range(ITEMS_MAX)),
        ValueError,
        "items: expected names whose receipt fits 65,536 bytes, got 100",
    ),
    "bytes": (((b"Ball", 1),), TypeError, "expected a product's name, got bytes"),
    "None as name": (((None, 1),), TypeError, "expected a product's name, got NoneType"),
    "a string": ("Ball", TypeError, "items: expected a tuple of pairs"),
    "strings": (("Ball", "Shoe"), TypeError, "items[0]: expected a pair of name and quantity"),
    "one pair": (("Ball", 1), TypeError, "items[0]: expected a pair of name and quantity, got str"),
    "dict": ({"Ball": 1}, TypeError, "items: expected a tuple of pairs"),
    "set": ({("Ball", 1)}, TypeError, "items: expected a tuple of pairs"),
    "generator": ((one for one in BALL), TypeError, "items: expected a tuple of pairs"),
    "three": (
        (("Ball", 1, 9),),
        ValueError,
        "items[0]: expected a pair of name and quantity, got 3",
    ),
}
ORDERING: dict[str, Callable[[Customer, Any], object]] = {
    "buy": lambda shop, items: shop.buy(items),
    "buy_again": lambda shop, items: shop.buy_again(items),
    "buy_again for others": lambda shop, items: shop.buy_again(BALL, items),
    "buy_in_one_go": lambda shop, items: shop.buy_in_one_go([BALL, items]),
    "buy_and_look": lambda shop, items: shop.buy_and_look(items),
    "buy_and_hang_up": lambda shop, items: shop.buy_and_hang_up(items),
    "buy_with_anothers_key": lambda shop, items: shop.buy_with_anothers_key(items),
    "break_off": lambda shop, items: shop.break_off(items),
}


def customer() -> Customer:
    """Return a customer who has nowhere to go: whatever is sent would wait for a connection."""
    return Customer(Part(TAG), NOWHERE, Account("ann", "secret"))


@pytest.mark.parametrize("order", ORDERING.values(), ids=ORDERING)
@pytest.mark.parametrize(("items", "kind", "told"), WRONG_ITEMS.values(), ids=WRONG_ITEMS)
def test_items_that_no_order_may_have_are_refused_before_anything_is_sent(
    items: Any, kind: type[Exception], told: str, order: Callable[[Customer, Any], object]
) -> None:
    one = customer()
    with pytest.raises(kind) as caught:
        order(one, items)
    assert told.replace("items", "", 1) in str(caught.value)
    assert len(one._part.recorder) == 0
    assert not one._part.unsettled
    assert one._part.new_key()[0] == 1  # not even a key was used up


@pytest.mark.parametrize(
    ("call", "kind", "told"),
    [
        (lambda shop: shop.buy(None), TypeError, "items: expected a tuple of pairs"),
        (lambda shop: shop.orders(0), ValueError, "limit: expected 1 to 1,000, got 0"),
        (lambda shop: shop.orders(1_001), ValueError, "limit: expected 1 to 1,000, got 1,001"),
        (lambda shop: shop.orders(-1), ValueError, "limit: expected 1 to 1,000, got -1"),
        (lambda shop: shop.orders("20"), TypeError, "limit: expected a whole number"),
        (lambda shop: shop.orders(True), TypeError, "limit: expected a whole number"),
        (lambda shop: shop.orders(2.0), TypeError, "limit: expected a whole number"),
        (lambda shop: shop.products("yes"), TypeError, "sold_out: expected True or False, got str"),
        (lambda shop: shop.products(2), TypeError, "sold_out: expected True or False, got int 2"),
        (lambda shop: shop.products(-1), TypeError, "sold_out: expected True or False, got int -1"),
        (lambda shop: shop.products(None), TypeError, "sold_out: expected True or False"),
        (lambda shop: shop.buy_and_look(BALL, 1_001), ValueError, "orders: expected 0 to 1,000"),
        (lambda shop: shop.buy_and_look(BALL, None), TypeError, "orders: expected a whole number"),
        (lambda shop: shop.buy_in_one_go([]), ValueError, "wishes: expected 1 to 1,000, got 0"),
        (lambda shop: shop.buy_in_one_go([BALL] * 1_001), ValueError, "got 1001"),
        (lambda shop: shop.buy_in_one_go("Ball"), TypeError, "wishes: expected a list of items"),
        (lambda shop: shop.buy_in_one_go(BALL), TypeError, "wishes[0][0]: expected a pair"),
        (lambda shop: shop.break_off(BALL), ValueError, "items: expected 2 or more"),
        (lambda shop: shop.buy(BALL, (1, "my-own-key")), ValueError, "key: expected one that"),
        (lambda shop: shop.buy(BALL, "my-own-key"), TypeError, "key: expected what new_key()"),
    ],
)
def test_other_arguments_are_named_with_their_range(
    call: Callable[[Any], object], kind: type[Exception], told: str
) -> None:
    one = customer()
    with pytest.raises(kind) as caught:
        call(one)
    assert told in str(caught.value)
    assert len(one._part.recorder) == 0


def test_a_mistake_leaves_the_connection_as_it_was() -> None:
    def shop(peer: Peer) -> None:
        peer.welcome(user="ann")
        peer.wait_for_end()  # nothing else comes

    with FakeShop(shop) as there:
        one = Customer(Part(TAG), parse_address(f"127.0.0.1:{there.port}"), Account("ann", "x"))
        one.log_in()
        for items in ((("Ball", 0),), (("Ball", 1), ("", 1))):
            with pytest.raises(ValueError, match="expected"):
                one.buy(items)
        with pytest.raises(ValueError, match="limit"):
            one.orders(0)
        one.hang_up()
    assert one._part.report().block.violations == []


@pytest.mark.parametrize(
    "items",
    [
        BALL,
        [("Ball", 1)],
        [["Ball", QUANTITY_MAX]],
        tuple((f"Ball {number}", 1) for number in range(ITEMS_MAX)),
        (("x" * 200, 1),),
        (("Bola de Futebol Edição Ünïque ⚽ '\"\\/", 7),),
        (("Ball\u2028Pro", 1), (" ", 1)),
    ],
)
def test_what_an_order_may_have_is_taken_as_pairs(items: Any) -> None:
    wanted = tuple(tuple(item) for item in items)
    for _ in range(2):  # the second time it is known
        assert checked_items(items, Spellings()) == wanted


def test_what_was_right_once_does_not_make_its_like_right() -> None:
    spellings = Spellings()
    assert checked_items(BALL, spellings) == BALL
    assert checked_items(BALL, spellings) is BALL
    for like in (True, 1.0):
        with pytest.raises(TypeError):
            checked_items((("Ball", like),), spellings)


def test_a_name_is_asked_for_in_the_shop_s_own_spelling() -> None:
    composed, decomposed = "Caf\u00e9", "Cafe\u0301"
    spellings = Spellings()
    assert checked_items(((decomposed, 1),), spellings) == ((composed, 1),)
    spellings.learn(decomposed)
    assert checked_items(((composed, 1),), spellings) == ((decomposed, 1),)
    spellings.learn(composed)
    for name in (composed, decomposed):
        assert checked_items(((name, 1),), spellings) == ((name, 1),)


@pytest.mark.parametrize("name", ["\u0958" * 150, "\u0958" * 101, "\U0001d160" * 200])
def test_a_name_that_nfc_makes_too_long_is_asked_for_as_it_is(name: str) -> None:
    spellings = Spellings()
    assert checked_items(((name, 1),), spellings) == ((name, 1),)
    spellings.learn(name)
    assert checked_items(((name, 1),), spellings) == ((name, 1),)


def test_long_names_that_were_right_alone_are_looked_at_again_together() -> None:
    spellings = Spellings()
    items = tuple((f"{'⚽' * 197}{number:03}", 1) for number in range(ITEMS_MAX))
    for item in items:
        assert checked_items((item,), spellings) == (item,)
    assert checked_items(items[:60], spellings) == items[:60]
    with pytest.raises(ValueError, match="expected names whose receipt fits"):
        checked_items(items, spellings)


@pytest.mark.parametrize(
    "items",
    [
        tuple((f"{'⚽' * 197}{number:03}", 9) for number in range(70)),
        tuple((f"Ball {number}", 9) for number in range(ITEMS_MAX)),
        (("Ball", QUANTITY_MAX),) * 2,
        (("Ball", QUANTITY_MAX),) * 3,
        (("Ball", QUANTITY_MAX),) * ITEMS_MAX,
        (("Ball", QUANTITY_MAX - 1), ("Shoe", 1), ("Ball", 2)),
        (("Ball", 1), ("Ball", 1)),
    ],
)
def test_an_order_in_other_lines_is_still_one_that_may_be_sent(items: Any) -> None:
    for _ in range(20):
        lines = rearranged(items)
        assert checked_items(lines, Spellings()) == lines
        for name in dict(items):
            assert sum(many for one, many in lines if one == name) == sum(
                many for one, many in items if one == name
            )
