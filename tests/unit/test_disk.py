"""Where a commit is waited for: in a thread, until the disk has shown that it is fast."""

import threading
from collections.abc import Iterator

import gevent
import pytest

from sportshop.disk import FAST_BEFORE_HERE, Disk


@pytest.fixture
def disk() -> Iterator[Disk]:
    disk = Disk()
    yield disk
    disk.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that a test sets: the disk's speed is what it says."""
    times = [0.0]
    monkeypatch.setattr("sportshop.disk.time.perf_counter", lambda: times[0])
    return times


def where(disk: Disk, clock: list[float], seconds: float) -> str:
    """Run a commit that takes so long; tell where it ran."""
    ran_in = []

    def commit() -> None:
        ran_in.append(threading.get_ident())
        clock[0] += seconds

    disk.wait_for(commit)
    return "here" if ran_in == [threading.get_ident()] else "thread"


def test_a_fast_disk_is_waited_for_here_after_some_commits(disk: Disk, clock: list[float]) -> None:
    places = [where(disk, clock, 0.0002) for _ in range(FAST_BEFORE_HERE + 3)]
    assert places == ["thread"] * FAST_BEFORE_HERE + ["here"] * 3


def test_one_slow_commit_goes_back_to_the_thread(disk: Disk, clock: list[float]) -> None:
    for _ in range(FAST_BEFORE_HERE):
        where(disk, clock, 0.0002)
    assert where(disk, clock, 0.5) == "here"
    assert [where(disk, clock, 0.0002) for _ in range(3)] == ["thread"] * 3


def test_a_slow_disk_is_never_waited_for_here(disk: Disk, clock: list[float]) -> None:
    assert {where(disk, clock, 0.01) for _ in range(50)} == {"thread"}


def test_others_run_while_a_slow_disk_is_waited_for(disk: Disk) -> None:
    may_finish = threading.Event()

    def slow_commit() -> None:
        may_finish.wait(10)

    waiting = gevent.spawn(disk.wait_for, slow_commit)
    gevent.sleep(0.01)
    assert not waiting.ready()
    may_finish.set()
    waiting.get(timeout=5)


@pytest.mark.parametrize("fast", [0, FAST_BEFORE_HERE])
def test_what_a_commit_raises_is_raised_wherever_it_ran(
    fast: int, disk: Disk, clock: list[float]
) -> None:
    for _ in range(fast):
        where(disk, clock, 0.0001)

    def fail() -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        disk.wait_for(fail)
