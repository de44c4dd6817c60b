"""Shops that lie to the load test: each is convicted by the rule that is meant for its lie.

Every lie is a sale of half a second in this process; some are told to a real Locust as well, in
test_loadtest_lies.py. A correct shop passes under the same loads.
"""

import re
from typing import NamedTuple

import pytest
from _options import WORKLOADS, Workload

from sportshop.audit import Kind, Outcome, Recorder
from tests.system.lies import Lie
from tests.system.lying_shop import lying_shop
from tests.system.sale import Sale, hold_sale

ALIKE = "an order is told alike in receipts and in lists"
ANSWERS = "every answer fits its request and itself"
FINAL_LISTS = "every acknowledged order is in its owner's list"
GAPS = "every position taken during the run is in a list"
KEYS_REFUSED = "a key is refused only where it sold other items"
KEYS_SELL_ONCE = "no order is sold twice"
ORDER_LISTS = "every order list is the ledger's as of its position"
OVERSOLD = "nothing is sold beyond the stock at the start"
POSITIONS = "no ledger position is given to two orders"
PRICES = "receipts have the prices of the list"
PRIVATE = "nobody's list holds another's order"
PRODUCT_LISTS = "every product list is the ledger's as of its position"
REAL_TIME = "what was seen before a request was sent comes before it in the ledger"
REFUSALS = "who is refused is refused for what is short"
REPLAY = "a replay in ledger order gives the stock that each order left"
TOTALS = "every total is the sum of its items"
UNORDERED = "the lists hold nothing that was not ordered"

# What evidence has to name.
ORDER = r"order \d+ of user\d \(\d+ .+\)"
ASKER = r"order of \d+ .+ by user\d"
REFUSAL = r"refusal of \d+ .+ to user\d, as of \d+"
LIST = r"list( of user\d)?, as of \d+"

STOCK = {"Football": 300, "Yoga Mat": 100_000, "Golf Ball": 100_000}
PLENTY = {"Football": 100_000, "Golf Ball": 100_000, "Yoga Mat": 100_000}
SCARCE = {"Football": 100_000, **{f"Ball {n:02}": 15 for n in range(60)}}
"""Hardly any product but the hot one lasts, so many an order finds just too little."""

BUY = Workload(buy=8, browse=2)
BASKETS = Workload(basket=10, browse=2)
BROWSE = Workload(buy=5, browse=5)
LISTS = Workload(buy=5, orders=5)
RETRY = Workload(buy=2, retry=5, browse=1)
PIPELINE = Workload(buy=2, pipeline=5, browse=1)
UNKNOWN = Workload(buy=5, unknown=3, browse=1)
REUSE = Workload(buy=2, reuse=5, browse=1)


class Conviction(NamedTuple):
    """By which rule a liar is convicted, what the evidence names, and under which load."""

    rule: str
    names: str
    load: Workload = BUY
    stock: dict[str, int] = PLENTY
    alone: bool = False


CONVICTIONS = {
    Lie.OVERSELL: Conviction(OVERSOLD, ORDER, stock=STOCK),
    Lie.OVERSELL_AFTER_YIELD: Conviction(OVERSOLD, ORDER, Workload(buy=10), STOCK),
    Lie.NEGATIVE_STOCK: Conviction(OVERSOLD, ORDER, stock=STOCK),
    Lie.KEEP_STOCK: Conviction(REPLAY, f"{ORDER}.*: after {ORDER}"),
    Lie.LOST_UPDATE: Conviction(REPLAY, f"{ORDER}.*: after {ORDER}"),
    Lie.FALSE_SOLD_OUT: Conviction(REFUSALS, REFUSAL),
    Lie.WRONG_AVAILABLE: Conviction(REFUSALS, f"{REFUSAL}.*: after {ORDER}", stock=STOCK),
    Lie.FALSE_NOT_FOUND: Conviction(REFUSALS, REFUSAL),
    Lie.ITEMS_CHECKED_APART: Conviction(OVERSOLD, ORDER, BASKETS, SCARCE),
    Lie.ITEMS_STOCK_APART: Conviction(REPLAY, ORDER, BASKETS),
    Lie.HALF_AN_ORDER: Conviction(REPLAY, f"{ORDER}.*: after {ORDER}", BASKETS),
    Lie.PARTIAL_REFUSAL: Conviction(REPLAY, ORDER, BASKETS, SCARCE),
    Lie.HALF_SENT: Conviction(UNORDERED, ORDER, Workload(buy=2, hang_up=5, browse=1)),
    Lie.SELL_UNKNOWN: Conviction(REFUSALS, REFUSAL, UNKNOWN),
    Lie.UNKNOWN_SOLD_OUT: Conviction(ANSWERS, f"{REFUSAL}.* does not exist", UNKNOWN),
    Lie.READ_AHEAD: Conviction(ANSWERS, f"{LIST}.* behind the order", PIPELINE),
    Lie.TURNED_AROUND: Conviction(ANSWERS, f"{ORDER}.* behind the order", PIPELINE),
    Lie.STALE_READ: Conviction(PRODUCT_LISTS, f"{LIST}.*: after {ORDER}", BROWSE),
    Lie.OLD_READ: Conviction(REAL_TIME, LIST, BROWSE),
    Lie.MIXED_SNAPSHOT: Conviction(PRODUCT_LISTS, LIST, Workload(basket=5, browse=5)),
    Lie.OLD_ORDERS: Conviction(REAL_TIME, LIST, LISTS),
    Lie.FOREIGN_ORDER: Conviction(ORDER_LISTS, LIST, LISTS),
    Lie.FOREIGN_ORDER_IN_FINAL: Conviction(PRIVATE, r"order \d+ .*user\d and user\d"),
    Lie.DUPLICATE_IN_LIST: Conviction(ANSWERS, LIST, LISTS),
    Lie.LOSE_ORDERS: Conviction(FINAL_LISTS, ORDER),
    Lie.LOSE_ORDER_LATER: Conviction(FINAL_LISTS, ORDER, LISTS),
    Lie.CHANGED_RECEIPT: Conviction(ALIKE, rf"{ORDER}.*\[1 Football .*\[2 Football"),
    Lie.GIVE_POSITIONS_TWICE: Conviction(POSITIONS, rf"position (\d+) .*{ORDER}.*{ORDER}"),
    Lie.GAP: Conviction(GAPS, r"\d+ positions .*\(\d+, \d+", BUY, alone=True),
    Lie.AGAINST_REAL_TIME: Conviction(REAL_TIME, ORDER),
    Lie.ANSWER_BEFORE_COMMIT: Conviction(FINAL_LISTS, ORDER),
    Lie.WRONG_TOTAL: Conviction(TOTALS, rf"{ORDER}.*\.90.*\.91"),
    Lie.WRONG_PRICE: Conviction(PRICES, rf"{ORDER}.*150\.90.*149\.90"),
    Lie.DOUBLE_RETRY: Conviction(KEYS_SELL_ONCE, f"{ORDER}.*{ORDER}", RETRY),
    Lie.KEY_CONFLICT: Conviction(KEYS_REFUSED, ASKER, RETRY),
    Lie.REUSE_ACCEPTED: Conviction(ANSWERS, ORDER, REUSE),
    Lie.FORGET_KEYS: Conviction(KEYS_SELL_ONCE, f"{ORDER}.*{ORDER}", RETRY),
    Lie.FORGET_KEYS_IN_TIME: Conviction(KEYS_SELL_ONCE, f"{ORDER}.*{ORDER}", RETRY),
    Lie.SHARED_KEYS: Conviction(KEYS_REFUSED, ASKER, REUSE),
    Lie.ONLY_UNITS_COMPARED: Conviction(ANSWERS, ORDER, REUSE),
    Lie.LINES_COMPARED: Conviction(KEYS_REFUSED, ASKER, RETRY),
    Lie.REFUSED_BUT_SOLD: Conviction(UNORDERED, ORDER),
}
LOADS = list(dict.fromkeys((one.load, tuple(one.stock.items())) for one in CONVICTIONS.values()))


def sale_in_a_shop_that_tells(lie: Lie) -> Sale:
    wanted = CONVICTIONS[lie]
    with lying_shop(lie, wanted.stock) as address:
        return hold_sale(address, wanted.load, alone=wanted.alone)


def convict(sale: Sale, lie: Lie) -> None:
    """See that the sale convicts the shop by the rule that is meant, and names the orders."""
    rule, names, *_ = CONVICTIONS[lie]
    evidence = sale.evidence().get(rule, ())
    assert evidence, sale.verdicts
    assert all(re.search(names, text) for text in evidence), evidence


@pytest.mark.parametrize("lie", CONVICTIONS, ids=lambda lie: lie.name)
def test_a_lying_shop_is_convicted_and_its_orders_are_named(lie: Lie) -> None:
    convict(sale_in_a_shop_that_tells(lie), lie)


def test_every_lie_has_its_conviction() -> None:
    assert [lie for lie in Lie if lie not in CONVICTIONS] == [Lie.NONE]


@pytest.mark.parametrize(("load", "stock"), LOADS, ids=lambda _: "")
def test_an_honest_shop_passes_under_the_load_that_convicts_a_liar(
    load: Workload, stock: tuple[tuple[str, int], ...]
) -> None:
    with lying_shop(Lie.NONE, dict(stock)) as address:
        sale = hold_sale(address, load)
    assert sale.outcome is Outcome.PASS, sale.verdicts
    assert sale.count(Kind.ACCEPTED) > 100


def test_where_others_may_have_bought_a_gap_is_no_proof() -> None:
    with lying_shop(Lie.GAP, PLENTY) as address:
        sale = hold_sale(address, BUY)
    assert list(sale.evidence(Outcome.INCONCLUSIVE)) == [GAPS]
    assert sale.evidence() == {}


@pytest.mark.parametrize("name", WORKLOADS)
def test_an_honest_shop_passes_under_every_workload(name: str) -> None:
    with lying_shop(Lie.NONE, STOCK) as address:
        sale = hold_sale(address, WORKLOADS[name])
    assert sale.outcome is Outcome.PASS, sale.verdicts
    assert sale.count(Kind.ACCEPTED) > 50


# The sale itself: it has to notice if it does not record what it saw.


def test_a_sale_that_records_nothing_acquits_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("receipt", "refused", "products", "orders"):
        monkeypatch.setattr(Recorder, name, lambda *_, **__: None)
    with lying_shop(Lie.NONE, PLENTY) as address:
        assert hold_sale(address, BUY).outcome is Outcome.INCONCLUSIVE


BLIND = {
    "receipt": Lie.LOSE_ORDERS,
    "refused": Lie.FALSE_SOLD_OUT,
    "products": Lie.STALE_READ,
    "orders": Lie.FOREIGN_ORDER,
}


@pytest.mark.parametrize("kind", BLIND)
def test_what_a_sale_does_not_record_convicts_nobody(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Recorder, kind, lambda *_, **__: None)
    sale = sale_in_a_shop_that_tells(BLIND[kind])
    with pytest.raises(AssertionError):
        convict(sale, BLIND[kind])
