"""What a start can see of damage to the write-ahead log: it refuses, in one line.

SQLite takes a log for as long as its checksums fit and ignores the rest, for it can't tell a commit
that a crash cut short from one that was damaged later. Two things tell them apart. Each commit was
synced before the next began, so a crash spoils at most the last one. And the log's index `-shm`,
where the shop was killed and the machine went on, still says how far the log went.
Source: https://sqlite.org/walformat.html.
"""

import os
import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

import apsw

from sportshop.storage.interface import StorageFailed
from sportshop.storage.sqlite_file import (
    FRAME_HEADER_BYTES,
    PAGE_BYTES_MIN,
    WAL_HEADER_BYTES,
    beside,
    has_log,
)

MAGIC = (0x377F_0682, 0x377F_0683)  # the last bit: checksums take words as big-endian
SALTS = slice(16, 24)  # of the log's header; drawn anew whenever the log begins again
INDEX_HEADER_BYTES = 48  # of which there are two copies
INDEX_BYTES = 2 * INDEX_HEADER_BYTES + 4  # with the number of frames that are written back


class Noted(NamedTuple):
    """How far the log went, by its index."""

    frames: int
    checksum: bytes
    """Of the last frame."""
    salts: bytes
    written_back: int
    """Frames whose pages are in the database as well."""


def noted_by_index(path: Path) -> Noted | None:
    """Return what the index of a log says, None if it says nothing. Raises OSError."""
    try:
        index = beside(path, "-shm").read_bytes()[:INDEX_BYTES]
    except FileNotFoundError:
        return None
    header = index[:INDEX_HEADER_BYTES]
    if len(index) < INDEX_BYTES or not index.startswith(header * 2):
        return None
    frames, _, first, second = struct.unpack_from("=4I", header, 16)
    (written_back,) = struct.unpack_from("=I", index, 2 * INDEX_HEADER_BYTES)
    return Noted(frames, struct.pack(">2I", first, second), header[32:40], written_back)


def check_against_index(path: Path) -> None:
    """Raise StorageFailed if the log lacks what its index says it has. Raises OSError.

    To be asked before SQLite has the database open: it makes the index anew, and to close a
    descriptor drops the locks that SQLite has on the file. Of the frames only the last commit's
    are read: what comes before is told by check_log_is_whole.
    """
    noted = noted_by_index(path)
    if noted is None or not noted.frames:
        return
    wal = beside(path, "-wal")
    try:
        with wal.open("rb") as file:
            whole = _has_all(file, noted)
    except FileNotFoundError:
        whole = noted.written_back == noted.frames  # all of it is in the database
    if not whole:
        raise StorageFailed(
            f"damaged: {wal.name} lacks some of its {noted.frames:,} frames: put a copy of it back,"
            f" or remove it and {path.name}-shm to lose what was sold last"
        )


def _has_all(file: BinaryIO, noted: Noted) -> bool:
    header = file.read(WAL_HEADER_BYTES)
    if not header and noted.written_back == noted.frames:
        return True
    if not _is_sound(header):
        return False
    if header[SALTS] != noted.salts:
        return True  # the log began again, or is another's
    frame_bytes, order = _frame_bytes(header), _byte_order(header)
    expected = noted.checksum
    for number in range(noted.frames - 1, -1, -1):
        file.seek(WAL_HEADER_BYTES + (number - 1) * frame_bytes if number else 0)
        before = file.read(frame_bytes if number else WAL_HEADER_BYTES)
        frame = file.read(frame_bytes)
        seed = before[16:24] if number else before[24:32]
        summed = frame[:8] + frame[FRAME_HEADER_BYTES:]
        if len(frame) < frame_bytes or _checksum(summed, order, seed) != expected:
            return False
        if not number or before[4:8] != bytes(4):
            break  # there the commit before ended
        expected = seed
    return True


def check_log_is_whole(connection: apsw.Connection, path: Path) -> None:
    """Raise StorageFailed if something else than a crash took commits from the log.

    Before anything is written.
    """
    frames, _ = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
    wal = beside(path, "-wal")
    if has_log(path) and _commits_beyond(wal, max(frames, 0)) > 1:
        raise StorageFailed(
            f"damaged: {wal.name} is not whole after its frame {max(frames, 0):,}, and more was"
            " sold after that: put a copy of it back, or remove it to lose what was sold last"
        )


def _commits_beyond(wal: Path, frames: int) -> int:
    """Count the commits of this log that follow the frames that SQLite takes.

    What a commit that failed has left there has no last frame, and what the log had before it
    began again has other salts.
    """
    commits = 0
    with wal.open("rb") as file:
        header = file.read(WAL_HEADER_BYTES)
        salts = header[SALTS] if _is_sound(header) else b""
        frame_bytes = _frame_bytes(header)
        end = file.seek(0, os.SEEK_END)
        first = WAL_HEADER_BYTES + frames * frame_bytes
        for start in range(first, end - frame_bytes + 1, frame_bytes):
            file.seek(start)
            frame = file.read(FRAME_HEADER_BYTES)
            salts = salts or frame[8:16]
            commits += frame[8:16] == salts and frame[4:8] != bytes(4)
    return commits


def _frame_bytes(header: bytes) -> int:
    return FRAME_HEADER_BYTES + max(int.from_bytes(header[8:12]), PAGE_BYTES_MIN)


def _byte_order(header: bytes) -> str:
    return ">" if header[3] & 1 else "<"


def _is_sound(header: bytes) -> bool:
    """Tell whether this is a log's header, with the right checksum."""
    if len(header) < WAL_HEADER_BYTES or int.from_bytes(header[:4]) not in MAGIC:
        return False
    return _checksum(header[:24], _byte_order(header), bytes(8)) == header[24:]


def _checksum(content: bytes, byte_order: str, seed: bytes) -> bytes:
    """Return SQLite's checksum of a log; 60 µs a page."""
    first, second = struct.unpack(">2I", seed)
    for even, odd in struct.iter_unpack(f"{byte_order}2I", content[: len(content) & ~7]):
        first = (first + even + second) & 0xFFFF_FFFF
        second = (second + odd + first) & 0xFFFF_FFFF
    return struct.pack(">2I", first, second)
