"""Streams: standard input, output and error, none of which can be taken for granted.

Each may be closed, full, or a pipe that nobody reads any more. The rule: no program of ours opens
a file or a socket under one of their numbers, and what can't be written costs one line on stderr
and the exit code at most, never a traceback. Knows no command and no log.
"""

import errno
import os
import sys
from contextlib import suppress
from typing import IO, Any

from sportshop.names import printable

_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))  # in the order of their numbers
_CANNOT_WRITE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EBADF})
_missing: set[int] = set()


def take_missing() -> None:
    """Put the null device where standard input, output or error is closed.

    To be called before anything is opened: else the next file or socket gets the free number, and
    what is meant for stderr is written into it.
    """
    for number, (name, mode) in enumerate(_STREAMS):
        if not _is_open(number):
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest that is free
            _missing.add(number)
        if getattr(sys, name) is None:  # Python's way to say that it was closed
            stream = open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # what a terminal can't show is no error


def is_missing(number: int) -> bool:
    """Tell whether a standard stream was closed when the program began."""
    return number in _missing


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def tell(line: str) -> None:
    """Write a line on stderr, in the manner of every command; if stderr can't be written, none."""
    tell_text(f"sportshop: {line}")


def tell_text(text: str) -> None:
    """Write a text on stderr; if stderr can't be written, nothing."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def tell_problem(problem: OSError) -> None:
    """Tell what the operating system refused, and write no more where nothing can be written.

    An error that names no file is one of the standard streams: the client library translates
    those of its sockets. A reader that has gone away, as `head` does, is not worth a line.
    """
    if problem.filename is not None:
        tell(f"{printable(str(problem.filename))}: {problem.strerror}")
        return
    discard(sys.stdout)
    if problem.errno in _CANNOT_WRITE:
        tell(f"cannot write to standard output: {problem.strerror}")
    elif problem.errno != errno.EPIPE:
        tell(f"standard input or output: {problem.strerror or problem}")


def finish(code: int) -> int:
    """Write what is still to be written; return the exit code, 1 if that failed and it was 0."""
    try:
        sys.stdout.flush()
    except OSError as problem:
        tell_problem(problem)
        code = code or 1
    try:
        sys.stderr.flush()
    except OSError:
        discard(sys.stderr)
    return code


def discard(stream: IO[Any]) -> None:
    """Let a stream that can't be written lead nowhere: else Python fails over it at its end."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        stream.flush()
