"""Schedule: arrivals are due at fixed times, whoever takes them, and none is forgotten."""

from itertools import pairwise

import pytest
from _schedule import NS, Schedule


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list of one: the time now, in ns."""
    now = [1_000 * NS]
    monkeypatch.setattr("_schedule.time.monotonic_ns", lambda: now[0])
    return now


def test_arrivals_are_evenly_apart_and_do_not_drift(clock: list[int]) -> None:
    schedule = Schedule(3)
    first, *others = [schedule.next_ns() for _ in range(3_001)]
    assert first == clock[0]
    assert others[-1] - first == 1_000 * NS
    gaps = {later - earlier for earlier, later in pairwise(others)}
    assert gaps <= {333_333_333, 333_333_334}


def test_who_is_late_catches_up(clock: list[int]) -> None:
    schedule = Schedule(10)
    schedule.next_ns()
    clock[0] += 5 * NS
    assert schedule.next_ns() == clock[0] - 5 * NS + NS // 10


def test_arrivals_that_nobody_took_are_missed(clock: list[int]) -> None:
    schedule = Schedule(10)
    schedule.next_ns()
    assert schedule.missed() == 0
    clock[0] += NS
    assert schedule.missed() == 10
    schedule.next_ns()
    assert schedule.missed() == 9


def test_one_that_was_taken_and_given_back_is_missed(clock: list[int]) -> None:
    schedule = Schedule(10)
    schedule.next_ns()
    clock[0] += NS // 10
    turn = schedule.next_ns()
    assert schedule.missed() == 0
    schedule.give_back(turn)
    assert schedule.missed() == 1


def test_one_that_was_given_back_is_just_that_one_and_the_next_to_come_takes_it(
    clock: list[int],
) -> None:
    schedule = Schedule(10)
    turns = [schedule.next_ns() for _ in range(4)]
    for turn in (turns[2], turns[1]):  # whose users go; the last one's stays
        schedule.give_back(turn)
    assert [schedule.next_ns() for _ in range(3)] == [turns[1], turns[2], turns[3] + NS // 10]
    assert len({*turns, turns[3] + NS // 10}) == 5


def test_one_that_was_given_back_before_it_was_due_is_missed_when_it_is(clock: list[int]) -> None:
    schedule = Schedule(10)
    turns = [schedule.next_ns() for _ in range(4)]
    schedule.give_back(turns[2])
    assert schedule.missed() == 0
    clock[0] = turns[3]
    assert schedule.missed() == 1


def test_without_a_share_of_the_rate_nobody_arrives_and_nobody_is_missed(clock: list[int]) -> None:
    schedule = Schedule(0)
    turn = schedule.next_ns()
    clock[0] += 1_000 * NS
    assert not schedule.is_due(turn)
    schedule.give_back(turn)
    assert schedule.missed() == 0


def test_after_the_end_nothing_more_is_due(clock: list[int]) -> None:
    schedule = Schedule(10)
    schedule.next_ns()
    schedule.end(clock[0] + NS)
    clock[0] += 60 * NS
    assert schedule.missed() == 10


def test_before_anybody_came_nothing_is_missed(clock: list[int]) -> None:
    schedule = Schedule(10)
    clock[0] += NS
    assert schedule.missed() == 0
