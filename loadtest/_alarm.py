"""Alarm: sleeps until a time on the monotonic clock, to within some microseconds.

An event loop rounds what it sleeps up to a whole millisecond, and a latency from the intended start
would have that in it. Linux has a finer timer that is a file (timerfd_create(2)); where there is
none, the loop's own has to do. Knows no schedule.
"""

import ctypes
import heapq
import itertools
import os
import struct
import time

from gevent import get_hub, sleep
from gevent.hub import Waiter

NS = 1_000_000_000
MONOTONIC, NONBLOCKING, ABSOLUTE = 1, 0o4000, 1  # Linux's CLOCK_, TFD_ and TFD_TIMER_ constants
TIME = struct.Struct("qqqq")  # interval and time, each in seconds and ns
READABLE = 1
_libc = ctypes.CDLL(None)


class Alarm:
    """Wakes any number of greenlets of one process, each at its time."""

    def __init__(self) -> None:
        self._sleepers: list[tuple[int, int, Waiter[None]]] = []
        self._numbers = itertools.count()
        self._file: int | None = None
        """None before the first sleep: a file would be shared with processes forked later."""

    def sleep_until(self, due_ns: int) -> None:
        """Sleep; not at all if the time has come."""
        if self._file is None:
            self._file = self._open()
        left_ns = due_ns - time.monotonic_ns()
        if left_ns <= 0:
            return
        if self._file < 0:
            sleep(left_ns / NS)
            return
        waiter: Waiter[None] = Waiter()  # of a sleeper who was killed it wakes nobody
        heapq.heappush(self._sleepers, (due_ns, next(self._numbers), waiter))
        if self._sleepers[0][2] is waiter:
            self._set()
        waiter.get()

    def _open(self) -> int:
        """Return the timer's file, or -1 if there is none."""
        try:
            file = int(_libc.timerfd_create(MONOTONIC, NONBLOCKING))
        except (AttributeError, OSError):  # not Linux
            return -1
        if file >= 0:
            self._readable = get_hub().loop.io(file, READABLE)
            self._readable.start(self._ring)
        return file

    def _set(self) -> None:
        due_s, due_ns = divmod(self._sleepers[0][0], NS)
        when = TIME.pack(0, 0, due_s, due_ns)
        _libc.timerfd_settime(self._file, ABSOLUTE, when, None)

    def _ring(self) -> None:
        """Wake those whose time has come. Runs in the event loop."""
        assert self._file is not None  # noqa: S101 - that is what has become readable
        try:
            os.read(self._file, 8)
        except BlockingIOError:
            return  # it was set anew meanwhile
        sleepers = self._sleepers
        while sleepers and sleepers[0][0] <= time.monotonic_ns():
            heapq.heappop(sleepers)[2].switch(None)
        if sleepers:
            self._set()
