"""The rule everyone looks for: what customers were told they bought is no more than there was.

It holds whatever positions a shop tells, and it counts no order twice that is only told again.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest

from sportshop.audit import Kind, Outcome
from sportshop.audit.history import NO_KEY
from tests.unit.histories import ANN, BOB, Entry, Run, correct_run, failed, goods, judged, told

OVERSOLD = "nothing is sold beyond the stock at the start"
BALANCE = "stock left and stock sold make the stock at the start"
CEY = "cey"


def a_position_for_two_orders_of_one_worker(run: Run) -> None:
    run.buys(ANN, 1, goods("Ball", 1, 1))
    run.buys(BOB, 1, goods("Ball", 1, 1))
    run.buys(CEY, 2, goods("Ball", 1, 0))
    run.closes(2, Ball=0)


def a_position_for_two_workers(run: Run) -> None:
    run.clocks[1] = "another machine"
    for worker, user in enumerate((ANN, BOB)):
        run.buys(user, 1, goods("Ball", 2, 0), worker=worker)
    run.closes(1, Ball=0)


def a_position_for_two_orders_of_one_customer(run: Run) -> None:
    for _ in range(3):
        run.buys(ANN, 1, goods("Ball", 1, 1))
    run.closes(1, Ball=1)


def a_position_for_orders_without_a_key(run: Run) -> None:
    for _ in range(3):
        run.buys(ANN, 1, goods("Ball", 1, 1))
    run.ops = [replace(op, key=NO_KEY) if op.kind == Kind.ACCEPTED else op for op in run.ops]
    run.closes(1, Ball=1)
    run.change(Kind.FINAL, ANN, entries=tuple(replace(one, key=0) for one in run.final(ANN)[:1]))


def a_position_for_two_baskets(run: Run) -> None:
    run.buys(ANN, 1, goods("Ball", 1, 0), goods("Shoe", 1, 3), goods("Ball", 1, 0))
    run.buys(BOB, 1, goods("Shoe", 1, 3), goods("Ball", 1, 1))
    run.closes(1, Ball=0, Shoe=3)


def lost_answers_that_share_a_position_in_lists(run: Run) -> None:
    run.loses(ANN, 1, goods("Ball", 2, 0))
    run.loses(BOB, 1, goods("Ball", 1, 1))
    run.closes(1, Ball=0)


def a_repeat_at_the_position_of_another(run: Run) -> None:
    run.buys(ANN, 1, goods("Ball", 2, 0))
    lost = run.loses(BOB, 1, goods("Ball", 1, 1))
    run.repeats(lost, 1, told(1, goods("Ball", 1, 1)))
    run.closes(1, Ball=0)
    run.change(Kind.FINAL, BOB, entries=())


def positions_from_before_the_run(run: Run) -> None:
    for user in (ANN, BOB, CEY):
        run.buys(user, 0, goods("Ball", 1, 1))
    run.closes(0, Ball=1)


def repeats_at_positions_from_before_the_run(run: Run) -> None:
    for user in (ANN, BOB, CEY):
        lost = run.loses(user, 0, goods("Ball", 1, 1))
        for _ in range(2):  # told again, it is the same order
            run.repeats(lost, 0, told(0, goods("Ball", 1, 1)))
    run.closes(0, Ball=2)


def a_position_twice_among_gaps(run: Run) -> None:
    run.alone = False
    run.buys(ANN, 5, goods("Ball", 1, 1))
    run.buys(BOB, 5, goods("Ball", 1, 1))
    run.buys(CEY, 9, goods("Ball", 1, 0))
    run.closes(12, Ball=0)


@pytest.mark.parametrize(
    "sell",
    [
        a_position_for_two_orders_of_one_worker,
        a_position_for_two_workers,
        a_position_for_two_orders_of_one_customer,
        a_position_for_orders_without_a_key,
        a_position_for_two_baskets,
        lost_answers_that_share_a_position_in_lists,
        a_repeat_at_the_position_of_another,
        positions_from_before_the_run,
        repeats_at_positions_from_before_the_run,
        a_position_twice_among_gaps,
    ],
    ids=lambda sell: sell.__name__,
)
def test_more_than_there_was_is_oversold_whatever_positions_are_told(
    sell: Callable[[Run], None],
) -> None:
    run = Run(first=0)
    run.opens(Ball=2, Shoe=4)
    sell(run)
    verdict = judged(run)[OVERSOLD]
    assert verdict.outcome is Outcome.FAIL
    assert any("beyond the 2 Ball there were" in text for text in verdict.evidence)
    assert judged(run)[BALANCE].outcome is not Outcome.PASS


def test_all_units_but_no_more_are_not_oversold_though_positions_are_shared() -> None:
    run = Run(first=0)
    run.opens(Ball=2)
    run.buys(ANN, 1, goods("Ball", 1, 1))
    run.buys(BOB, 1, goods("Ball", 1, 1))
    run.closes(1, Ball=0)
    assert judged(run)[OVERSOLD].outcome is Outcome.PASS
    assert "no ledger position is given to two orders" in failed(run)


def test_an_order_that_is_told_again_and_again_is_sold_once() -> None:
    run = Run(first=0)
    run.opens(Ball=2)
    first = run.buys(ANN, 1, goods("Ball", 1, 1))
    lost = run.loses(BOB, 2, goods("Ball", 1, 0))
    for op in (first, lost) * 3:
        run.repeats(op, 2, first.told if op is first else told(2, goods("Ball", 1, 0)))
    run.closes(2, Ball=0)
    assert failed(run) == []
    assert judged(run)[OVERSOLD].outcome is judged(run)[BALANCE].outcome is Outcome.PASS


def test_an_order_that_is_repeated_at_a_position_from_before_the_run_is_sold_once() -> None:
    run = Run(first=0)
    run.opens(Ball=2)
    for user, position in ((ANN, 0), (BOB, 1)):
        sold = run.buys(user, position, goods("Ball", 1, 1))
        run.repeats(sold, 1, told(0, goods("Ball", 1, 1)))
    run.closes(1, Ball=0)
    assert judged(run)[OVERSOLD].outcome is Outcome.PASS
    assert "every new order has a new position" in failed(run)


def test_orders_without_a_key_are_sold_once_though_they_are_listed_as_well() -> None:
    run = Run(first=0)
    run.opens(Ball=2)
    for position, user in enumerate((ANN, BOB), 1):
        run.buys(user, position, goods("Ball", 1, 2 - position))
    run.ops = [replace(op, key=NO_KEY) if op.kind == Kind.ACCEPTED else op for op in run.ops]
    run.closes(2, Ball=0)
    for user in (ANN, BOB):
        entries = tuple(Entry(0, 0, one.told) for one in run.final(user))
        run.change(Kind.FINAL, user, entries=entries)
    assert failed(run) == []
    assert judged(run)[OVERSOLD].outcome is Outcome.PASS


def test_a_basket_that_takes_the_last_in_two_lines_is_not_oversold() -> None:
    run = correct_run()
    assert judged(run)[OVERSOLD].outcome is Outcome.PASS
    run = Run(first=0)
    run.opens(Ball=2)
    run.buys(ANN, 1, goods("Ball", 1, 0), goods("Ball", 1, 0))
    run.closes(1, Ball=0)
    assert failed(run) == []


def test_an_oversold_basket_is_evidence_once_however_many_lines_it_has() -> None:
    run = Run(first=0)
    run.opens(Ball=2)
    run.buys(ANN, 1, *[goods("Ball", 1, -1)] * 3)
    run.closes(1, Ball=-1)
    beyond = [text for text in judged(run)[OVERSOLD].evidence if "beyond" in text]
    assert len(beyond) == 1
    assert "1 beyond the 2 Ball" in beyond[0]
