"""What an audit can't decide, and what must not convict: a false conviction is the worst defect.

Beside each doubt stands the fault that it does not excuse.
"""

from dataclasses import replace

import pytest

from sportshop.audit import Kind, Outcome, audit, worst
from sportshop.audit.history import NO_KEY
from tests.unit.histories import (
    ANN,
    BOB,
    MS,
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

# Doubts.


def with_a_gap() -> Run:
    """Somebody else took position 9, and perhaps a ball."""
    run = Run(first=7, alone=False)
    run.opens(Ball=5)
    run.buys(ANN, 8, goods("Ball", 1, 4))
    run.buys(BOB, 10, goods("Ball", 1, 2))
    run.closes(10, Ball=2)
    return run


def test_a_buyer_whom_we_do_not_know_makes_the_audit_inconclusive() -> None:
    verdicts = judged(with_a_gap())
    assert worst(verdicts.values()) is Outcome.INCONCLUSIVE
    gap = verdicts["every position taken during the run is in a list"]
    assert gap.evidence[0].startswith("1 position is in no list of ours (9): others bought")
    balance = verdicts["stock left and stock sold make the stock at the start"]
    assert balance.evidence == ("Ball: 1 are missing, which others may have bought",)
    receipt = verdicts["a replay in ledger order gives the stock that each order left"]
    assert "unless others bought in between" in receipt.evidence[0]


def test_who_is_alone_knows_that_nobody_bought_in_between() -> None:
    run = with_a_gap()
    run.alone = True
    assert failed(run) == ["every position taken during the run is in a list"]


def test_a_buyer_whom_we_do_not_know_cannot_have_put_stock_back() -> None:
    run = with_a_gap()
    run.change(Kind.CLOSING, as_of=12, shelf={"Ball": (PRICE, 4)})
    run.change(Kind.FINAL, ANN, as_of=12)
    run.change(Kind.FINAL, BOB, as_of=12)
    assert failed(run) == [
        "every product list is the ledger's as of its position",
        "stock never rises, whoever bought",
        "stock left and stock sold make the stock at the start",
    ]
    run = with_a_gap()
    run.change_told(10, lambda _: told(10, goods("Ball", 1, 4)))
    assert "a replay in ledger order gives the stock that each order left" in failed(run)


def test_a_gap_elsewhere_excuses_no_wrong_receipt() -> None:
    run = Run(first=7, alone=False)
    run.opens(Ball=5)
    run.buys(ANN, 9, goods("Ball", 1, 4))
    run.buys(BOB, 10, goods("Ball", 1, 2))
    run.closes(10, Ball=2)
    assert failed(run) == ["a replay in ledger order gives the stock that each order left"]


def test_others_may_have_taken_what_a_refusal_and_a_list_lack() -> None:
    run = Run(first=7, alone=False)
    run.opens(Ball=5)
    run.refuses(ANN, 8, (("Ball", 2),), goods("Ball", 2, 1))
    run.looks(BOB, 9, Ball=1)
    run.closes(9, Ball=1)
    assert outcome(run) is Outcome.INCONCLUSIVE
    run.change(Kind.SOLD_OUT, as_of=7)
    assert "who is refused is refused for what is short" in failed(run)


def test_as_of_one_position_there_is_one_stock_whoever_bought() -> None:
    run = Run(first=7, alone=False)
    run.opens(Ball=5)
    run.looks(ANN, 9, Ball=2)
    run.looks(BOB, 9, Ball=1)
    run.closes(9, Ball=1)
    assert failed(run) == ["stock never rises, whoever bought"]


def test_a_missing_piece_of_the_record_makes_it_inconclusive() -> None:
    run = correct_run()
    run.incomplete = ["worker 3 did not report"]
    verdicts = audit(run.history())
    assert worst(verdicts) is Outcome.INCONCLUSIVE
    assert verdicts[0].evidence == ("worker 3 did not report",)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Kind.OPENING, "the stock at the start is not known"),
        (Kind.CLOSING, "the stock at the end is not known"),
        (Kind.FINAL, "there is no final list of the orders of ann"),
    ],
)
def test_a_list_that_could_not_be_read_is_no_evidence_of_a_fault(kind: Kind, reason: str) -> None:
    run = correct_run()
    del run.ops[run.find(kind)]
    if kind is Kind.OPENING:  # nor what the ledger was before
        run.alone = False
    verdicts = audit(run.history())
    assert verdicts[0].evidence == (reason,)
    if kind is Kind.FINAL:  # whoever is alone knows of the position, and not whose it was
        run.alone = False
    assert worst(audit(run.history())) is Outcome.INCONCLUSIVE


def test_a_fault_outweighs_a_missing_piece() -> None:
    run = correct_run()
    run.incomplete = ["worker 3 did not report"]
    run.change(Kind.FINAL, BOB, entries=())
    assert outcome(run) is Outcome.FAIL


def test_orders_of_a_worker_that_did_not_report_are_not_taken_for_refused_ones() -> None:
    run = correct_run()
    run.incomplete = ["worker 3 did not report"]
    bought = Entry(3, 1, told(11, goods("Ball", 1, 1)))
    run.change(Kind.FINAL, BOB, as_of=11, entries=(bought, *run.final(BOB)))
    run.change(Kind.FINAL, ANN, as_of=11)
    run.change(Kind.CLOSING, as_of=11, shelf={"Ball": (PRICE, 1), "Shoe": (PRICE, 2)})
    assert outcome(run) is Outcome.INCONCLUSIVE


def test_an_order_that_somebody_else_placed_in_our_account_is_a_doubt() -> None:
    run = correct_run()
    run.alone = False
    ours = foreign(told(11, goods("Ball", 1, 1)))
    run.change(Kind.FINAL, BOB, as_of=11, entries=(ours, *run.final(BOB)))
    run.change(Kind.FINAL, ANN, as_of=11)
    run.change(Kind.CLOSING, as_of=11, shelf={"Ball": (PRICE, 1), "Shoe": (PRICE, 2)})
    outcomes = {rule: verdict.outcome for rule, verdict in judged(run).items()}
    assert outcomes.pop("the lists hold nothing that was not ordered") is Outcome.INCONCLUSIVE
    assert set(outcomes.values()) == {Outcome.PASS}


def test_products_that_came_or_went_are_a_doubt_unless_we_are_alone() -> None:
    run = correct_run()
    run.alone = False
    run.change(Kind.CLOSING, shelf={"Ball": (PRICE, 2)})
    verdict = judged(run)["stock left and stock sold make the stock at the start"]
    assert verdict.evidence == ("Shoe is not in both product lists",)
    assert outcome(run) is Outcome.INCONCLUSIVE


def test_a_position_after_the_final_lists_may_be_an_order_whose_answer_was_lost() -> None:
    run = correct_run()
    run.add(Kind.UNKNOWN, ANN, key=91, wanted=(("Ball", 1),), answered=None)
    run.change(Kind.FINAL, BOB, as_of=11)
    verdict = judged(run)["every position taken during the run is in a list"]
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "sold after the final lists were read" in verdict.evidence[0]
    run.change(Kind.FINAL, BOB, as_of=12)
    assert failed(run) == ["every position taken during the run is in a list"]


def test_no_verdict_at_all_is_no_pass() -> None:
    assert worst([]) is Outcome.INCONCLUSIVE


def test_a_history_of_nothing_is_inconclusive() -> None:
    assert outcome(Run()) is Outcome.INCONCLUSIVE


# What must not convict.


def test_what_was_bought_before_the_run_is_ignored() -> None:
    run = correct_run()
    old = foreign(told(7, goods("Ball", 9, 99)))
    run.change(Kind.FINAL, BOB, entries=(*run.final(BOB), old, old))
    run.change(Kind.ORDERS, entries=(*run.final(ANN), old))
    assert outcome(run) is Outcome.PASS


def test_an_order_of_unknown_outcome_may_be_in_no_list() -> None:
    run = correct_run()
    run.add(Kind.UNKNOWN, ANN, key=91, wanted=(("Ball", 1),), answered=None)
    assert outcome(run) is Outcome.PASS


def test_an_order_placed_after_the_final_product_list_does_not_count_against_it() -> None:
    run = correct_run()
    run.add(Kind.UNKNOWN, BOB, sent=500, answered=None, key=92, wanted=(("Ball", 1),))
    late = Entry(0, 92, told(11, goods("Ball", 1, 1)))
    run.change(Kind.FINAL, BOB, as_of=11, entries=(late, *run.final(BOB)))
    assert outcome(run) is Outcome.PASS


def test_what_was_answered_when_another_was_sent_may_have_come_after_it() -> None:
    """Equal times order nothing, and the time of an answer is rounded up to a microsecond."""
    run = Run(first=0)
    run.opens(Ball=5)
    run.buys(ANN, 2, goods("Ball", 1, 3), sent=2 * MS, answered=3 * MS)
    run.buys(BOB, 1, goods("Ball", 1, 4), sent=3 * MS, answered=4 * MS)
    run.closes(2, Ball=3)
    assert outcome(run) is Outcome.PASS
    run.change(Kind.ACCEPTED, BOB, sent=3 * MS + 1)
    assert failed(run) == ["what was seen before a request was sent comes before it in the ledger"]


def test_an_answer_that_took_longer_than_can_be_written_down_orders_nothing() -> None:
    run = Run(first=0)
    run.opens(Ball=5)
    run.buys(ANN, 2, goods("Ball", 1, 3), sent=2 * MS, answered=2 * MS + 2**32 + 10)
    run.buys(BOB, 1, goods("Ball", 1, 4), sent=2 * MS + 2**32 + 5, answered=2 * MS + 2**32 + 9)
    run._now_us = 2**32 + 10 * MS
    run.closes(2, Ball=3)
    assert outcome(run) is Outcome.PASS


def test_two_customers_may_use_the_same_key() -> None:
    run = Run(first=0)
    run.opens(Ball=5)
    run.buys(ANN, 1, goods("Ball", 1, 4), key=1)
    run.buys(BOB, 2, goods("Ball", 1, 3), key=1)
    run.closes(2, Ball=3)
    assert outcome(run) is Outcome.PASS


def test_orders_without_a_key_are_known_by_their_positions() -> None:
    run = Run(first=0)
    run.opens(Ball=5)
    run.buys(ANN, 1, goods("Ball", 1, 4))
    run.buys(ANN, 2, goods("Ball", 1, 3))
    run.closes(2, Ball=3)
    bare = tuple(replace(entry, key=NO_KEY) for entry in run.final(ANN))
    run.change(Kind.FINAL, ANN, entries=bare)
    for number in range(2):
        run.change(Kind.ACCEPTED, ANN, number, key=NO_KEY)
    assert outcome(run) is Outcome.PASS


def test_a_key_that_was_sent_with_two_baskets_may_have_sold_either() -> None:
    run = Run(first=0)
    run.opens(Ball=5)
    lost = run.loses(ANN, 1, goods("Ball", 1, 4))
    run.add(Kind.UNKNOWN, ANN, key=lost.key, wanted=(("Ball", 3),), answered=None)
    run.closes(1, Ball=4)
    assert outcome(run) is Outcome.PASS


def test_an_order_whose_answer_was_lost_was_sold_in_the_lines_that_were_asked_for() -> None:
    run = Run(first=0)
    run.opens(Ball=5)
    run.loses(ANN, 1, goods("Ball", 1, 3), goods("Ball", 1, 3))
    run.closes(1, Ball=3)
    assert outcome(run) is Outcome.PASS
    run.change(Kind.UNKNOWN, wanted=(("Ball", 2),))
    assert failed(run) == ["what was sold without an answer is what was asked for"]
    run.change(Kind.UNKNOWN, wanted=(("Ball", 1), ("Ball", 1)))
    run.change_told(1, lambda sold: sold._replace(items=(*sold.items, goods("Ball", 0, 3))))
    assert failed(run) == ["what was sold without an answer is what was asked for"]


def test_the_same_products_in_other_lines_are_the_same_order() -> None:
    run = Run(first=0)
    run.opens(Ball=5, Shoe=5)
    sold = run.buys(ANN, 1, goods("Ball", 2, 3), goods("Shoe", 1, 4))
    again = replace(sold, wanted=(("Shoe", 1), ("Ball", 1), ("Ball", 1)))
    run.repeats(again, 1)
    run.closes(1, Ball=3, Shoe=4)
    assert outcome(run) is Outcome.PASS


def test_lists_are_compared_with_what_the_same_worker_was_told_before() -> None:
    """A list that says again what it said, one without what is sold out, and the other way."""
    run = Run(first=0)
    run.opens(Ball=1, Shoe=2, Hat=0)
    run.looks(ANN, 0, sold_out=False, Ball=1, Shoe=2)
    run.looks(ANN, 0, Ball=1, Shoe=2, Hat=0)
    run.buys(ANN, 1, goods("Ball", 1, 0))
    run.looks(ANN, 1, Ball=0, Shoe=2, Hat=0)
    run.looks(ANN, 1, sold_out=False, Shoe=2)
    run.closes(1, Ball=0, Shoe=2, Hat=0)
    assert outcome(run) is Outcome.PASS
    run.change(Kind.PRODUCTS, ANN, 3, shelf={"Shoe": (PRICE, 2), "Ball": (PRICE, 1)})
    assert failed(run) == ["every product list is the ledger's as of its position"]


def test_a_list_of_what_is_in_stock_that_has_what_is_not_is_a_fault() -> None:
    run = Run(first=0)
    run.opens(Ball=1, Hat=0)
    run.looks(ANN, 0, sold_out=False, Ball=1, Hat=0)
    run.closes(0, Ball=1, Hat=0)
    verdict = judged(run)["every answer fits its request and itself"]
    assert "has products of which none is left: Hat" in verdict.evidence[0]


def test_a_list_of_everything_that_lacks_what_is_sold_out_is_a_fault() -> None:
    run = Run(first=0)
    run.opens(Ball=1, Hat=0)
    run.looks(ANN, 0, Ball=1)
    run.closes(0, Ball=1, Hat=0)
    verdict = judged(run)["every product list is the ledger's as of its position"]
    assert "has 1 products, sold out or not: the first list had 2" in verdict.evidence[0]


def test_a_short_list_of_orders_ends_at_its_limit() -> None:
    run = Run(first=0)
    run.opens(Ball=5)
    for position in (1, 2, 3):
        run.buys(ANN, position, goods("Ball", 1, 5 - position))
    run.lists(ANN, 3, limit=2)
    run.lists(ANN, 3, limit=0)
    run.change(Kind.ORDERS, ANN, 1, entries=tuple(run._ledger[ANN]))
    run.closes(3, Ball=2)
    assert outcome(run) is Outcome.PASS
    run.change(Kind.ORDERS, limit=3)
    assert failed(run) == ["every order list is the ledger's as of its position"]


def test_where_most_answers_have_no_time_real_time_is_not_shown() -> None:
    run = correct_run()
    rule = "what was seen before a request was sent comes before it in the ledger"
    for at, op in enumerate(run.ops):
        run.ops[at] = replace(op, answered=None)
    verdict = judged(run)[rule]
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert verdict.evidence[0].startswith("nobody knows when the first product list")
    assert verdict.found == len([op for op in run.ops if op.kind != Kind.UNKNOWN])


def test_one_answer_without_a_time_is_no_doubt() -> None:
    run = correct_run()
    run.change(Kind.PRODUCTS, answered=None)
    assert outcome(run) is Outcome.PASS
