"""Order keys: whose an order is can be read from its key, and from no other."""

import time
import uuid

import pytest
from _keys import AUDITOR, TAG_CHARACTERS, key_ms, key_number, key_text

from sportshop.audit.history import FOREIGN_KEY, NO_KEY
from sportshop.client import new_order_key
from sportshop.orders import KEY_CHARACTERS_MAX

TAG = "5ca1ab1e"


@pytest.mark.parametrize("worker", [0, 1, 253, AUDITOR])
@pytest.mark.parametrize("number", [1, 4095, 4096, 2**24, 2**32 - 1])
def test_worker_and_number_are_read_back(worker: int, number: int) -> None:
    assert key_number(key_text(worker, number, TAG), TAG) == (worker, number)


def test_a_key_is_a_uuid_of_version_7_that_a_shop_takes() -> None:
    key = key_text(3, 12345, TAG)
    assert (uuid.UUID(key).version, uuid.UUID(key).variant) == (7, uuid.RFC_4122)
    assert len(key) <= KEY_CHARACTERS_MAX
    assert len(TAG) == TAG_CHARACTERS


@pytest.mark.parametrize(
    "key",
    [key_text(3, 12345, "0ddba115"), "k-1", "", key_text(3, 1, TAG).upper() + "x"],
    ids=["another run's", "no UUID", "none", "too long"],
)
def test_a_key_of_another_run_or_of_no_run_is_foreign(key: str) -> None:
    assert key_number(key, TAG) == (0, FOREIGN_KEY)


def test_a_key_of_the_client_library_is_foreign() -> None:
    assert key_number(new_order_key(), TAG) == (0, FOREIGN_KEY)


def test_no_key_is_no_key() -> None:
    assert key_number(None, TAG) == (0, NO_KEY)


def test_a_key_tells_when_it_was_made() -> None:
    before = time.time_ns() // 1_000_000
    assert before <= key_ms(key_text(3, 1, TAG)) <= time.time_ns() // 1_000_000
