"""Order keys: UUIDs that sort by the time at which they were made.

A key that sorts by time is cheap for the shop's database, a random one is not.
"""

import os
import time
import uuid


def new_order_key() -> str:
    """Return a fresh UUIDv7, in 36 characters.

    48 bits of milliseconds since 1970, 12 bits of the fraction of that millisecond and 62 random
    bits. Source: RFC 9562, sections 5.7 and 6.2 (method 3).
    """
    ms, rest_ns = divmod(time.time_ns(), 1_000_000)
    fraction = (rest_ns << 12) // 1_000_000
    random_bits = int.from_bytes(os.urandom(8)) >> 2
    return str(uuid.UUID(int=ms << 80 | 7 << 76 | fraction << 64 | 0b10 << 62 | random_bits))
