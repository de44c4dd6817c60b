"""How a commit is waited for: in place while the disk is fast, and never for long."""

import threading
import time
from collections.abc import Callable, Iterator

import gevent
import pytest

from sportshop.disk import FAST_BEFORE_HERE, Disk


@pytest.fixture
def disk() -> Iterator[Disk]:
    disk = Disk()
    yield disk
    disk.close()


class Hub:
    """Counts how often others get to run."""

    def __init__(self) -> None:
        self.turns = 0
        self._counting = gevent.spawn(self._count)

    def _count(self) -> None:
        while True:
            self.turns += 1
            gevent.sleep(1e-6)

    def __enter__(self) -> "Hub":
        gevent.sleep(0.001)
        self.turns = 0
        return self

    def __exit__(self, *_: object) -> None:
        self._counting.kill()


def hang(until: threading.Event) -> None:
    assert until.wait(10)


def quick() -> None:
    """Commit to a disk that takes no time."""


def warm_up(disk: Disk, speed: list[float]) -> None:
    """Commit until the disk is known as fast."""
    for _ in range(FAST_BEFORE_HERE):
        disk.wait_for(quick)


@pytest.fixture
def speed(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that a test sets: the disk's speed is what it says."""
    times = [0.0]
    monkeypatch.setattr("sportshop.disk.time.perf_counter", lambda: times[0])
    return times


def slow_by(speed: list[float], seconds: float) -> Callable[[], None]:
    def commit() -> None:
        speed[0] += seconds

    return commit


def test_others_run_during_the_first_commits_and_after_some_fast_ones_the_hub_stands_still(
    disk: Disk, speed: list[float]
) -> None:
    disk._let_others_run = counting = Counting(disk._let_others_run)  # type: ignore[method-assign]
    for _ in range(FAST_BEFORE_HERE):
        disk.wait_for(quick)
    assert counting.calls == FAST_BEFORE_HERE
    for _ in range(20):  # but for a commit that happens to take more than a millisecond
        disk.wait_for(quick)
    assert counting.calls < FAST_BEFORE_HERE + 20


def test_one_slow_commit_lets_others_run_from_the_start_again(
    disk: Disk, speed: list[float]
) -> None:
    warm_up(disk, speed)
    disk.wait_for(slow_by(speed, 0.5))
    disk._let_others_run = counting = Counting(disk._let_others_run)  # type: ignore[method-assign]
    for _ in range(3):
        disk.wait_for(quick)
    assert counting.calls == 3


class Counting:
    """Counts the calls of a function."""

    def __init__(self, function: Callable[[], None]) -> None:
        self._function = function
        self.calls = 0

    def __call__(self) -> None:
        self.calls += 1
        self._function()


@pytest.mark.parametrize("fast", [0, FAST_BEFORE_HERE], ids=["slow disk", "fast disk"])
def test_others_run_while_the_disk_hangs_however_fast_it_was(
    fast: int, disk: Disk, speed: list[float]
) -> None:
    for _ in range(fast):
        disk.wait_for(quick)
    may_finish = threading.Event()
    waiting = gevent.spawn(disk.wait_for, lambda: hang(may_finish))
    with Hub() as hub:
        deadline = time.monotonic() + 10
        while hub.turns < 100:
            gevent.sleep(0.001)
            assert time.monotonic() < deadline
        assert not waiting.ready()
        may_finish.set()
        waiting.get(timeout=10)


@pytest.mark.parametrize("fast", [0, FAST_BEFORE_HERE], ids=["slow disk", "fast disk"])
def test_a_commit_never_runs_in_the_hubs_thread(fast: int, disk: Disk, speed: list[float]) -> None:
    ran_in = []
    for _ in range(fast + 1):
        disk.wait_for(lambda: ran_in.append(threading.get_ident()))
    assert threading.get_ident() not in ran_in


@pytest.mark.parametrize("fast", [0, FAST_BEFORE_HERE], ids=["slow disk", "fast disk"])
def test_what_a_commit_raises_is_raised_once(fast: int, disk: Disk, speed: list[float]) -> None:
    for _ in range(fast):
        disk.wait_for(quick)

    def fail() -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        disk.wait_for(fail)
    disk.wait_for(quick)
