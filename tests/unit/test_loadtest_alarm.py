"""The load test's alarm: nobody is woken early, and each by himself."""

import time

import gevent
import pytest
from _alarm import Alarm

MS = 1_000_000


@pytest.fixture(params=["timer", "no timer"])
def alarm(request, monkeypatch) -> Alarm:
    if request.param == "no timer":
        monkeypatch.setattr("_alarm._libc", object())
    return Alarm()


def test_sleepers_wake_in_order_of_their_times_and_none_early(alarm) -> None:
    begin_ns = time.monotonic_ns()
    woken = []

    def sleep(ms: int) -> None:
        alarm.sleep_until(begin_ns + ms * MS)
        assert time.monotonic_ns() >= begin_ns + ms * MS
        woken.append(ms)

    gevent.joinall([gevent.spawn(sleep, ms) for ms in (30, 10, 20, 40, 0)], raise_error=True)
    assert woken == [0, 10, 20, 30, 40]


def test_a_time_that_has_come_is_not_slept_for(alarm) -> None:
    alarm.sleep_until(time.monotonic_ns() - 1)


def test_who_sleeps_again_and_again_keeps_nobody_else_from_waking(alarm) -> None:
    begin_ns = time.monotonic_ns()

    def sleep_often() -> None:
        for number in range(1, 50):
            alarm.sleep_until(begin_ns + number * MS // 2)

    gevent.joinall([gevent.spawn(sleep_often) for _ in range(10)], timeout=5, raise_error=True)
    assert time.monotonic_ns() >= begin_ns + 49 * MS // 2


def test_who_is_killed_in_his_sleep_wakes_nobody_else(alarm) -> None:
    begin_ns = time.monotonic_ns()
    killed = gevent.spawn(alarm.sleep_until, begin_ns + 5 * MS)
    other = gevent.spawn(alarm.sleep_until, begin_ns + 20 * MS)
    gevent.sleep(0.001)
    killed.kill()
    other.get(timeout=5)
    assert time.monotonic_ns() >= begin_ns + 20 * MS
