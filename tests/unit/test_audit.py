"""Histories in pairs: one that a correct shop could have made, and one with a single fault in it.

Every checker must acquit the first and convict the second, and name the orders in question.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from sportshop.audit import CHECKERS, Kind, Outcome, Verdict, audit, key_rules
from sportshop.audit import order_rules as orders_of
from sportshop.audit import stock_rules as stock_of
from sportshop.audit.books import Books
from sportshop.audit.checkers import record_is_complete
from sportshop.audit.time_rules import ledger_agrees_with_real_time
from tests.unit.histories import (
    ANN,
    BOB,
    PRICE,
    Entry,
    Run,
    correct_run,
    failed,
    foreign,
    goods,
    judged,
    outcome,
    told,
)


def test_a_correct_run_passes_every_rule() -> None:
    assert [v for v in audit(correct_run().history()) if v.outcome is not Outcome.PASS] == []


def test_every_rule_has_a_name_of_its_own() -> None:
    assert len(judged(correct_run())) == len(CHECKERS)


# Faults, one each: how to plant it, which rule convicts, and what the evidence must name.


def answer_with_other_items(run: Run) -> None:
    run.change(Kind.ACCEPTED, ANN, wanted=(("Ball", 2),))


def give_a_position_twice(run: Run) -> None:
    run.ops.insert(3, replace(run.ops[2], user=ANN, key=77, sent=2300, answered=2400))


def give_an_old_position(run: Run) -> None:
    run.buys(ANN, 7, goods("Ball", 1, 1))


def repeat_an_old_order(run: Run) -> None:
    run.change(Kind.REPLAYED, told=told(3, goods("Ball", 1, 4)))


def skip_a_position(run: Run) -> None:
    run.change(Kind.CLOSING, as_of=12)
    run.change(Kind.FINAL, ANN, as_of=12)
    run.change(Kind.FINAL, BOB, as_of=12)


def answer_from_the_past(run: Run) -> None:
    run.change(Kind.PRODUCTS, ANN, as_of=8, shelf={"Ball": (PRICE, 4), "Shoe": (PRICE, 4)})


def sell_one_key_twice(run: Run) -> None:
    again = told(11, goods("Ball", 1, 1))
    run.change(Kind.FINAL, ANN, as_of=11, entries=(Entry(0, 1, again), *run.final(ANN)))
    run.change(Kind.CLOSING, as_of=11, shelf={"Ball": (PRICE, 1), "Shoe": (PRICE, 2)})


def refuse_an_unused_key(run: Run) -> None:
    run.change(Kind.KEY_REUSED, key=55)


def refuse_the_same_items(run: Run) -> None:
    run.change(Kind.KEY_REUSED, wanted=(("Ball", 1),))


def refuse_what_was_sold(run: Run) -> None:
    run.change(Kind.SOLD_OUT, BOB, user=ANN, key=1)


def keep_a_refused_order(run: Run) -> None:
    refused = told(11, goods("Shoe", 1, 1), goods("Ball", 1, 1))
    key = run.ops[run.find(Kind.SOLD_OUT)].key
    run.change(Kind.FINAL, BOB, as_of=11, entries=(Entry(0, key, refused), *run.final(BOB)))
    run.change(Kind.CLOSING, as_of=11, shelf={"Ball": (PRICE, 1), "Shoe": (PRICE, 1)})


def repeat_what_was_never_placed(run: Run) -> None:
    run.change(Kind.ACCEPTED, ANN, kind=Kind.REPLAYED)


def invent_an_order(run: Run) -> None:
    run.change(
        Kind.FINAL,
        BOB,
        as_of=11,
        entries=(foreign(told(11, goods("Ball", 1, 1))), *run.final(BOB)),
    )


def sell_other_items_without_an_answer(run: Run) -> None:
    run.change(Kind.UNKNOWN, wanted=(("Ball", 1), ("Shoe", 2)))


def change_a_listed_order(run: Run) -> None:
    other = told(9, goods("Ball", 1, 3), goods("Shoe", 1, 2))
    run.change(Kind.FINAL, BOB, entries=(Entry(0, 2, other),))


def lose_an_order(run: Run) -> None:
    run.change(Kind.FINAL, BOB, entries=())


def list_an_order_twice(run: Run) -> None:
    run.change(Kind.FINAL, BOB, entries=run.final(BOB) * 2)


def show_another_customers_order(run: Run) -> None:
    run.change(Kind.FINAL, BOB, entries=(*run.final(ANN), *run.final(BOB)))


def give_an_order_to_another(run: Run) -> None:
    run.change(Kind.FINAL, BOB, entries=(run.final(ANN)[0], *run.final(BOB)))
    run.change(Kind.FINAL, ANN, entries=run.final(ANN)[1:])


def list_what_comes_later(run: Run) -> None:
    run.change(Kind.FINAL, ANN, as_of=9)


def list_too_little(run: Run) -> None:
    run.change(Kind.ORDERS, entries=run.final(ANN)[1:])


def list_too_much(run: Run) -> None:
    run.change(Kind.ORDERS, entries=(*run.final(ANN), *run.final(BOB)))


def change_a_price(run: Run) -> None:
    run.change_told(9, lambda _: told(9, goods("Ball", 1, 3, 100), goods("Shoe", 1, 3)))


def change_a_total(run: Run) -> None:
    run.change_told(9, lambda sold: sold._replace(total=PRICE))


def lose_an_update(run: Run) -> None:
    run.change_told(9, lambda _: told(9, goods("Ball", 1, 4), goods("Shoe", 1, 3)))


def check_lines_apart(run: Run) -> None:
    run.change(Kind.ACCEPTED, BOB, wanted=(("Ball", 1), ("Ball", 1)))
    run.change_told(9, lambda _: told(9, goods("Ball", 1, 3), goods("Ball", 1, 2)))


def show_old_stock(run: Run) -> None:
    run.change(Kind.PRODUCTS, ANN, shelf={"Ball": (PRICE, 3), "Shoe": (PRICE, 2)})


def leave_a_product_out(run: Run) -> None:
    run.change(Kind.PRODUCTS, BOB, sold_out=False, shelf={"Ball": (PRICE, 3)})


def leave_a_product_out_of_the_first_list(run: Run) -> None:
    """Each later list of that worker leaves it out as well: none differs from the one before."""
    for user in (BOB, ANN):
        at = run.find(Kind.PRODUCTS, user)
        ball = dict(run.ops[at].shelf or {})["Ball"]
        run.change(Kind.PRODUCTS, user, sold_out=False, shelf={"Ball": ball})


def show_more_than_before(run: Run) -> None:
    """Others were there: they may have taken a ball at 11, and nobody can have put it back."""
    run.alone = False
    at = run.find(Kind.CLOSING)
    run.ops.insert(at, run.looks(BOB, 11, Ball=1, Shoe=2))
    run.ops.pop()
    run.change(Kind.PRODUCTS, BOB, 1, sent=11_600, answered=11_700)
    run.change(Kind.CLOSING, as_of=12)
    run.change(Kind.FINAL, ANN, as_of=12)
    run.change(Kind.FINAL, BOB, as_of=12)


def refuse_what_is_there(run: Run) -> None:
    run.change(Kind.SOLD_OUT, named=goods("Ball", 4, 4))


def refuse_with_another_stock(run: Run) -> None:
    run.change(Kind.SOLD_OUT, named=goods("Ball", 4, 2))


def refuse_for_another_quantity(run: Run) -> None:
    run.change(Kind.SOLD_OUT, named=goods("Ball", 5, 3))


def refuse_for_the_second_that_is_short(run: Run) -> None:
    run.change(Kind.SOLD_OUT, wanted=(("Shoe", 4), ("Ball", 4)))


def deny_what_there_is(run: Run) -> None:
    run.change(Kind.NOT_FOUND, wanted=(("Ball", 1),), named=goods("Ball", 0, 0))


def deny_what_was_not_asked_for(run: Run) -> None:
    run.change(Kind.NOT_FOUND, wanted=(("Ball", 1),))


def oversell(run: Run) -> None:
    run.change(Kind.ACCEPTED, BOB, wanted=(("Ball", 5), ("Shoe", 1)))
    run.change_told(9, lambda _: told(9, goods("Ball", 5, 0), goods("Shoe", 1, 3)))


def go_below_zero(run: Run) -> None:
    run.change(Kind.CLOSING, shelf={"Ball": (PRICE, -1), "Shoe": (PRICE, 2)})


def forget_to_take_stock(run: Run) -> None:
    run.change(Kind.CLOSING, shelf={"Ball": (PRICE, 3), "Shoe": (PRICE, 2)})


def take_stock_for_nothing(run: Run) -> None:
    run.change(Kind.CLOSING, shelf={"Ball": (PRICE, 1), "Shoe": (PRICE, 2)})


def sell_half_an_order(run: Run) -> None:
    run.change(Kind.CLOSING, shelf={"Ball": (PRICE, 2), "Shoe": (PRICE, 3)})


def drop_a_product(run: Run) -> None:
    run.change(Kind.CLOSING, shelf={"Ball": (PRICE, 2)})


Checker = Callable[[Books], Verdict]
Fault = Callable[[Run], None]

FAULTS: list[tuple[Fault, Checker, Sequence[str]]] = [
    (
        answer_with_other_items,
        orders_of.answers_fit_what_was_asked,
        ["order 8 of ann (1 Ball)", "sent at 0.001000 s", "asked for were 2 Ball"],
    ),
    (
        give_a_position_twice,
        orders_of.positions_are_unique,
        ["position 9 holds order 9 of ", "sent at 0.002000 s", "sent at 0.002300 s"],
    ),
    (
        give_an_old_position,
        orders_of.new_orders_have_new_positions,
        ["order 7 of ann (1 Ball), sent at", "but 7 positions had been taken"],
    ),
    (repeat_an_old_order, orders_of.new_orders_have_new_positions, ["repeat of order 3 of ann"]),
    (skip_a_position, orders_of.positions_have_no_gaps, ["2 positions", "(11 to 12)", "nobody"]),
    (
        answer_from_the_past,
        ledger_agrees_with_real_time,
        [
            "the product list of ann, as of 8, sent at 0.010000 s, answered at 0.010500 s, lies"
            " before the product list of bob, as of 9, sent at 0.003000 s, answered at 0.003500 s"
        ],
    ),
    (
        sell_one_key_twice,
        key_rules.keys_sell_once,
        ["order 8 of ann (1 Ball) and order 11 of ann (1 Ball) are one order", "sent at 0.001000"],
    ),
    (refuse_an_unused_key, key_rules.reused_keys_were_used, ["2 Ball by ann", "nothing was sold"]),
    (refuse_the_same_items, key_rules.reused_keys_were_used, ["1 Ball by ann", "order 8 of ann"]),
    (
        refuse_what_was_sold,
        key_rules.sold_keys_are_not_refused,
        ["the refusal of 1 Shoe, 4 Ball to ann, as of 9", "order 8 of ann (1 Ball), sent at"],
    ),
    (
        keep_a_refused_order,
        key_rules.refused_orders_leave_no_trace,
        ["order 11 of bob (1 Shoe, 1 Ball), listed: sent at", "it had been refused"],
    ),
    (
        repeat_what_was_never_placed,
        key_rules.refused_orders_leave_no_trace,
        ["the repeat of order 8 of ann", "had placed no such order"],
    ),
    (invent_an_order, key_rules.refused_orders_leave_no_trace, ["order 11 of bob (1 Ball)"]),
    (
        sell_other_items_without_an_answer,
        key_rules.unknown_orders_are_as_asked,
        [
            "order 10 of ann (1 Ball, 1 Shoe)",
            "ann had asked for 1 Ball and 2 Shoe, and told was [1 Ball at",
        ],
    ),
    (
        change_a_listed_order,
        orders_of.orders_are_told_alike,
        ["order 9 of bob", "1 Shoe at 149.90, 3 left", "1 Shoe at 149.90, 2 left"],
    ),
    (
        lose_an_order,
        orders_of.acknowledged_orders_are_listed,
        ["order 9 of bob (1 Ball, 1 Shoe), sent at 0.002000 s", "not in bob's final list"],
    ),
    (list_an_order_twice, orders_of.lists_are_private, ["order 9 of bob", "twice in bob's list"]),
    (
        show_another_customers_order,
        orders_of.lists_are_private,
        ["order 8 is in the lists of ann and bob"],
    ),
    (
        give_an_order_to_another,
        orders_of.lists_are_private,
        ["order 10 of bob", "is in bob's list, and its key is of the order of 1 Ball, 1 Shoe by a"],
    ),
    (
        list_what_comes_later,
        orders_of.lists_end_at_their_as_of,
        ["order 10 of ann", "is in ann's list as of 9"],
    ),
    (list_too_little, orders_of.order_lists_replay, ["order list of ann, as of 10", "lacks order"]),
    (list_too_much, orders_of.order_lists_replay, ["one too many: order 9 of bob"]),
    (
        change_a_price,
        stock_of.prices_are_the_list_s,
        ["order 9 of bob", "Ball at 1.00", "first list at 149.90"],
    ),
    (change_a_total, stock_of.totals_add_up, ["order 9 of bob", "299.80", "told was 149.90"]),
    (
        lose_an_update,
        stock_of.receipts_replay,
        ["order 9 of bob", "left 4 of Ball: after order 8 of ann (1 Ball) it is 3"],
    ),
    (check_lines_apart, stock_of.receipts_replay, ["order 9 of bob", "left 2 and 3 of Ball"]),
    (
        show_old_stock,
        stock_of.product_lists_replay,
        ["the product list of ann, as of 10, sent at", "tells of 3 Ball: after order 10 of ann"],
    ),
    (leave_a_product_out, stock_of.product_lists_replay, ["list of bob, as of 9", "0 Shoe"]),
    (
        leave_a_product_out_of_the_first_list,
        stock_of.product_lists_replay,
        ["list of bob, as of 9", "0 Shoe", "list of ann, as of 10"],
    ),
    (
        show_more_than_before,
        stock_of.stock_never_rises,
        ["final product list, as of 12, sent at 0.012", "2 Ball left, and the product list of bob"],
    ),
    (
        refuse_what_is_there,
        stock_of.refusals_are_true,
        ["the refusal of 1 Shoe, 4 Ball to bob, as of 9", "4 Ball were available, and 4 requested"],
    ),
    (refuse_with_another_stock, stock_of.refusals_are_true, ["tells of 2 Ball: after order 9"]),
    (refuse_for_another_quantity, stock_of.refusals_are_true, ["says that 5 Ball were requested"]),
    (
        refuse_for_the_second_that_is_short,
        stock_of.refusals_are_true,
        ["is about Ball, though Shoe falls short before it"],
    ),
    (deny_what_there_is, stock_of.refusals_are_true, ["refusal of 1 Ball to bob", "no Ball: it"]),
    (deny_what_was_not_asked_for, stock_of.refusals_are_true, ["says there is no Hat: that"]),
    (
        oversell,
        stock_of.nothing_is_oversold,
        ["order 9 of bob (5 Ball, 1 Shoe)", "1 beyond the 5 Ball there were"],
    ),
    (go_below_zero, stock_of.nothing_is_oversold, ["the final product list", "-1 Ball left"]),
    (
        forget_to_take_stock,
        stock_of.final_stock_balances,
        ["Ball: 5 at the start, 3 sold, 3 left, which is 1 too many", "8, 9, 10"],
    ),
    (take_stock_for_nothing, stock_of.final_stock_balances, ["Ball: 5", "3 sold", "1 too few"]),
    (sell_half_an_order, stock_of.final_stock_balances, ["Shoe: 4", "2 sold", "1 too many"]),
    (drop_a_product, stock_of.final_stock_balances, ["Shoe is not in both product lists"]),
]


@pytest.mark.parametrize(
    ("plant", "checker", "named"), FAULTS, ids=[plant.__name__ for plant, _, _ in FAULTS]
)
def test_a_planted_fault_is_convicted_by_its_rule(
    plant: Fault, checker: Checker, named: Sequence[str]
) -> None:
    run = correct_run()
    plant(run)
    verdict = checker(Books(run.history()))
    assert verdict.outcome is Outcome.FAIL
    evidence = "; ".join(verdict.evidence)
    assert [text for text in named if text not in evidence] == [], evidence


@pytest.mark.parametrize("checker", CHECKERS, ids=[one.__name__ for one in CHECKERS])
def test_a_rule_acquits_the_run_without_the_fault(checker: Checker) -> None:
    assert checker(Books(correct_run().history())).outcome is Outcome.PASS


def test_every_rule_that_can_convict_has_a_planted_fault() -> None:
    assert set(CHECKERS) - {record_is_complete} == {checker for _, checker, _ in FAULTS}


def test_a_lost_update_is_found_although_the_sums_are_right() -> None:
    """Two customers are sold the last ball, and both are told that none is left."""
    run = Run(first=0)
    run.opens(Ball=1)
    run.buys(ANN, 1, goods("Ball", 1, 0))
    run.buys(BOB, 2, goods("Ball", 1, 0))
    run.closes(2, Ball=0)
    assert "a replay in ledger order gives the stock that each order left" in failed(run)


def test_a_fault_that_only_another_clock_could_show_is_found_at_the_end() -> None:
    """The final lists come after everything, so they cannot be of an earlier moment."""
    run = correct_run()
    run.clocks[0] = "another machine"
    assert outcome(run) is Outcome.PASS
    run.change(Kind.CLOSING, as_of=9, shelf={"Ball": (PRICE, 3), "Shoe": (PRICE, 3)})
    assert failed(run) == ["what was seen before a request was sent comes before it in the ledger"]


def test_a_read_from_before_the_run_is_a_fault_by_any_clock() -> None:
    run = correct_run()
    run.clocks[0] = "another machine"
    run.change(Kind.SOLD_OUT, as_of=6)
    assert failed(run) == ["what was seen before a request was sent comes before it in the ledger"]


def test_wrong_stocks_of_two_items_do_not_cancel_out_in_a_list() -> None:
    run = Run(first=0)
    run.opens(Ball=9, Shoe=9)
    run.buys(ANN, 1, goods("Ball", 1, 8), goods("Shoe", 1, 8))
    run.lists(ANN, 1)
    run.closes(1, Ball=8, Shoe=8)
    assert outcome(run) is Outcome.PASS
    lie = told(1, goods("Ball", 1, 10), goods("Shoe", 1, 7))  # 10 + 2 * 7 is 8 + 2 * 8
    run.change(Kind.ORDERS, entries=(Entry(0, 1, lie),))
    assert failed(run) == ["every order list is the ledger's as of its position"]


def test_a_price_below_zero_is_not_taken_for_an_unknown_one() -> None:
    run = correct_run()
    run.change_told(9, lambda _: told(9, goods("Ball", 1, 3, -1), goods("Shoe", 1, 3)))
    assert "receipts have the prices of the list" in failed(run)


def test_a_total_is_exact_however_large() -> None:
    run = Run(first=0)
    price, quantity = 10**17, 2**32 - 1
    run.add(Kind.OPENING, "auditor", shelf={"Ball": (price, quantity)})
    run.buys(ANN, 1, goods("Ball", quantity, 0, price))
    run.change_told(1, lambda sold: sold._replace(total=(price * quantity) % 2**64))
    run.add(Kind.CLOSING, "auditor", as_of=1, shelf={"Ball": (price, 0)})
    run.add(Kind.FINAL, ANN, as_of=1, entries=(Entry(0, 1, run.ops[1].told),))
    assert failed(run) == ["every total is the sum of its items"]


# How it is told.


def test_evidence_is_few_sentences_and_says_how_many_there_are() -> None:
    run = Run(first=0)
    run.opens(Ball=50)
    for position in range(1, 21):
        run.buys(ANN, position, goods("Ball", 1, 50 - position))
    run.closes(20, Ball=30)
    run.change(Kind.FINAL, ANN, entries=())
    verdict = orders_of.acknowledged_orders_are_listed(Books(run.history()))
    assert (len(verdict.evidence), verdict.found) == (5, 20)
    assert "and 15 more" in str(verdict)


def test_evidence_is_fit_for_a_terminal_whatever_a_shop_calls_its_products() -> None:
    run = Run(first=0)
    run.opens(Ball=5)
    run.buys(ANN, 1, goods("\x1b[2J" + "x" * 5000, 1, 4))
    run.closes(1, Ball=5)
    for verdict in audit(run.history()):
        for text in verdict.evidence:
            assert text.isprintable()
            assert len(text) <= 1001


def test_progress_is_reported_for_every_rule() -> None:
    heard: list[tuple[int, int, str]] = []
    audit(correct_run().history(), lambda *told: heard.append(told))
    assert [number for number, _, _ in heard] == list(range(len(CHECKERS)))
    assert heard[0] == (0, len(CHECKERS), "record_is_complete")
