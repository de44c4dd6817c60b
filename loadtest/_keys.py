"""Keys: order keys from which can be read whose they are.

A UUIDv7 (RFC 9562) whose random bits are a worker's count and the run's tag: found in a list
later, it tells which order of this run it was, also one that the shop had refused. Knows no run.
"""

import re
import time
from functools import lru_cache

from sportshop.audit.history import FOREIGN_KEY, NO_KEY

TAG_CHARACTERS = 8
WORKERS_MAX = 254  # one byte, and one number is the auditor's
AUDITOR = 255
_parts = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-7([0-9a-f]{3})-8([0-9a-f]{3})-([0-9a-f]{4})([0-9a-f]{8})"
).fullmatch


def key_text(worker: int, number: int, tag: str) -> str:
    """Return the key with which a worker sends its `number`th order (from 1, below 2^32)."""
    ms, high = time.time_ns() // 1_000_000, worker << 16 | number >> 16
    return f"{_beginning(ms, high)}{number & 0xFFFF:04x}{tag}"


@lru_cache(maxsize=16)
def _beginning(ms: int, high: int) -> str:
    """Return what dozens of keys in a row have in common."""
    time_part, own = f"{ms:012x}", f"{high:06x}"
    return f"{time_part[:8]}-{time_part[8:]}-7{own[:3]}-8{own[3:]}-"


def key_number(text: str | None, tag: str) -> tuple[int, int]:
    """Return worker and number of a key; FOREIGN_KEY if the run did not make it."""
    if text is None:
        return 0, NO_KEY
    found = _parts(text)
    if found is None or found[4] != tag:
        return 0, FOREIGN_KEY
    own = int(found[1] + found[2] + found[3], 16)
    return own >> 32, own & (2**32 - 1)


def key_ms(text: str) -> int:
    """Return when a key of a run was made, in ms since 1970 by its maker's clock."""
    return int(text[:8] + text[9:13], 16)
