"""Where order keys were used: a few bytes a key, so that a million of them fit in memory.

A dictionary of a million keys takes 150 MiB. This takes 9: for each key, 24 bits of its hash and
the position of its order. So `find` may name a wrong position now and then, and never misses the
right one: the caller looks into the ledger, which it has to read anyway.

Records are gathered in buckets by another part of the hash, and a bucket is searched from end to
end in C. So nothing is ever built anew as it grows: with a hundred million keys a search takes
some microseconds, and no order waits for it.
"""

from collections.abc import Iterable, Iterator

from sportshop.orders import KeyOfUser

BUCKETS = 1 << 14
BUCKET_MASK = BUCKETS - 1
HASH_SHIFT = 14  # the bits below choose the bucket
RECORD_BYTES = 8
HASH_BYTES = 3  # of a record; the other five are the position
POSITION_SHIFT = 8 * HASH_BYTES
HASH_MASK = (1 << POSITION_SHIFT) - 1


class KeyTable:
    """Positions by user and order key. Python's hash of a text is seeded: no client can aim."""

    def __init__(self) -> None:
        self._buckets = [bytearray() for _ in range(BUCKETS)]

    def add_all(self, keys: Iterable[KeyOfUser], positions: Iterable[int]) -> None:
        """Note where users' keys were used."""
        buckets = self._buckets
        for hashed, position in zip(map(hash, keys), positions, strict=True):
            record = position << POSITION_SHIFT | hashed >> HASH_SHIFT & HASH_MASK
            buckets[hashed & BUCKET_MASK] += record.to_bytes(RECORD_BYTES, "little")

    def find(self, keys: Iterable[KeyOfUser]) -> list[tuple[KeyOfUser, int]]:
        """Return the keys that may have been used, each with where: a key may be named twice."""
        buckets = self._buckets
        found: list[tuple[KeyOfUser, int]] = []
        for key in keys:
            hashed = hash(key)
            bucket = buckets[hashed & BUCKET_MASK]
            wanted = (hashed >> HASH_SHIFT & HASH_MASK).to_bytes(HASH_BYTES, "little")
            if wanted in bucket:  # hardly ever: a retry is rare
                found += [(key, position) for position in _positions(bucket, wanted)]
        return found


def _positions(bucket: bytearray, wanted: bytes) -> Iterator[int]:
    at = bucket.find(wanted)
    while at >= 0:
        if at % RECORD_BYTES == 0:
            yield int.from_bytes(bucket[at + HASH_BYTES : at + RECORD_BYTES], "little")
        at = bucket.find(wanted, at + 1)
