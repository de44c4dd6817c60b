"""The table of order keys: never misses one, and takes little memory."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sportshop.storage import csv_keys
from sportshop.storage.csv_keys import KeyTable

keys = st.tuples(st.integers(0, 3), st.text("abc", min_size=1, max_size=3))


@given(st.lists(keys, unique=True), st.lists(keys), st.sampled_from([0, 1, 0xFFFFFF]))
def test_every_key_is_found_however_many_have_the_same_hash(
    used: list[tuple[int, str]], asked: list[tuple[int, str]], mask: int
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(csv_keys, "HASH_MASK", mask)
        patched.setattr(csv_keys, "BUCKET_MASK", mask & 1)
        table = KeyTable()
        for start in range(0, len(used), 3):
            some = used[start : start + 3]
            table.add_all(some, range(2**32 + start, 2**32 + start + len(some)))
        found = table.find(asked)
    places = {key: 2**32 + n for n, key in enumerate(used)}
    assert {(key, places[key]) for key in asked if key in places} <= set(found)
    assert {key for key, _ in found} <= set(asked)


def test_a_key_takes_a_few_bytes() -> None:
    table = KeyTable()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    table.add_all(((n % 1000, f"{n:036}") for n in range(50_000)), range(50_000))
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert taken / 50_000 < 16
