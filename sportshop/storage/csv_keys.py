"""Where order keys were used: a few bytes a key, so that a million of them fit in memory.

A dictionary of a million keys takes 150 MiB. This takes 9: for each key, 24 bits of its hash and
the position of its order. So `find` may name a wrong position now and then, and never misses the
right one: whoever asks looks into the ledger, which he has to read anyway.

Records are gathered in buckets by another part of the hash, and a bucket is searched from end to
end in C. So nothing is ever built anew as it grows: with a hundred million keys a search takes
some microseconds, and no order waits for it.
"""

from collections.abc import Iterable, Sequence

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

    def add(self, user: int, key: str, position: int) -> None:
        """Note where a user's key was used."""
        hashed = hash((user, key))
        record = position << POSITION_SHIFT | hashed >> HASH_SHIFT & HASH_MASK
        self._buckets[hashed & BUCKET_MASK] += record.to_bytes(RECORD_BYTES, "little")

    def add_all(self, keys: Iterable[tuple[int, str]], positions: Iterable[int]) -> None:
        """Note many: what `add` does, without a call for each."""
        buckets = self._buckets
        for hashed, position in zip(map(hash, keys), positions, strict=True):
            record = position << POSITION_SHIFT | hashed >> HASH_SHIFT & HASH_MASK
            buckets[hashed & BUCKET_MASK] += record.to_bytes(RECORD_BYTES, "little")

    def find(self, user: int, key: str) -> Sequence[int]:
        """Return the positions where the key may have been used: nearly always none or one."""
        hashed = hash((user, key))
        bucket = self._buckets[hashed & BUCKET_MASK]
        wanted = (hashed >> HASH_SHIFT & HASH_MASK).to_bytes(HASH_BYTES, "little")
        at = bucket.find(wanted)
        if at < 0:  # nearly always: a retry is rare
            return ()
        found = []
        while at >= 0:
            if at % RECORD_BYTES == 0:
                record = bucket[at + HASH_BYTES : at + RECORD_BYTES]
                found.append(int.from_bytes(record, "little"))
            at = bucket.find(wanted, at + 1)
        return found
