"""What a load test tells: objectives, an open workload's latencies, its files, Locust's events."""

import csv
import json
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from sportshop.audit import audit, load
from tests.system.conftest import StartShop
from tests.system.lies import Lie
from tests.system.locust_run import (
    INCONCLUSIVE,
    LONG,
    NOTES,
    PASSED,
    SLO_MISSED,
    STOCK,
    VIOLATED,
    Figures,
    LoadTest,
    extra,
    needs_locust,
    processes,
    wait_for,
    wait_for_more_orders,
    wait_for_orders,
)
from tests.system.lying_shop import lying_shop
from tests.system.plain_shop import Shop

pytestmark = [needs_locust, pytest.mark.slow]

PLENTY = {"Football": 1_000_000, "Yoga Mat": 1_000_000}
LOST = "every acknowledged order is in its owner's list"
IMPOSSIBLE = ("--slo", "accepted>1000000/s")
OUTCOMES = ("accepted", "refused", "replayed", "failed", "unknown")
VISITOR = """
import json
from pathlib import Path

from _shop_user import ShopUser
from locust import events, task

told = Path(__file__).with_name("told.jsonl").open("w")


@events.request.add_listener
def on_request(request_type, name, start_time, response_time, response_length, exception, **_):
    row = [request_type, name, start_time, response_time, response_length, repr(exception)]
    print(json.dumps(row), file=told, flush=True)


class Visitor(ShopUser):
    @task
    def visit(self):
        for _ in range(20):
            self.shop.buy((("Football", 1), ("Yoga Mat", 2)))
        self.shop.buy_again((("Football", 1),))
        self.shop.buy((("Football", 1_000_000),))
        self.shop.products(sold_out=True)
        self.shop.orders(7)
        self.environment.runner.quit()
"""


# Objectives.


def test_objectives_that_are_kept_let_the_run_pass() -> None:
    kept = ("--slo", "errors<1%", "--slo", "NEW_ORDER_ITEM accepted p50<10s")
    with lying_shop(Lie.NONE, STOCK) as address, LoadTest(address, *LONG, *kept) as test:
        assert test.finish(address) == PASSED
    assert "kept      errors<1%: 0%" in test.printed


def test_a_failed_proof_outranks_a_missed_objective() -> None:
    options = (*LONG, *IMPOSSIBLE)
    with lying_shop(Lie.LOSE_ORDERS, STOCK) as address, LoadTest(address, *options) as test:
        assert test.finish(address) == VIOLATED
    assert "MISSED" in test.printed


def test_an_inconclusive_proof_outranks_a_missed_objective() -> None:
    options = (*LONG, *IMPOSSIBLE)
    with lying_shop(Lie.GAP, STOCK) as address, LoadTest(address, *options) as test:
        assert test.finish(address) == INCONCLUSIVE
    assert "MISSED" in test.printed


def test_workers_are_held_to_the_objectives_together() -> None:
    options = (*LONG, *processes(2), *IMPOSSIBLE)
    with lying_shop(Lie.NONE, STOCK) as address, LoadTest(address, *options) as test:
        assert test.finish(address) == SLO_MISSED


# The open workload.


def arrivals(figures: Figures) -> int:
    """Return how many people came, or should have."""
    told = figures.latencies("all", "intended_latencies_ms")["count"]
    return told + figures.all["missed_arrivals"]


@pytest.mark.parametrize("spread", [False, True], ids=["one process", "two workers"])
def test_arrivals_of_all_workers_together_come_at_the_rate(spread: bool, tmp_path: Path) -> None:
    figures = Figures(tmp_path)
    rate = ("--headless", "--run-time", "4s", "--rate", "200", "--workload", "browsing-day")
    options = (*rate, *(processes(2) if spread else ()), *figures.flags)
    with lying_shop(Lie.NONE, PLENTY) as address, LoadTest(address, *options) as test:
        assert test.exit_code() == PASSED
    assert arrivals(figures) == pytest.approx(200 * figures.all["run"]["seconds"], rel=0.1)
    assert figures.all["missed_arrivals"] < 20


def test_a_stalled_shop_cannot_hide_from_those_who_were_meant_to_come(
    start_shop: StartShop, tmp_path: Path
) -> None:
    """While it stands still few requests are sent, so among all that were sent few are slow."""
    shop, figures = start_shop(), Figures(tmp_path)
    address = f"{shop.host}:{shop.port}"
    options = ("--headless", "--run-time", "4s", "--rate", "500", *figures.flags)
    with LoadTest(address, *options) as test:
        wait_for_orders(address, 100)
        shop.signal(signal.SIGSTOP)
        time.sleep(1)
        shop.signal(signal.SIGCONT)
        assert test.exit_code() == PASSED
    measured = figures.latencies("all")
    intended = figures.latencies("all", "intended_latencies_ms")
    assert measured["p50"] < 200
    assert measured["p90"] < intended["p90"]
    assert intended["p99"] > 300
    assert intended["max"] >= 900


def test_arrivals_that_nobody_had_time_for_are_counted(
    start_shop: StartShop, tmp_path: Path
) -> None:
    shop, figures = start_shop(), Figures(tmp_path)
    address = f"{shop.host}:{shop.port}"
    options = ("--users", "1", "--rate", "200", *figures.flags)
    with LoadTest(address, *LONG, *options, locustfile=extra(tmp_path, NOTES)) as test:
        wait_for_orders(address, 20)
        shop.signal(signal.SIGSTOP)
        time.sleep(1)
        test.signal(signal.SIGINT)
        wait_for((tmp_path / "stopping").exists)
        shop.signal(signal.SIGCONT)
        assert test.exit_code() == PASSED
    assert figures.all["missed_arrivals"] > 100
    assert figures.latencies("unanswered", "intended_latencies_ms")["count"] == 1
    assert "arrivals were never begun" in test.printed


def test_a_closed_workload_has_no_intended_starts(tmp_path: Path) -> None:
    figures = Figures(tmp_path)
    options = (*LONG, *figures.flags)
    with lying_shop(Lie.NONE, PLENTY) as address, LoadTest(address, *options) as test:
        assert test.finish(address) == PASSED
    assert figures.all["intended_latencies_ms"] == []
    assert figures.all["missed_arrivals"] == 0


# Files.


def test_the_summary_tells_orders_apart_by_what_became_of_them(tmp_path: Path) -> None:
    figures = Figures(tmp_path)
    options = (*LONG, "--workload", "reconnect-storm", "--weight-buy", "60", *figures.flags)
    with lying_shop(Lie.NONE, STOCK) as address, LoadTest(address, *options) as test:
        assert test.finish(address) == PASSED
    counts = {outcome: figures.count(outcome) for outcome in OUTCOMES}
    assert counts["failed"] == 0
    assert all(count > 0 for name, count in counts.items() if name != "failed")
    assert figures.latencies("NEW_ORDER_ITEM")["count"] == sum(counts.values())
    assert figures.latencies("NEW_ORDER_ITEM accepted")["count"] == counts["accepted"]
    assert sum(figures.all["series"]["accepted"]) == counts["accepted"]


@pytest.mark.parametrize("lie", [Lie.NONE, Lie.LOSE_ORDERS], ids=["honest", "liar"])
def test_the_history_comes_to_the_same_verdicts_again(lie: Lie, tmp_path: Path) -> None:
    figures, path = Figures(tmp_path), tmp_path / "run.npz"
    options = (*LONG, "--history", str(path), *figures.flags)
    with lying_shop(lie, STOCK) as address, LoadTest(address, *options) as test:
        test.finish(address)
    again = [
        {
            "rule": verdict.rule,
            "outcome": str(verdict.outcome),
            "found": verdict.found,
            "evidence": list(verdict.evidence),
        }
        for verdict in audit(load(path))
    ]
    assert again == figures.all["proof"]["verdicts"]


@pytest.mark.parametrize("end", ["run time", "Ctrl-C", "SIGTERM"])
def test_violations_are_in_the_reports_of_locust(end: str, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    files = ("--csv", str(tmp_path / "run"), "--html", str(page))
    options = (*(("--headless", "--run-time", "4s") if end == "run time" else LONG), *files)
    with lying_shop(Lie.LOSE_ORDERS, STOCK) as address, LoadTest(address, *options) as test:
        if end != "run time":
            wait_for_orders(address, 200)
            test.signal(signal.SIGINT if end == "Ctrl-C" else signal.SIGTERM)
        assert test.exit_code() == VIOLATED
    for name in ("run_stats.csv", "run_failures.csv"):
        with (tmp_path / name).open(encoding="utf-8", newline="") as lines:
            rows = [row for row in csv.reader(lines) if row[:2] == ["AUDIT", LOST]]
        assert len(rows) == 1, name
    assert "AUDIT" in page.read_text(encoding="utf-8")
    assert "was acknowledged, and is not in" in page.read_text(encoding="utf-8")


def test_a_file_that_cannot_be_written_does_not_keep_the_verdict_back(tmp_path: Path) -> None:
    options = (*LONG, "--history", "/dev/full")
    with lying_shop(Lie.LOSE_ORDERS, STOCK) as address, LoadTest(address, *options) as test:
        assert test.finish(address) == VIOLATED
    assert "--history: /dev/full: No space left on device" in test.log


# Locust's events.


def test_events_have_fractions_of_milliseconds_and_true_byte_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user who ends the run by himself does not end its audit."""
    sent: Counter[tuple[str, int]] = Counter()
    answer = Shop.answer

    def count(shop, user, step):
        told = answer(shop, user, step)
        sent[type(step).__name__, len(told)] += 1
        return told

    monkeypatch.setattr(Shop, "answer", count)
    monkeypatch.setenv("PYTHONPATH", "loadtest")
    visitor = tmp_path / "visitor.py"
    visitor.write_text(VISITOR, encoding="utf-8")
    began = time.time()
    shop, alone = lying_shop(Lie.NONE, PLENTY), (*LONG, "--users", "1")
    with shop as address, LoadTest(address, *alone, locustfile=str(visitor)) as test:
        assert test.exit_code() == PASSED
    assert test.audits == ["PASS"]
    rows = [json.loads(line) for line in (tmp_path / "told.jsonl").read_text().splitlines()]
    kinds = Counter((kind, name) for kind, name, *_ in rows)
    assert kinds == {
        ("TCP", "connect"): 1,
        ("TCP", "AUTHENTICATION"): 1,
        ("accepted", "NEW_ORDER_ITEM"): 21,
        ("replayed", "NEW_ORDER_ITEM"): 1,
        ("refused", "NEW_ORDER_ITEM"): 1,
        ("TCP", "GET_PRODUCTS"): 1,
        ("TCP", "GET_ORDERS"): 1,
    }
    orders = Counter(length for _, name, _, _, length, _ in rows if name == "NEW_ORDER_ITEM")
    # What was sold under a key that was used again is asked for after the run, and is no load.
    orders.update(length for kind, _, _, _, length, _ in rows if kind == "replayed")
    assert orders == {length: n for (step, length), n in sent.items() if step == "Order"}
    lists = {name: length for _, name, _, _, length, _ in rows if name.startswith("GET_")}
    assert ("ProductsWanted", lists["GET_PRODUCTS"]) in sent
    assert ("OrdersWanted", lists["GET_ORDERS"]) in sent
    assert all(began < start < time.time() for _, _, start, *_ in rows)
    took = [ms for _, _, _, ms, _, _ in rows]
    assert all(0 < ms < 60_000 for ms in took)
    assert any(ms != round(ms) for ms in took)
    assert {failure for *_, failure in rows} == {"None"}


def test_failures_are_few_kinds_however_many_there_are(
    start_shop: StartShop, tmp_path: Path
) -> None:
    shop, prefix = start_shop(), tmp_path / "run"
    address = f"{shop.host}:{shop.port}"
    with LoadTest(address, *LONG, "--csv", str(prefix)) as test:
        wait_for_orders(address, 100)
        shop.kill()
        start_shop("sqlite", "--port", str(shop.port))
        wait_for_more_orders(address)
        test.signal(signal.SIGINT)
        test.exit_code()
    with Path(f"{prefix}_failures.csv").open(encoding="utf-8", newline="") as lines:
        errors = {row["Error"] for row in csv.DictReader(lines)}
    assert errors <= {"Failed('connection lost')", "Failed('cannot connect')"}
    assert errors
