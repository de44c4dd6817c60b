"""Many connections race for the last units, on every store: each unit is sold once.

The check is then shown to bite: a shop without the Semaphore fails it.
"""

from pathlib import Path
from typing import Any

import pytest

from tests.catalogues import write_catalogue
from tests.system.conftest import ShopProcess, StartShop, Talk

CONNECTIONS = 150
ORDERS_EACH = 3
STOCK = 40


def race(shop: ShopProcess) -> None:
    """Let all connections want the same product at once, then hold every answer to account."""
    talks = [shop.login(f"u{i % 50}", "secret") for i in range(CONNECTIONS)]
    for talk in talks:
        talk.send_bytes(ORDER * ORDERS_EACH)
    answers = [talk.answer() for _ in range(ORDERS_EACH) for talk in talks]
    receipts = [a["data"] for a in answers if a["code"] == "SUCCESS"]
    refusals = [a["data"] for a in answers if a["code"] == "ERROR"]
    assert len(receipts) == STOCK, f"{len(receipts)} sold of {STOCK}"
    assert sorted(r["order"] for r in receipts) == list(range(1, STOCK + 1))
    left = {r["order"]: r["items"][0]["stockQuantity"] for r in receipts}
    assert [left[order] for order in sorted(left)] == list(range(STOCK - 1, -1, -1))
    assert {(r["reason"], r["available"], r["asOf"]) for r in refusals} == {
        ("INSUFFICIENT_STOCK", 0, STOCK)
    }
    assert talks[0].stock() == {"Scarce": 0, "Plenty": 1_000}
    check_lists(talks[:50], receipts)


def check_lists(talks: list[Talk], receipts: list[dict[str, Any]]) -> None:
    """Hold every acknowledged order to be in just one list, as it was acknowledged."""
    listed = [order for talk in talks for order in talk.orders()]
    shown = {order["order"]: order["items"] for order in listed}
    assert len(shown) == len(listed)
    assert shown == {receipt["order"]: receipt["items"] for receipt in receipts}


ORDER = b'{"code":"NEW_ORDER_ITEM","data":{"productName":"Scarce","quantity":1}}\n'


@pytest.mark.parametrize("kind", ["memory", "csv", "sqlite"])
def test_each_unit_is_sold_once(kind: str, start_shop: StartShop, tmp_path: Path) -> None:
    catalogue = write_catalogue(tmp_path / "catalogue", {"Scarce": STOCK, "Plenty": 1_000}, 50)
    race(start_shop(kind, "--catalogue", str(catalogue)))


def test_the_race_convicts_a_shop_without_the_semaphore(
    start_shop: StartShop, tmp_path: Path
) -> None:
    catalogue = write_catalogue(tmp_path / "catalogue", {"Scarce": STOCK, "Plenty": 1_000}, 50)
    shop = start_shop("memory", "--catalogue", str(catalogue), module="tests.system.unguarded_shop")
    with pytest.raises(AssertionError, match=f"sold of {STOCK}"):
        race(shop)


@pytest.mark.parametrize("kind", ["csv", "sqlite"])
def test_baskets_that_cross_each_other_are_all_or_nothing(
    kind: str, start_shop: StartShop, tmp_path: Path
) -> None:
    """Half want A then B, half B then A: stock of both must go down together."""
    catalogue = write_catalogue(tmp_path / "catalogue", {"A": 30, "B": 25}, 50)
    shop = start_shop(kind, "--catalogue", str(catalogue))
    talks = [shop.login(f"u{i}", "secret") for i in range(50)]
    for i, talk in enumerate(talks):
        first, second = ("A", "B") if i % 2 else ("B", "A")
        talk.send("NEW_ORDER_ITEM", end_of_data=False, productName=first, quantity=1)
        talk.send("NEW_ORDER_ITEM", productName=second, quantity=1)
    answers = [talk.answer() for talk in talks]
    assert sum(a["code"] == "SUCCESS" for a in answers) == 25
    short = {
        (a["data"]["productName"], a["data"]["available"]) for a in answers if a["code"] == "ERROR"
    }
    assert short == {("B", 0)}
    assert talks[0].stock() == {"A": 5, "B": 0}
