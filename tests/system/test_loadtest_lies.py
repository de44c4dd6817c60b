"""Some lies told to a real Locust, which convicts the shop, prints the evidence and exits with 3.

Every lie there is, and an honest shop under every load, is in test_lies.py, without Locust.
"""

import re
from pathlib import Path

import pytest

from tests.system.lies import Lie
from tests.system.locust_run import VIOLATED, Figures, LoadTest, needs_locust
from tests.system.lying_shop import lying_shop
from tests.system.test_lies import CONVICTIONS

pytestmark = [needs_locust, pytest.mark.slow]

BRIEF = ("--headless", "--run-time", "1s")
TOLD = (  # one of stock, of several items, of reads, of lists, of keys and of a crash
    Lie.OVERSELL,
    Lie.HALF_AN_ORDER,
    Lie.OLD_READ,
    Lie.FOREIGN_ORDER,
    Lie.DOUBLE_RETRY,
    Lie.ANSWER_BEFORE_COMMIT,
)


@pytest.mark.parametrize("lie", TOLD, ids=lambda lie: lie.name)
def test_a_lying_shop_is_convicted_and_its_orders_are_named(lie: Lie, tmp_path: Path) -> None:
    rule, names, load, stock, _ = CONVICTIONS[lie]
    figures = Figures(tmp_path)
    weights = [f"--weight-{name.replace('_', '-')}={n}" for name, n in load._asdict().items()]
    options = (*BRIEF, *weights, *figures.flags)
    with lying_shop(lie, stock) as address, LoadTest(address, *options) as test:
        assert test.exit_code() == VIOLATED
    evidence = figures.evidence().get(rule, [])
    assert evidence
    assert all(re.search(names, text) for text in evidence), evidence
    assert f"FAIL: {rule}\n  {evidence[0]}" in test.printed
