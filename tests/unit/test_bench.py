"""The benchmark's own rules: what is a goal reached, what is a drift."""

import pytest

from tests.bench import chart
from tests.bench.__main__ import ROWS, _summary
from tests.bench.rows import Sample
from tests.bench.soak import Segment, drifts

STEADY = [Segment(1000, 500, 400, 2, 5, 60)] * 9


def test_every_row_has_a_name_of_its_own() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS) == 33


@pytest.mark.parametrize(("shop", "reached"), [(60, True), (59, False)])
def test_a_ratio_reaches_its_goal_or_not(shop: float, reached: bool) -> None:
    row = ROWS[0]
    assert row.goal == 0.60
    samples = [Sample(shop, 100), Sample(1, 100), Sample(99, 100)]  # the median counts
    result = _summary(row, samples)
    assert (result["median"], result["reached"]) == (shop / 100, reached)
    document = {
        "at": "2026-01-01",
        "machine": dict.fromkeys(("cores", "memory_gib", "python", "gevent", "sqlite"), 1),
        "rows": [result],
    }
    assert (chart.REACHED in chart.draw(document)) == reached


def test_what_is_steady_does_not_drift() -> None:
    assert drifts(STEADY) == []


@pytest.mark.parametrize(
    ("last", "says"),
    [
        (Segment(700, 500, 400, 2, 5, 60), "orders_per_s fell"),
        (Segment(1000, 500, 200, 2, 5, 60), "histories_per_s fell"),
        (Segment(1000, 500, 400, 2, 9, 60), "p99_ms grew"),
        (Segment(1000, 500, 400, 2, 5, 90), "memory grew"),
    ],
)
def test_what_drifts_is_told(last: Segment, says: str) -> None:
    (fault,) = drifts([*STEADY[:6], last, last, last])
    assert fault.startswith(says)
