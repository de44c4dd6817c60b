"""Lines to a descriptor that is slow, stuck, full or gone: nobody waits, and all are counted."""

import fcntl
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from sportshop.log_writer import LogWriter, Relay

SECONDS = 10
LINE = "x" * 99 + "\n"


def told(dropped: int) -> str:
    return f"dropped={dropped}\n"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Yield both ends of the smallest pipe there is."""
    reading, writing = os.pipe()
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    yield reading, writing
    for end in (reading, writing):
        with suppress(OSError):
            os.close(end)


def read(reading: int, until: str) -> str:
    """Read until a text has come."""
    text = ""
    while until not in text:
        text += os.read(reading, 65536).decode()
    return text


def test_lines_come_whole_and_in_order(pipe: tuple[int, int]) -> None:
    writer = LogWriter(pipe[1], told)
    lines = [f"{number} é\udcff\n" for number in range(1_000)]
    for line in lines:
        writer.put(line)
    expected = "".join(lines).replace("\udcff", "\\udcff")
    assert read(pipe[0], "999 é\\udcff\n") == expected
    assert writer.flush(SECONDS)


def test_nobody_waits_for_a_reader_that_does_not_read(pipe: tuple[int, int]) -> None:
    writer = LogWriter(pipe[1], told, bytes_max=10_000)
    began_s = time.monotonic()
    for _ in range(10_000):
        writer.put(LINE)
    assert time.monotonic() - began_s < SECONDS / 2
    assert not writer.flush(0.01)


def count(text: str) -> tuple[int, int]:
    """Return how many lines there are, and how many were dropped."""
    lines = text.splitlines()
    notices = [line for line in lines if line.startswith("dropped=")]
    assert set(lines) - set(notices) <= {LINE[:-1]}
    return len(lines) - len(notices), sum(int(line.partition("=")[2]) for line in notices)


def test_what_was_dropped_is_told_when_the_reader_has_caught_up(pipe: tuple[int, int]) -> None:
    writer = LogWriter(pipe[1], told, bytes_max=10_000)
    for _ in range(1_000):
        writer.put(LINE)
    kept, dropped = count(read(pipe[0], "dropped="))
    assert dropped > 800
    assert kept + dropped == 1_000


def test_what_was_dropped_is_told_before_the_next_line(pipe: tuple[int, int]) -> None:
    writer = LogWriter(pipe[1], told, bytes_max=len(LINE))
    with held(writer):
        for _ in range(5):
            writer.put(LINE)
        writer._waiting = 0  # as if it had been written
        writer.put("next\n")
    text = read(pipe[0], "next")
    assert text.index("dropped=4") < text.index("next")


def held(writer: LogWriter) -> threading.Condition:
    """Return what keeps the writer from noting that a line is written."""
    return threading.Condition(writer._changed._lock)  # type: ignore[attr-defined]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="writes to /dev/full")
def test_lines_that_a_full_disk_refused_are_told_when_there_is_room(tmp_path: Path) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    writer = LogWriter(full, told)
    for _ in range(3):
        writer.put(LINE)
    assert writer.flush(SECONDS)
    room = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    os.dup2(room, full)
    writer.put("next\n")
    assert writer.flush(SECONDS)
    assert (tmp_path / "log").read_text() == "dropped=3\nnext\n"
    os.close(room)
    os.close(full)


def test_a_reader_that_is_gone_is_no_error(pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    writer = LogWriter(pipe[1], told)
    writer.put(LINE)
    assert writer.flush(SECONDS)


def test_a_descriptor_that_somebody_made_non_blocking_is_waited_for(pipe: tuple[int, int]) -> None:
    os.set_blocking(pipe[1], False)
    writer = LogWriter(pipe[1], told)
    for _ in range(200):
        writer.put(LINE)
    writer.put("end\n")
    assert read(pipe[0], "end\n").count(LINE) == 200


def test_a_text_stream_passes_on_whole_lines(pipe: tuple[int, int]) -> None:
    relay = Relay(LogWriter(pipe[1], told))
    print("Traceback\n  of", "ours", file=relay)
    relay.write("begun")
    relay.finish(SECONDS)
    assert read(pipe[0], "begun\n") == "Traceback\n  of ours\nbegun\n"
    assert relay.fileno() == pipe[1]
    assert sys.stderr is not relay
