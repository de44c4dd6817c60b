"""The queue in front of the password hashes: bounded, shared by who asks the same, and fair.

A hash takes long on purpose, and anybody may ask for one. So a thread that is free takes the
oldest login whose client is still there; who has closed their side of the connection waits until
nobody else does. They can't just be dropped: `printf … | nc` closes its side and reads on.
Knows no user and no socket: whether a client has hung up, and what hashing is, it is told.
"""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable

import gevent
from gevent.event import AsyncResult
from gevent.threadpool import ThreadPool

SWEEP_SECONDS = 1  # between two looks at all who wait: 10,000 of them take some 10 ms
LOG_SECONDS = 10  # between two lines of the same, so that nobody can fill the log
CLOSE_SECONDS = 1  # to wait for the threads at the end; the process does not need them to end

HasHungUp = Callable[[], bool]
"""Tells whether the client has closed its side; raises what is to be raised if it is gone."""

log = logging.getLogger(__name__)


class TooManyLogins(Exception):
    """More logins wait for a hash than the shop accepts, or there is no room to compute it."""


class _Job:
    """A hash, and those who wait for it."""

    __slots__ = ("askers", "digest", "password", "phc")

    def __init__(self, digest: bytes, phc: str, password: str) -> None:
        self.digest = digest
        self.phc = phc
        self.password = password
        self.askers: dict[AsyncResult[bool], HasHungUp] = {}

    def is_wanted(self) -> bool:
        """Tell whether anybody who asks has not hung up; let go of who is gone."""
        for answer, has_hung_up in list(self.askers.items()):
            try:
                if not has_hung_up():
                    return True
            except Exception as gone:  # whatever it is, it is the asker's
                del self.askers[answer]
                answer.set_exception(gone)
        return False

    def settle(self, outcome: bool | Exception) -> None:
        """Tell everybody who waits."""
        for answer in self.askers:
            if isinstance(outcome, Exception):
                answer.set_exception(outcome)
            else:
                answer.set(outcome)


class LoginQueue:
    """Computes `check(phc, password)` in native threads, so many at once.

    At most `waiting_max` hashes are asked for and not finished; of clients that have hung up as
    many again may wait. Who asks the same as another shares that hash and is not counted.
    """

    def __init__(self, check: Callable[[str, str], bool], threads: int, waiting_max: int) -> None:
        self._check = check
        self._pool = ThreadPool(threads)
        self._free = threads
        self._waiting_max = waiting_max
        self._waiting: OrderedDict[bytes, _Job] = OrderedDict()
        self._set_aside: OrderedDict[bytes, _Job] = OrderedDict()  # those who have hung up
        self._running: dict[bytes, _Job] = {}
        self._closed = False
        self._swept_at = self._logged_at = float("-inf")

    def matches(self, digest: bytes, phc: str, password: str, has_hung_up: HasHungUp) -> bool:
        """Return what `check` says, once it is this one's turn.

        `digest` is the same for those who ask the same. `has_hung_up` is called in the hub and
        may not wait. Raises TooManyLogins, and what `has_hung_up` raises.
        """
        job = self._job(digest, phc, password)
        answer: AsyncResult[bool] = AsyncResult()
        job.askers[answer] = has_hung_up
        self._begin()
        try:
            return bool(answer.get())
        finally:
            self._leave(job, answer)

    def refuse_waiting(self) -> None:
        """Raise TooManyLogins for all that wait and for all to come; what is begun is finished."""
        self._closed = True
        for queue in (self._waiting, self._set_aside):
            for job in queue.values():
                job.settle(TooManyLogins())
            queue.clear()

    def close(self) -> None:
        """End the threads; one that hashes still is waited for no longer than CLOSE_SECONDS."""
        self.refuse_waiting()
        gevent.spawn(self._pool.kill).join(CLOSE_SECONDS)

    def _job(self, digest: bytes, phc: str, password: str) -> _Job:
        """Return the hash of this digest that is under way, or queue it. Raises TooManyLogins."""
        job = self._running.get(digest) or self._waiting.get(digest)
        if job is None:
            self._make_room()
            job = self._set_aside.pop(digest, None) or _Job(digest, phc, password)
            self._waiting[digest] = job
        return job

    def _make_room(self) -> None:
        if not self._closed and self._is_full():
            self._sweep()
        if self._closed or self._is_full():
            raise TooManyLogins

    def _is_full(self) -> bool:
        return len(self._waiting) + len(self._running) >= self._waiting_max

    def _sweep(self) -> None:
        """Set aside all who have hung up, so that they don't take the room of who has not."""
        now = time.monotonic()
        if now - self._swept_at < SWEEP_SECONDS:
            return
        self._swept_at = now
        for job in [job for job in self._waiting.values() if not job.is_wanted()]:
            del self._waiting[job.digest]
            self._put_aside(job)

    def _put_aside(self, job: _Job) -> None:
        if not job.askers:
            return
        if len(self._set_aside) >= self._waiting_max:
            _, oldest = self._set_aside.popitem(last=False)
            oldest.settle(TooManyLogins())
        self._set_aside[job.digest] = job

    def _begin(self) -> None:
        """Give every thread that is free something to do."""
        while self._free and (job := self._next()) is not None:
            self._free -= 1
            self._running[job.digest] = job
            gevent.spawn(self._run, job)

    def _next(self) -> _Job | None:
        while self._waiting:
            _, job = self._waiting.popitem(last=False)
            if job.is_wanted():
                return job
            self._put_aside(job)
        while self._set_aside:
            _, job = self._set_aside.popitem(last=False)
            job.is_wanted()  # who is gone for good is let go
            if job.askers:
                return job
        return None

    def _run(self, job: _Job) -> None:
        try:
            outcome = self._pool.apply(self._outcome_of, (job.phc, job.password))
        except RuntimeError as problem:  # no thread could be started
            outcome = MemoryError(str(problem))
        if isinstance(outcome, MemoryError):
            self._log_no_room(outcome)
            outcome = TooManyLogins()
        self._free += 1
        del self._running[job.digest]
        job.settle(outcome)
        self._begin()

    def _outcome_of(self, phc: str, password: str) -> bool | Exception:
        """Hash, in a native thread: an exception that left it would be printed as well."""
        try:
            return self._check(phc, password)
        except Exception as problem:
            return problem

    def _log_no_room(self, problem: MemoryError) -> None:
        now = time.monotonic()
        if now - self._logged_at >= LOG_SECONDS:
            self._logged_at = now
            log.warning(
                "no memory for a password hash: the login is told BUSY",
                extra={"facts": {"problem": str(problem)}},
            )

    def _leave(self, job: _Job, answer: "AsyncResult[bool]") -> None:
        """Forget one who waits, and the hash if nobody else waits for it."""
        job.askers.pop(answer, None)
        if not job.askers:
            for queue in (self._waiting, self._set_aside):
                if queue.get(job.digest) is job:
                    del queue[job.digest]
