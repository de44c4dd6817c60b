"""Histories in pairs: one that a correct shop could have made, and one with a single fault in it.

Every checker must acquit the first and convict the second, and name the orders in question.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import msgspec
import pytest

from sportshop.audit import CHECKERS, Asked, History, Listing, Outcome, Sale, Verdict, audit, worst
from sportshop.audit import order_rules as orders_of
from sportshop.audit import stock_rules as stock_of
from sportshop.audit.checkers import record_is_complete
from sportshop.orders import Item, SoldItem
from sportshop.products import Product, ProductList

TAG = "5ca1ab1e"
PRICE = 14990
OPENING = 7  # positions that were taken before the run


def sold(quantity: int, left: int, name: str = "Ball") -> SoldItem:
    return SoldItem(name, quantity, PRICE, left)


def sale(user: str, position: int, *items: SoldItem) -> Sale:
    total = sum(item.price * item.quantity for item in items)
    return Sale(user, position, f"key-{position}-{TAG}", items, total)


def shelf(as_of: int, ball: int, shoe: int = 4) -> ProductList:
    return ProductList(as_of, (Product("Ball", PRICE, ball), Product("Shoe", PRICE, shoe)))


@dataclass
class Run:
    """A correct run: three balls of five, one shoe of four, by two customers."""

    ball: int = 2
    shoe: int = 3
    as_of: int = 10
    acknowledged: list[Sale] = field(
        default_factory=lambda: [
            sale("ann", 8, sold(1, 4)),
            sale("bob", 9, sold(2, 2)),
            sale("ann", 10, sold(1, 3, "Shoe")),
        ]
    )
    lists: dict[str, list[Sale]] = field(default_factory=dict)
    unsettled: list[Asked] = field(default_factory=list)
    misserved: list[tuple[Asked, Sale]] = field(default_factory=list)
    incomplete: list[str] = field(default_factory=list)
    list_as_of: int | None = None

    def __post_init__(self) -> None:
        for told in reversed(self.acknowledged):
            self.lists.setdefault(told.user, []).append(told)

    def history(self) -> History:
        list_as_of = self.as_of if self.list_as_of is None else self.list_as_of
        return History(
            opening=shelf(OPENING, 5),
            final=shelf(self.as_of, self.ball, self.shoe),
            acknowledged=self.acknowledged,
            listings={user: Listing(list_as_of, tuple(held)) for user, held in self.lists.items()},
            unsettled=self.unsettled,
            misserved=self.misserved,
            key_tags=frozenset({TAG}),
            incomplete=self.incomplete,
        )


def failed(run: Run) -> dict[str, tuple[str, ...]]:
    return {v.rule: v.evidence for v in audit(run.history()) if v.outcome is Outcome.FAIL}


def test_a_correct_run_passes_every_rule() -> None:
    assert [v for v in audit(Run().history()) if v.outcome is not Outcome.PASS] == []


def test_every_rule_has_a_name_of_its_own() -> None:
    assert len({v.rule for v in audit(Run().history())}) == len(CHECKERS)


# Faults, one each: how to plant it, which rule convicts, and what the evidence must name.


def oversell(run: Run) -> None:
    run.acknowledged += [sale("bob", 11, sold(2, 0)), sale("bob", 12, sold(1, 0))]
    run.lists["bob"][:0] = [sale("bob", 12, sold(1, 0)), sale("bob", 11, sold(2, 0))]
    run.ball, run.as_of = 0, 12


def lose_an_order(run: Run) -> None:
    del run.lists["bob"][0]


def change_a_listed_order(run: Run) -> None:
    run.lists["bob"][0] = replace_items(run.lists["bob"][0], sold(1, 2))


def change_a_total(run: Run) -> None:
    wrong = Sale("bob", 9, f"key-9-{TAG}", (sold(2, 2),), PRICE)
    run.acknowledged[1] = run.lists["bob"][0] = wrong


def give_a_position_twice(run: Run) -> None:
    again = Sale("bob", 8, f"key-x-{TAG}", (sold(1, 4),), PRICE)
    run.acknowledged.append(again)


def list_an_order_twice(run: Run) -> None:
    run.lists["bob"].append(run.lists["bob"][0])


def show_another_customers_order(run: Run) -> None:
    run.lists["ann"].append(run.lists["bob"][0])


def sell_one_key_twice(run: Run) -> None:
    again = Sale("bob", 11, f"key-9-{TAG}", (sold(2, 0),), 2 * PRICE)
    run.lists["bob"].insert(0, again)
    run.ball, run.as_of = 0, 11


def forget_to_take_stock(run: Run) -> None:
    run.ball = 3


def take_stock_for_nothing(run: Run) -> None:
    run.ball = 1


def lose_an_update(run: Run) -> None:
    run.acknowledged[1] = run.lists["bob"][0] = sale("bob", 9, sold(2, 3))


def check_lines_apart(run: Run) -> None:
    run.acknowledged[1] = run.lists["bob"][0] = sale("bob", 9, sold(1, 3), sold(1, 2))


def answer_from_the_past(run: Run) -> None:
    run.as_of = 9


def list_from_the_past(run: Run) -> None:
    run.list_as_of = 9


def give_an_old_position(run: Run) -> None:
    run.acknowledged.append(sale("ann", 7, sold(1, 4)))


def keep_a_refused_order(run: Run) -> None:
    run.lists["bob"].insert(0, sale("bob", 11, sold(1, 1)))
    run.ball, run.as_of = 1, 11


def sell_something_else(run: Run) -> None:
    run.misserved.append((Asked("bob", "k", (Item("Ball", 1),)), run.acknowledged[1]))


def settle_with_something_else(run: Run) -> None:
    run.unsettled.append(Asked("bob", f"key-9-{TAG}", (Item("Ball", 1),)))
    del run.acknowledged[1]


def go_below_zero(run: Run) -> None:
    run.ball = -1


def replace_items(told: Sale, *items: SoldItem) -> Sale:
    return Sale(told.user, told.position, told.key, items, told.total)


Checker = Callable[[History], Verdict]
Fault = Callable[[Run], None]

FAULTS: list[tuple[Fault, Checker, Sequence[str]]] = [
    (oversell, stock_of.nothing_is_oversold, ["order 12 of bob (1 Ball)", "1 beyond the 5"]),
    (go_below_zero, stock_of.nothing_is_oversold, ["Ball", "-1 left"]),
    (lose_an_order, orders_of.acknowledged_orders_are_listed, ["order 9 of bob (2 Ball)"]),
    (change_a_listed_order, orders_of.acknowledged_orders_are_listed, ["order 9 of bob"]),
    (change_a_total, stock_of.totals_add_up, ["order 9 of bob", "299.80", "149.90"]),
    (give_a_position_twice, orders_of.positions_are_unique, ["position 8", "of ann", "of bob"]),
    (list_an_order_twice, orders_of.positions_are_unique, ["position 9 is 2 times in bob's"]),
    (show_another_customers_order, orders_of.lists_are_private, ["order 9 of bob is in ann's"]),
    (sell_one_key_twice, orders_of.keys_sell_once, ["orders 9 and 11 of bob"]),
    (forget_to_take_stock, stock_of.stock_balances, ["Ball: 5", "3 sold", "1 too many", "8, 9"]),
    (take_stock_for_nothing, stock_of.stock_balances, ["Ball: 5", "3 sold", "1 too few"]),
    (
        lose_an_update,
        stock_of.receipts_replay,
        ["order 9 of bob", "left 3", "after order 8 it is 2"],
    ),
    (check_lines_apart, stock_of.receipts_replay, ["order 9 of bob", "left 2 and 3 of Ball"]),
    (answer_from_the_past, orders_of.reads_are_current, ["final product list", "position 10"]),
    (list_from_the_past, orders_of.reads_are_current, ["order list of bob", "position 10"]),
    (give_an_old_position, orders_of.acknowledged_positions_are_new, ["order 7 of ann"]),
    (keep_a_refused_order, orders_of.lists_hold_only_what_was_ordered, ["order 11 of bob"]),
    (sell_something_else, orders_of.sales_are_as_asked, ["order 9 of bob (2 Ball)", "1 Ball"]),
    (settle_with_something_else, orders_of.sales_are_as_asked, ["order 9 of bob (2 Ball)"]),
]


@pytest.mark.parametrize(
    ("plant", "checker", "named"), FAULTS, ids=[plant.__name__ for plant, _, _ in FAULTS]
)
def test_a_planted_fault_is_convicted_by_its_rule(
    plant: Fault, checker: Checker, named: Sequence[str]
) -> None:
    run = Run()
    plant(run)
    verdict = checker(run.history())
    assert verdict.outcome is Outcome.FAIL
    assert [text for text in named if text not in " ".join(verdict.evidence)] == []


def test_every_rule_that_can_convict_has_a_planted_fault() -> None:
    only_doubt = {record_is_complete, orders_of.every_position_is_known}
    assert set(CHECKERS) - only_doubt == {checker for _, checker, _ in FAULTS}


def test_a_lost_update_is_found_although_the_sums_are_right() -> None:
    """Two customers are sold the last ball, and both are told that none is left."""
    run = Run(acknowledged=[sale("ann", 8, sold(5, 0)), sale("bob", 9, sold(1, 0))], ball=0)
    run.shoe, run.as_of = 4, 9
    del run.lists["bob"][0]
    assert "a replay in ledger order gives the stock that each order left" in failed(run)


# Doubts.


def test_a_buyer_whom_we_do_not_know_makes_the_audit_inconclusive() -> None:
    run = Run(ball=1, as_of=12)
    verdicts = {v.rule: v for v in audit(run.history())}
    assert worst(verdicts.values()) is Outcome.INCONCLUSIVE
    gap = verdicts["every position taken during the run is in a list"]
    assert "2 positions" in gap.evidence[0]
    assert "11 to 12" in gap.evidence[0]
    balance = verdicts["stock left and stock sold make the stock at the start"]
    assert balance.evidence == ("Ball: 1 are missing, which others may have bought",)


def test_a_buyer_whom_we_do_not_know_may_have_bought_between_two_receipts() -> None:
    told = [sale("ann", 8, sold(1, 4)), sale("bob", 10, sold(1, 1))]
    run = Run(acknowledged=told, ball=1, shoe=4)
    assert stock_of.receipts_replay(run.history()).outcome is Outcome.INCONCLUSIVE


def test_a_buyer_whom_we_do_not_know_cannot_have_put_stock_back() -> None:
    run = Run(ball=3, as_of=12)
    assert stock_of.stock_balances(run.history()).outcome is Outcome.FAIL
    told = [sale("ann", 8, sold(1, 4)), sale("bob", 10, sold(1, 4))]
    run = Run(acknowledged=told, ball=4, shoe=4)
    assert stock_of.receipts_replay(run.history()).outcome is Outcome.FAIL


def test_a_gap_elsewhere_excuses_no_wrong_receipt() -> None:
    told = [sale("ann", 9, sold(1, 4)), sale("bob", 10, sold(1, 2))]
    run = Run(acknowledged=told, ball=2, shoe=4)
    verdict = stock_of.receipts_replay(run.history())
    assert verdict.outcome is Outcome.FAIL
    assert "order 10 of bob" in verdict.evidence[0]


def test_a_missing_piece_of_the_record_makes_it_inconclusive() -> None:
    run = Run(incomplete=["worker 3 did not report"])
    verdicts = audit(run.history())
    assert worst(verdicts) is Outcome.INCONCLUSIVE
    assert "worker 3 did not report" in str(verdicts[0])


def test_a_fault_outweighs_a_missing_piece() -> None:
    run = Run(incomplete=["worker 3 did not report"])
    lose_an_order(run)
    assert worst(audit(run.history())) is Outcome.FAIL


def test_orders_of_a_worker_that_did_not_report_are_not_taken_for_refused_ones() -> None:
    run = Run(incomplete=["worker 3 did not report"])
    keep_a_refused_order(run)
    verdict = orders_of.lists_hold_only_what_was_ordered(run.history())
    assert verdict.outcome is Outcome.INCONCLUSIVE


def test_an_order_that_somebody_else_placed_in_our_account_is_a_doubt() -> None:
    run = Run(ball=1, as_of=11)
    run.lists["bob"].insert(0, Sale("bob", 11, None, (sold(1, 1),), PRICE))
    outcomes = {v.rule: v.outcome for v in audit(run.history())}
    assert outcomes.pop("the lists hold nothing that was not ordered") is Outcome.INCONCLUSIVE
    assert set(outcomes.values()) == {Outcome.PASS}


def test_a_customer_whose_list_could_not_be_read_is_not_evidence_of_loss() -> None:
    run = Run(incomplete=["bob's list could not be read"])
    del run.lists["bob"]
    assert worst(audit(run.history())) is Outcome.INCONCLUSIVE


def test_products_that_came_or_went_are_a_doubt() -> None:
    history = Run().history()
    balls_only = msgspec.structs.replace(history.final, products=history.final.products[:1])
    verdict = stock_of.stock_balances(replace(history, final=balls_only))
    assert verdict.evidence == ("Shoe is not in both product lists",)


def test_no_verdict_at_all_is_no_pass() -> None:
    assert worst([]) is Outcome.INCONCLUSIVE


# What must not convict.


def test_what_was_bought_before_the_run_is_ignored() -> None:
    run = Run()
    run.lists["bob"] += [sale("bob", 7, sold(9, 99)), sale("bob", 7, sold(9, 99))]
    run.lists["ann"] += [sale("ann", 7, sold(9, 99))]
    assert failed(run) == {}


def test_an_order_of_unknown_outcome_may_be_in_the_list() -> None:
    run = Run()
    bought = run.acknowledged.pop(1)
    run.unsettled.append(Asked("bob", f"key-9-{TAG}", (Item("Ball", 2),)))
    assert bought in run.lists["bob"]
    assert worst(audit(run.history())) is Outcome.PASS


def test_an_order_of_unknown_outcome_may_be_in_no_list() -> None:
    run = Run(unsettled=[Asked("bob", f"key-?-{TAG}", (Item("Ball", 2),))])
    assert worst(audit(run.history())) is Outcome.PASS


def test_an_order_placed_after_the_final_product_list_does_not_count_against_it() -> None:
    run = Run(unsettled=[Asked("bob", f"key-11-{TAG}", (Item("Ball", 1),))], list_as_of=11)
    run.lists["bob"].insert(0, sale("bob", 11, sold(1, 1)))
    assert worst(audit(run.history())) is Outcome.PASS


def test_evidence_is_few_sentences_and_says_how_many_there_are() -> None:
    many = [sale("ann", position, sold(1, 4)) for position in range(11, 31)]
    run = Run()
    run.acknowledged += many
    verdict = orders_of.acknowledged_orders_are_listed(run.history())
    assert (len(verdict.evidence), verdict.found) == (5, 20)
    assert "and 15 more" in str(verdict)
