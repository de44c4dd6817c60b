"""Waiting for the disk: in a native thread, and for a fast disk without leaving the hub.

A commit waits for an fsync, without the GIL, in a native thread: whatever the disk does, the hub
can go on. How the hub waits depends on the disk. A fast one answers in a fifth of a millisecond,
less than it takes to serve others and come back, so the hub stands still for it, but never longer
than HERE_SECONDS_MAX: a disk that suddenly hangs holds up nobody but the orders that wait for it.
Worth 17 % of the orders/s at 50 connections. So many fast commits in a row bring the wait here; a
single slow one is enough to let others run from the start again.
"""

import threading
import time
from collections.abc import Callable
from queue import SimpleQueue

import gevent
from gevent.event import Event

HERE_SECONDS_MAX = 0.001  # for as long the hub may stand still: as for a batch of 100 orders
FAST_BEFORE_HERE = 20

_Commit = Callable[[], None]


class Disk:
    """Runs commits, one at a time. Only the committer uses it."""

    def __init__(self) -> None:
        self._commits: SimpleQueue[_Commit | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._fast_in_a_row = 0
        self._ended = threading.Lock()  # held while a commit has not ended
        self._ended.acquire()
        self._problem: Exception | None = None
        self._wakes = Event()
        self._waker = gevent.get_hub().loop.async_()
        self._hub_sleeps = False

    def wait_for(self, commit: _Commit) -> None:
        """Run a commit to its end. Raises what it raises."""
        begun = time.perf_counter()
        self._begin(commit)
        here = self._fast_in_a_row >= FAST_BEFORE_HERE
        if not (here and self._ended.acquire(timeout=HERE_SECONDS_MAX)):
            self._let_others_run()
        fast = time.perf_counter() - begun <= HERE_SECONDS_MAX
        self._fast_in_a_row = self._fast_in_a_row + 1 if fast else 0
        if self._problem is not None:
            raise self._problem

    def close(self) -> None:
        """End the thread, which must have nothing to do."""
        if self._thread is not None:
            self._commits.put(None)
            self._thread.join()
            self._thread = None
        self._waker.stop()
        self._waker.close()

    def _begin(self, commit: _Commit) -> None:
        if self._thread is None:
            # A daemon: where the disk hangs for good the process must be able to end.
            self._thread = threading.Thread(target=self._run, name="disk", daemon=True)
            self._thread.start()
            self._waker.start(self._wakes.set)
        self._problem = None
        self._commits.put(commit)

    def _let_others_run(self) -> None:
        """Wait for the end of the commit in the hub's loop."""
        self._wakes.clear()
        self._hub_sleeps = True
        while not self._ended.acquire(blocking=False):  # it may have ended just before
            self._wakes.wait()
            self._wakes.clear()
        self._hub_sleeps = False

    # In the thread.

    def _run(self) -> None:
        while (commit := self._commits.get()) is not None:
            try:
                commit()
            except Exception as problem:  # raised again where it can be handled
                self._problem = problem
            self._ended.release()
            if self._hub_sleeps:
                self._waker.send()
