"""The checkers agree with a search through all orders of events, whatever the history.

Small concurrent runs are made by the shop's own rule, and then changed. The search is exponential
and obviously right; the audit is a replay. Neither knows of the other.
"""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from sportshop.audit import Kind, Outcome, Verdict, audit, worst
from sportshop.audit.history import NO_KEY
from tests.unit.histories import record
from tests.unit.random_runs import RandomRun, correct_runs, mutated
from tests.unit.search import explained

GAPS = "every position taken during the run is in a list"
REUSED = "a key is refused only where it sold other items"
TRACES = "the lists hold nothing that was not ordered"


def scaled(share: int) -> int:
    """Return how many examples: so many times what the profile says."""
    return share * settings.default.max_examples


def judge(run: RandomRun) -> list[Verdict]:
    return audit(record(run.ops, run.clocks, run.alone))


def is_explained(run: RandomRun) -> bool:
    return explained(run.ops, run.clocks, run.alone)


@st.composite
def changed_runs(draw: st.DrawFn, alone: bool, most: int = 7) -> RandomRun:
    run = draw(correct_runs(alone, most))
    for _ in range(draw(st.integers(1, 2))):
        run = mutated(draw, run)
    return run


@given(correct_runs(alone=True))
@settings(deadline=None, max_examples=scaled(1))
def test_what_a_correct_shop_told_is_explained_and_passes(run: RandomRun) -> None:
    assert is_explained(run)
    check_alone(run)


@given(changed_runs(alone=True))
@settings(deadline=None, max_examples=scaled(5))
def test_alone_the_audit_passes_what_can_be_explained_and_nothing_else(run: RandomRun) -> None:
    check_alone(run)


@given(correct_runs(alone=False, most=6))
@settings(deadline=None, max_examples=scaled(1))
def test_what_a_correct_shop_told_never_fails_whoever_else_bought(run: RandomRun) -> None:
    assert worst(judge(run)) is not Outcome.FAIL


@given(changed_runs(alone=False, most=5))
@settings(deadline=None, max_examples=scaled(3))
def test_among_others_a_failure_cannot_be_explained_and_a_pass_can(run: RandomRun) -> None:
    verdicts = judge(run)
    if worst(verdicts) is Outcome.FAIL:
        assert not is_explained(run), verdicts
    if worst(verdicts) is Outcome.PASS:
        assert is_explained(run), verdicts


def check_alone(run: RandomRun) -> None:
    verdicts = judge(run)
    outcome = worst(verdicts)
    if outcome is Outcome.INCONCLUSIVE:
        assert is_excused(run, verdicts), verdicts
    else:
        expected = Outcome.PASS if is_explained(run) else Outcome.FAIL
        assert outcome is expected, [v for v in verdicts if v.outcome is not Outcome.PASS]


def is_excused(run: RandomRun, verdicts: Sequence[Verdict]) -> bool:
    """Tell whether there is an order of ours of which nobody can know.

    One whose answer was lost, and that was sold after its owner's final list was read, or that
    bore no key. There is no other doubt about a whole record of a shop that was ours alone.
    """
    doubts = {verdict.rule for verdict in verdicts if verdict.outcome is Outcome.INCONCLUSIVE}
    lost = [op for op in run.ops if op.kind == Kind.UNKNOWN]
    keyless = any(op.key == NO_KEY for op in lost)
    return (bool(lost) and bool({GAPS, REUSED} & doubts)) or (keyless and doubts == {TRACES})
