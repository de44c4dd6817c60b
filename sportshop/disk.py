"""Waiting for the disk: in a native thread, unless the disk is faster than that is worth.

A commit waits for an fsync, which on a slow disk takes 10 ms and more: in a native thread, without
the GIL, so that the hub serves everyone else meanwhile. On a disk that needs a fifth of a
millisecond the way to the thread and back costs a third of that again, and a lone customer has
nothing to be served meanwhile: there the commit is waited for right here. Worth 17 % of the
orders/s at 50 connections. So many fast commits in a row bring them here; a single slow one is
enough to go back to the thread.
"""

import time
from collections.abc import Callable

from gevent.threadpool import ThreadPool

HERE_SECONDS_MAX = 0.001  # for as long the hub may stand still: as for a batch of 100 orders
FAST_BEFORE_HERE = 20


class Disk:
    """Runs commits, one at a time. Only the committer uses it."""

    def __init__(self) -> None:
        self._thread = ThreadPool(1)
        self._fast_in_a_row = 0

    def wait_for(self, commit: Callable[[], None]) -> None:
        """Run a commit to its end. Raises what it raises."""
        begun = time.perf_counter()
        if self._fast_in_a_row >= FAST_BEFORE_HERE:
            commit()
        else:
            self._wait_in_thread(commit)
        fast = time.perf_counter() - begun <= HERE_SECONDS_MAX
        self._fast_in_a_row = self._fast_in_a_row + 1 if fast else 0

    def close(self) -> None:
        """End the thread."""
        self._thread.kill()

    def _wait_in_thread(self, commit: Callable[[], None]) -> None:
        problem = self._thread.apply(_problem_of, (commit,))
        if problem is not None:
            raise problem


def _problem_of(commit: Callable[[], None]) -> Exception | None:
    """Return what went wrong: an exception inside a thread-pool task would be printed as well."""
    try:
        commit()
    except Exception as problem:  # raised again where it can be handled
        return problem
    return None
