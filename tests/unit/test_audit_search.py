"""The search against which the audit is held is itself held to what is planted."""

import pytest

from sportshop.audit import Kind
from tests.unit.histories import ANN, BOB, Run, correct_run, goods
from tests.unit.search import explained
from tests.unit.test_audit import FAULTS, Fault


def is_explained(run: Run) -> bool:
    return explained(run.ops, run.clocks, run.alone)


def test_the_search_finds_the_order_of_a_correct_run() -> None:
    assert is_explained(correct_run())


@pytest.mark.parametrize("plant", [one for one, _, _ in FAULTS], ids=lambda plant: plant.__name__)
def test_the_search_finds_no_order_for_a_planted_fault(plant: Fault) -> None:
    run = correct_run()
    plant(run)
    assert not is_explained(run)


def overlapping() -> Run:
    run = Run(first=0)
    run.opens(Ball=2)
    run.buys(ANN, 2, goods("Ball", 1, 0), sent=1, answered=9)
    run.buys(BOB, 1, goods("Ball", 1, 1), sent=2, answered=8)
    run.closes(2, Ball=0)
    run.ops[0] = Run().add(Kind.OPENING, "auditor", sent=-2, answered=-1, shelf=run.ops[0].shelf)
    return run


def test_what_overlaps_may_have_happened_in_either_order() -> None:
    assert is_explained(overlapping())


def test_what_was_answered_before_happened_before() -> None:
    run = overlapping()
    run.change(Kind.ACCEPTED, ANN, answered=1)
    assert not is_explained(run)
    run.clocks[0] = "another machine"
    assert is_explained(run) is False  # both orders are of that machine
    run.change(Kind.ACCEPTED, BOB, worker=1)
    run.change(Kind.FINAL, BOB, entries=())
    assert not is_explained(run)


def test_an_order_whose_answer_was_lost_may_have_been_sold_or_not() -> None:
    run = Run(first=0)
    run.opens(Ball=2)
    run.loses(ANN, 1, goods("Ball", 1, 1))
    run.closes(1, Ball=1)
    assert is_explained(run)
    run.change(Kind.CLOSING, as_of=0, shelf=run.ops[0].shelf)
    run.change(Kind.FINAL, ANN, as_of=0, entries=())
    assert is_explained(run)


def test_somebody_else_may_have_bought_unless_we_are_alone() -> None:
    run = Run(first=0, alone=False)
    run.opens(Ball=3)
    run.buys(ANN, 2, goods("Ball", 1, 1))
    run.closes(2, Ball=1)
    assert is_explained(run)
    run.alone = True
    assert not is_explained(run)


def test_somebody_else_cannot_have_put_stock_back() -> None:
    run = Run(first=0, alone=False)
    run.opens(Ball=3)
    run.buys(ANN, 2, goods("Ball", 1, 3))
    run.closes(2, Ball=3)
    assert not is_explained(run)
