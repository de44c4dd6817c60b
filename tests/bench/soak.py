"""`make soak MINUTES=10`: a mixed load for a long time; does anything drift?

    python -m tests.bench.soak --minutes 10

Orders, product lists and order histories side by side. Every ten seconds a line with the rates,
the latency of orders and the shop's memory; at the end the medians of the first third beside those
of the last. Exit code 1 if memory, latency or throughput drifted by more than the bounds below.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests.bench import programs
from tests.bench.programs import KEYED_ORDER, LOGIN, Load, Program, build, load_with
from tests.bench.rows import ORDERS_REQUEST, PRODUCTS_REQUEST, write_catalogue

SEGMENT_SECONDS = 10
# What may differ between the first third and the last: a shared machine is not steady either.
THROUGHPUT_LEFT_MIN = 0.75
LATENCY_GROWTH_MAX = 1.5
MEMORY_GROWTH_MIB_MAX = 20.0  # beyond what the first segment has warmed up


class Segment(NamedTuple):
    """Ten seconds."""

    orders_per_s: float
    products_per_s: float
    histories_per_s: float
    p50_ms: float
    p99_ms: float
    memory_mib: float


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.soak")
    parser.add_argument("--minutes", type=float, default=10)
    minutes = parser.parse_args().minutes
    with tempfile.TemporaryDirectory(prefix="sportshop-soak-") as scratch:
        folder = Path(scratch)
        load = load_with(build("loadgen", folder))
        catalogue = write_catalogue(folder / "catalogue")
        with programs.shop(f"sqlite:{folder}/shop.db", catalogue) as shop:
            print(f"{'minute':>6}{'orders/s':>10}{'lists/s':>10}{'histories/s':>13}"
                  f"{'p50 ms':>8}{'p99 ms':>8}{'MiB':>8}")  # fmt: skip
            count = max(3, round(minutes * 60 / SEGMENT_SECONDS))
            segments = [_segment(load, shop, number) for number in range(count)]
    faults = drifts(segments)
    print("\n".join(faults) or "nothing drifted")
    sys.exit(1 if faults else 0)


def _segment(load: Load, shop: Program, number: int) -> Segment:
    with ThreadPoolExecutor(3) as side_by_side:
        orders, products, histories = (
            side_by_side.submit(
                load, shop.port, request, login=LOGIN, connections=n, seconds=SEGMENT_SECONDS
            )
            for request, n in ((KEYED_ORDER, 200), (PRODUCTS_REQUEST, 20), (ORDERS_REQUEST, 20))
        )
        found = orders.result()
        segment = Segment(
            found["per_s"],
            products.result()["per_s"],
            histories.result()["per_s"],
            found["p50_ms"],
            found["p99_ms"],
            shop.memory_kib() / 1024,
        )
    minute = (number + 1) * SEGMENT_SECONDS / 60
    print(f"{minute:6.1f}{segment.orders_per_s:10,.0f}{segment.products_per_s:10,.0f}"
          f"{segment.histories_per_s:13,.0f}{segment.p50_ms:8.2f}{segment.p99_ms:8.2f}"
          f"{segment.memory_mib:8.1f}", flush=True)  # fmt: skip
    return segment


def drifts(segments: Sequence[Segment]) -> list[str]:
    """Return what differs between the first third and the last by more than the bounds."""
    third = len(segments) // 3
    first, last = _medians(segments[:third]), _medians(segments[-third:])
    found = []
    for name in ("orders_per_s", "products_per_s", "histories_per_s"):
        before, after = getattr(first, name), getattr(last, name)
        if after < before * THROUGHPUT_LEFT_MIN:
            found.append(f"{name} fell from {before:,.0f} to {after:,.0f}")
    for name in ("p50_ms", "p99_ms"):
        before, after = getattr(first, name), getattr(last, name)
        if after > before * LATENCY_GROWTH_MAX:
            found.append(f"{name} grew from {before:.2f} to {after:.2f}")
    if last.memory_mib > first.memory_mib + MEMORY_GROWTH_MIB_MAX:
        found.append(f"memory grew from {first.memory_mib:.1f} to {last.memory_mib:.1f} MiB")
    return found


def _medians(segments: Sequence[Segment]) -> Segment:
    return Segment(*map(statistics.median, zip(*segments, strict=True)))


if __name__ == "__main__":
    main()
