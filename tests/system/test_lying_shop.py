"""The lying shop: honest it keeps to every dialogue, and each of its lies can be seen.

Every lie has a script, a short visit by one or two customers that tells whether they saw it. The
script has to see the lie in the shop that tells it, and must not see it in an honest one.
"""

import csv
import socket
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from sportshop.client import Client
from sportshop.products import parse_cents
from tests.system import vectors
from tests.system.conftest import request
from tests.system.lies import Lie
from tests.system.lies_of_orders import FORGOTTEN, KEYS_KEPT, KEYS_KEPT_S
from tests.system.lying_shop import lying_shop
from tests.system.plain_shop import EVERY, HONEST_ORDERS, PASSWORD
from tests.system.visits import Visit, left, order

PRODUCTS = Path(__file__).parents[2] / "data" / "products.csv"
STOCK = {"Ball": 100, "Bat": 100, "Net": 2, "Cup": 1, "Heap": 1_000}


# The honest shop.


@pytest.fixture(scope="module")
def honest() -> Iterator[str]:
    """A shop with the demo catalogue; its dialogues may be played once."""
    with PRODUCTS.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    prices = {row["name"]: parse_cents(row["price"]) for row in rows}
    stock = {row["name"]: int(row["stockQuantity"]) for row in rows}
    with lying_shop(Lie.NONE, stock, prices, honest_orders=0, every=1) as address:
        yield address


@pytest.mark.parametrize("dialogue", vectors.load(), ids=lambda dialogue: dialogue.name)
def test_an_honest_shop_keeps_to_the_dialogue(dialogue: vectors.Dialogue, honest: str) -> None:
    host, _, port = honest.partition(":")
    vectors.play(dialogue, host, int(port))


def test_pipelined_requests_are_answered_in_order() -> None:
    with lying_shop(Lie.NONE, STOCK) as address, Visit(address) as visit:
        customer = visit.login()
        one = order(("Ball", 1))
        customer.send_bytes(one + request("GET_PRODUCTS") + one + request("GET_ORDERS") + one)
        answers = [customer.answer()["data"] for _ in range(5)]
    assert [answer["asOf"] for answer in answers] == [1, 1, 2, 2, 3]
    assert [one["order"] for one in answers[3]["orders"]] == [2, 1]


def test_an_order_whose_answer_nobody_takes_is_placed() -> None:
    with lying_shop(Lie.NONE, STOCK) as address, Visit(address) as visit:
        customer = visit.login()
        customer.send_bytes(order(("Ball", 1), orderKey="k"))
        customer.socket.close()
        again = visit.login_again(customer)
        receipt = again.buy(("Ball", 1), orderKey="k")  # the first or the second to come
        assert (receipt["order"], again.products()["asOf"]) == (1, 1)


def test_customers_at_once_sell_out_and_no_more() -> None:
    receipts: list[dict[str, Any]] = []

    def buy(address: str) -> None:
        with Visit(address) as visit:
            customer = visit.login()
            receipts.extend(customer.buy(("Ball", 1)) for _ in range(30))

    with lying_shop(Lie.NONE, STOCK) as address:
        buyers = [threading.Thread(target=buy, args=(address,)) for _ in range(4)]
        for buyer in buyers:
            buyer.start()
        for buyer in buyers:
            buyer.join()
    assert sorted(one["order"] for one in receipts if "order" in one) == list(range(1, 101))
    assert all(left(one) == [100 - one["order"]] for one in receipts if "order" in one)
    assert [one["available"] for one in receipts if "reason" in one] == [0] * 20


def test_a_long_list_comes_in_several_messages() -> None:
    with lying_shop(Lie.NONE, {f"Ball {n:03}": 1 for n in range(250)}) as address:
        host, _, port = address.partition(":")
        with Client(host, int(port)) as client:
            client.authenticate("user1", PASSWORD)
            for n in range(120):
                client.order(f"Ball {n:03}")
            assert len(client.products()) == 130
            assert len(client.products(sold_out=True)) == 250
            assert [one.order for one in client.orders()] == list(range(120, 0, -1))
            assert [one.order for one in client.orders(before=7, limit=2)] == [6, 5]


# The scripts.

Script = Callable[[Visit], bool]
SCRIPTS: dict[Lie, Script] = {}


def sees(lie: Lie) -> Callable[[Script], Script]:
    def note(script: Script) -> Script:
        SCRIPTS[lie] = script
        return script

    return note


@sees(Lie.OVERSELL)
def three_of_two_are_sold(visit: Visit) -> bool:
    return left(visit.login().buy(("Net", 3))) == [0]


@sees(Lie.OVERSELL_AFTER_YIELD)
def the_last_one_is_sold_twice(visit: Visit) -> bool:
    racers = [visit.login("user1"), visit.login("user2")]
    for racer in racers:
        racer.send_bytes(order(("Cup", 1)))
    return [left(racer.answer()["data"]) for racer in racers] == [[0], [0]]


@sees(Lie.NEGATIVE_STOCK)
def there_is_less_than_nothing(visit: Visit) -> bool:
    customer = visit.login()
    return left(customer.buy(("Net", 3))) == [-1] == [customer.stock()["Net"]]


@sees(Lie.KEEP_STOCK)
def the_order_leaves_less_than_the_list_shows(visit: Visit) -> bool:
    customer = visit.login()
    return left(customer.buy(("Ball", 1))) == [99] and customer.stock()["Ball"] == 100


@sees(Lie.LOST_UPDATE)
def two_orders_leave_the_same(visit: Visit) -> bool:
    first, second = visit.login().buy_each("Ball", "Ball")
    return left(first) == left(second) == [99]


@sees(Lie.FALSE_SOLD_OUT)
def one_of_a_hundred_is_too_many(visit: Visit) -> bool:
    answer = visit.login().buy(("Ball", 1))
    return answer.get("reason") == "INSUFFICIENT_STOCK" and answer["available"] == 100


@sees(Lie.WRONG_AVAILABLE)
def a_refusal_tells_another_stock_than_the_list(visit: Visit) -> bool:
    customer = visit.login()
    told = [customer.buy(("Net", 9))["available"]]
    customer.buy(("Net", 2))
    told.append(customer.buy(("Net", 1))["available"])
    return told == [1, 1]


@sees(Lie.FALSE_NOT_FOUND)
def a_listed_product_is_not_found(visit: Visit) -> bool:
    answer = visit.login().buy(("Ball", 1))
    return answer.get("reason") == "PRODUCT_NOT_FOUND" and answer["productName"] == "Ball"


@sees(Lie.ITEMS_CHECKED_APART)
def one_and_one_of_one_are_sold(visit: Visit) -> bool:
    customer = visit.login()
    assert "reason" in customer.buy(("Cup", 2))
    return left(customer.buy(("Cup", 1), ("Cup", 1))) == [0, 0]


@sees(Lie.ITEMS_STOCK_APART)
def two_items_of_a_product_show_different_stocks(visit: Visit) -> bool:
    return left(visit.login().buy(("Ball", 1), ("Bat", 1), ("Ball", 2))) == [99, 99, 97]


@sees(Lie.HALF_AN_ORDER)
def only_the_first_product_is_taken(visit: Visit) -> bool:
    customer = visit.login()
    assert left(customer.buy(("Ball", 1), ("Bat", 1))) == [99, 99]
    stock = customer.stock()
    return (stock["Ball"], stock["Bat"]) == (99, 100)


@sees(Lie.PARTIAL_REFUSAL)
def a_refused_order_takes_its_first_product(visit: Visit) -> bool:
    customer = visit.login()
    assert "reason" in customer.buy(("Ball", 1), ("Net", 9))
    return customer.stock()["Ball"] == 99


@sees(Lie.STALE_READ)
def the_list_of_now_shows_what_is_sold(visit: Visit) -> bool:
    customer = visit.login()
    customer.buy_each("Ball", "Ball", "Ball")
    now = customer.products()
    return now["asOf"] == 3 and now["products"][0]["stockQuantity"] == 100


@sees(Lie.OLD_READ)
def the_list_is_as_of_before_what_was_acknowledged(visit: Visit) -> bool:
    customer = visit.login()
    customer.buy_each("Ball", "Ball", "Ball")
    old = customer.products()
    return old["asOf"] == 0 and old["products"][0]["stockQuantity"] == 100


@sees(Lie.MIXED_SNAPSHOT)
def the_list_shows_what_never_was_at_one_time(visit: Visit) -> bool:
    customer = visit.login()
    customer.buy_each("Bat", "Ball", "Bat")
    stock = customer.stock()
    return (stock["Ball"], stock["Bat"]) == (99, 100)


@sees(Lie.OLD_ORDERS)
def the_orders_are_as_of_before_what_was_acknowledged(visit: Visit) -> bool:
    customer = visit.login()
    customer.buy_each("Ball", "Ball", "Ball")
    return customer.ask("GET_ORDERS")["data"] == {"orders": [], "asOf": 0}


@sees(Lie.FOREIGN_ORDER)
def anothers_order_is_in_the_list(visit: Visit) -> bool:
    buyer, other = visit.login("user1"), visit.login("user2")
    other.buy(("Ball", 1))
    buyer.buy(("Ball", 1))
    return (other.listed(), other.listed(limit=1), other.listed(before=2)) == ([2, 1], [2], [1])


@sees(Lie.FOREIGN_ORDER_IN_FINAL)
def anothers_order_is_in_every_list(visit: Visit) -> bool:
    buyer, other = visit.login("user1"), visit.login("user2")
    buyer.buy(("Ball", 1))
    return [other.listed(), other.listed(), buyer.listed()] == [[1], [1], [1]]


@sees(Lie.DUPLICATE_IN_LIST)
def an_order_is_listed_twice(visit: Visit) -> bool:
    customer = visit.login()
    customer.buy_each("Ball", "Ball")
    return customer.listed() == [2, 2, 1]


@sees(Lie.LOSE_ORDERS)
def an_order_is_not_listed(visit: Visit) -> bool:
    customer = visit.login()
    return customer.buy(("Ball", 1))["order"] not in customer.listed()


@sees(Lie.LOSE_ORDER_LATER)
def a_listed_order_is_not_listed_again(visit: Visit) -> bool:
    customer = visit.login()
    customer.buy(("Ball", 1))
    return (customer.listed(), customer.listed()) == ([1], [])


@sees(Lie.CHANGED_RECEIPT)
def the_list_tells_another_quantity(visit: Visit) -> bool:
    customer = visit.login()
    (item,), (listed,) = customer.buy(("Ball", 1))["items"], customer.orders()[0]["items"]
    return listed == {**item, "quantity": 2}


@sees(Lie.GIVE_POSITIONS_TWICE)
def two_orders_have_one_number(visit: Visit) -> bool:
    first, second = visit.login().buy_each("Ball", "Ball")
    return first["order"] == second["order"]


@sees(Lie.GAP)
def a_number_is_nobodys(visit: Visit) -> bool:
    customer = visit.login()
    return [one["order"] for one in customer.buy_each("Ball", "Bat")] == [2, 4]


@sees(Lie.AGAINST_REAL_TIME)
def a_later_order_has_a_smaller_number(visit: Visit) -> bool:
    """In ledger order its stock is right, and no number is missing."""
    customer = visit.login()
    receipts = [customer.buy(("Ball", 1)) for _ in range(40)]
    numbers = [receipt["order"] for receipt in receipts]
    late = numbers.index(2)
    assert all(left(receipt) == [100 - receipt["order"]] for receipt in receipts)
    assert sorted(numbers[: late + 1]) == list(range(1, late + 2))
    assert all(receipt["asOf"] == receipt["order"] for receipt in receipts)
    return late > 20


@sees(Lie.ANSWER_BEFORE_COMMIT)
def after_a_crash_acknowledged_orders_are_gone(visit: Visit) -> bool:
    customer, other = visit.login("user1"), visit.login("user2")
    orders = [customer.buy(("Ball", 1), orderKey=f"{n}")["order"] for n in range(FORGOTTEN)]
    assert orders == list(range(1, FORGOTTEN + 1))
    customer.send_bytes(order(("Ball", 1)))
    if not customer.is_closed():
        return False
    assert other.is_closed()
    again = visit.login_again(customer)
    assert (again.listed(), again.products()["asOf"], again.stock()["Ball"]) == ([], 0, 100)
    return again.buy(("Ball", 1), orderKey="0")["order"] == 1


@sees(Lie.WRONG_TOTAL)
def the_total_is_a_cent_too_much(visit: Visit) -> bool:
    customer = visit.login()
    told = [customer.buy(("Ball", 1))["total"], customer.buy(("Ball", 1), ("Bat", 1))["total"]]
    listed = [one["total"] for one in reversed(customer.orders())]
    return told == listed == ["149.91", "299.81"]


@sees(Lie.WRONG_PRICE)
def the_receipt_has_another_price_than_the_list(visit: Visit) -> bool:
    customer = visit.login()
    receipt = customer.buy(("Ball", 2))
    price = receipt["items"][0]["price"]
    assert Decimal(receipt["total"]) == 2 * Decimal(price)
    return price != customer.products()["products"][0]["price"]


@sees(Lie.DOUBLE_RETRY)
def a_retry_is_sold_again(visit: Visit) -> bool:
    customer = visit.login()
    first, second = (customer.buy(("Ball", 1), orderKey="k") for _ in range(2))
    return (second["order"], second["replayed"]) == (first["order"] + 1, False)


@sees(Lie.KEY_CONFLICT)
def a_retry_is_refused(visit: Visit) -> bool:
    customer = visit.login()
    customer.buy(("Ball", 1), ("Bat", 1), orderKey="k")
    retry = visit.login_again(customer).buy(("Bat", 1), ("Ball", 1), orderKey="k")
    return retry.get("reason") == "ORDER_KEY_REUSED"


@sees(Lie.REUSE_ACCEPTED)
def another_order_is_answered_with_the_first(visit: Visit) -> bool:
    customer = visit.login()
    first = customer.buy(("Ball", 1), orderKey="k")
    return customer.buy(("Bat", 1), orderKey="k") == {**first, "replayed": True}


@sees(Lie.FORGET_KEYS)
def a_retry_after_many_orders_is_sold_again(visit: Visit) -> bool:
    customer = visit.login()
    keys = [f"{number}" for number in range(KEYS_KEPT + 1)]
    for key in keys:
        customer.buy(("Heap", 1), orderKey=key)
    again = [customer.buy(("Heap", 1), orderKey=key) for key in (keys[-1], keys[0])]
    return [one["replayed"] for one in again] == [True, False]


@sees(Lie.FORGET_KEYS_IN_TIME)
def a_retry_after_a_while_is_sold_again(visit: Visit) -> bool:
    customer = visit.login()
    replayed = []
    for pause_s in (0, 0, 2 * KEYS_KEPT_S):
        time.sleep(pause_s)
        replayed.append(customer.buy(("Ball", 1), orderKey="k")["replayed"])
    return replayed == [False, True, False]


@sees(Lie.SHARED_KEYS)
def anothers_key_is_ones_own(visit: Visit) -> bool:
    one, other = visit.login("user1"), visit.login("user2")
    first = one.buy(("Ball", 1), orderKey="k")
    same, reused = other.buy(("Ball", 1), orderKey="k"), other.buy(("Bat", 1), orderKey="k")
    return same == {**first, "replayed": True} and reused.get("reason") == "ORDER_KEY_REUSED"


@sees(Lie.ONLY_UNITS_COMPARED)
def as_many_of_another_product_are_answered_with_the_first(visit: Visit) -> bool:
    customer = visit.login()
    first = customer.buy(("Ball", 2), orderKey="k")
    assert customer.buy(("Ball", 3), orderKey="k")["reason"] == "ORDER_KEY_REUSED"
    return customer.buy(("Bat", 2), orderKey="k") == {**first, "replayed": True}


@sees(Lie.LINES_COMPARED)
def a_retry_in_other_lines_is_refused(visit: Visit) -> bool:
    customer = visit.login()
    customer.buy(("Ball", 2), ("Bat", 1), orderKey="k")
    assert customer.buy(("Ball", 2), ("Bat", 1), orderKey="k")["replayed"]
    other = customer.buy(("Bat", 1), ("Ball", 1), ("Ball", 1), orderKey="k")
    return other.get("reason") == "ORDER_KEY_REUSED"


@sees(Lie.HALF_SENT)
def an_order_that_was_broken_off_is_placed(visit: Visit) -> bool:
    customer = visit.login()
    customer.send_bytes(request("NEW_ORDER_ITEM", False, productName="Ball", quantity=1))
    customer.socket.shutdown(socket.SHUT_WR)
    assert customer.is_closed()
    return visit.login_again(customer).listed() == [1]


@sees(Lie.SELL_UNKNOWN)
def what_does_not_exist_is_sold(visit: Visit) -> bool:
    customer = visit.login()
    return left(customer.buy(("Stone", 2), ("Ball", 1))) == [0, 99]


@sees(Lie.UNKNOWN_SOLD_OUT)
def what_does_not_exist_is_sold_out(visit: Visit) -> bool:
    answer = visit.login().buy(("Stone", 2))
    return (answer["reason"], answer.get("available")) == ("INSUFFICIENT_STOCK", 0)


@sees(Lie.READ_AHEAD)
def a_list_asked_for_behind_an_order_does_not_have_it(visit: Visit) -> bool:
    customer = visit.login()
    read = request("GET_PRODUCTS") + request("GET_ORDERS")
    customer.send_bytes(order(("Ball", 1)) + read)
    told = [customer.answer()["data"]["asOf"] for _ in range(3)]
    assert [customer.ask(code)["data"]["asOf"] for code in ("GET_PRODUCTS", "GET_ORDERS")] == [1, 1]
    return told == [1, 0, 0]


@sees(Lie.TURNED_AROUND)
def of_two_orders_sent_at_once_the_second_is_first(visit: Visit) -> bool:
    customer = visit.login()
    customer.send_bytes(order(("Ball", 1)) + order(("Ball", 2)))
    receipts = [customer.answer()["data"] for _ in range(2)]
    return [(one["order"], *left(one)) for one in receipts] == [(2, 97), (1, 98)]


@sees(Lie.REFUSED_BUT_SOLD)
def a_refused_order_is_listed(visit: Visit) -> bool:
    customer = visit.login()
    refused = customer.buy(("Ball", 1)).get("reason") == "INSUFFICIENT_STOCK"
    return refused and customer.listed() == [1] and customer.stock()["Ball"] == 99


def test_every_lie_has_a_script() -> None:
    assert [lie for lie in Lie if lie not in SCRIPTS] == [Lie.NONE]


@pytest.mark.parametrize("lie", SCRIPTS, ids=lambda lie: lie.name)
def test_the_lie_can_be_seen(lie: Lie) -> None:
    with lying_shop(lie, STOCK, honest_orders=0, every=1) as address, Visit(address) as visit:
        assert SCRIPTS[lie](visit)


@pytest.mark.parametrize("lie", SCRIPTS, ids=lambda lie: lie.name)
def test_an_honest_shop_does_not_look_like_a_liar(lie: Lie) -> None:
    with lying_shop(Lie.NONE, STOCK, honest_orders=0, every=1) as address, Visit(address) as visit:
        assert not SCRIPTS[lie](visit)


def test_a_lie_begins_after_some_honest_orders_and_is_told_now_and_then() -> None:
    with lying_shop(Lie.GAP, {"Ball": 1_000}) as address, Visit(address) as visit:
        orders = [one["order"] for one in visit.login().buy_each(*["Ball"] * 150)]
    before_gaps = [count for count, (a, b) in enumerate(pairwise(orders), 1) if b > a + 1]
    assert before_gaps == [HONEST_ORDERS + EVERY * n - 1 for n in range(1, 5)]
