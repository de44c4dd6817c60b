"""The load test with several workers: one audit, over what all of them saw, and it tells in time.

Workers are processes of their own that know of the master only its port, as on other machines, or
those that `--processes` starts.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.system.conftest import StartShop
from tests.system.lies import Lie
from tests.system.locust_run import (
    IMPATIENT,
    INCONCLUSIVE,
    LONG,
    PASSED,
    REQUESTS_FAILED,
    STOCK,
    VIOLATED,
    Figures,
    LoadTest,
    WebUi,
    extra,
    free_port,
    master,
    needs_locust,
    processes,
    wait_for,
    wait_for_more_orders,
    wait_for_orders,
    workers,
)
from tests.system.lying_shop import lying_shop

pytestmark = [needs_locust, pytest.mark.slow]

BUYERS = ("--weight-browse=0", "--weight-orders=0", "--weight-hang-up=0")
PLENTY = {"Football": 100_000, "Yoga Mat": 100_000}
SMALL_PIECES = """
import sys

sys.path.append("loadtest")

import _workers

_workers.PIECE_BYTES = 5_000
"""
FEW_WORKERS = """
import sys

sys.path.append("loadtest")

import _keys

_keys.WORKERS_MAX = 1
"""


@pytest.fixture
def address(start_shop: StartShop) -> str:
    """Where a real shop listens."""
    shop = start_shop()
    return f"{shop.host}:{shop.port}"


@contextmanager
def spread(host: str, *arguments: str, **options: str) -> Iterator[tuple[LoadTest, list[LoadTest]]]:
    """Start a master and two workers, each by itself."""
    port = free_port()
    leader = LoadTest(host, *master(port, 2), *arguments, **options)
    with leader as test, workers(port, 2) as others:
        yield test, others


def test_processes_of_one_machine_pass_with_one_audit(address: str, tmp_path: Path) -> None:
    figures = Figures(tmp_path)
    with LoadTest(address, *LONG, *processes(2), *figures.flags) as test:
        assert test.finish(address) == PASSED
    assert test.audits == ["PASS"]
    assert figures.all["run"]["workers"] == 2
    assert figures.count("accepted") > 100


def test_a_master_and_workers_started_by_themselves_pass_with_one_audit(
    address: str, tmp_path: Path
) -> None:
    figures = Figures(tmp_path)
    with spread(address, *LONG, *figures.flags) as (test, others):
        assert test.finish(address) == PASSED
        assert [worker.exit_code() for worker in others] == [PASSED, PASSED]
    assert test.audits == ["PASS"]
    assert [worker.audits for worker in others] == [[], []]
    assert figures.all["run"]["workers"] == 2
    assert figures.latencies("AUTHENTICATION")["count"] >= 8  # all users' statistics have come


def test_the_workers_orders_are_all_in_the_audit(tmp_path: Path) -> None:
    """With --alone a position that no worker told of would be a fault."""
    options = (*LONG, "--alone", *processes(2))
    with lying_shop(Lie.NONE, PLENTY) as address, LoadTest(address, *options) as test:
        assert test.finish(address) == PASSED
    assert test.audits == ["PASS"]


def test_what_one_worker_saw_binds_what_another_is_told(tmp_path: Path) -> None:
    figures = Figures(tmp_path)
    options = (*LONG, "--weight-orders=0", *figures.flags)
    with lying_shop(Lie.OLD_READ, PLENTY) as address, spread(address, *options) as (test, _):
        assert test.finish(address) == VIOLATED
    rule = "what was seen before a request was sent comes before it in the ledger"
    assert rule in figures.evidence()


def test_a_report_comes_in_pieces_that_leave_room_for_heartbeats(
    address: str, tmp_path: Path
) -> None:
    locustfile = extra(tmp_path, SMALL_PIECES)
    options = (*LONG, "--alone", *processes(2))
    with LoadTest(address, *options, locustfile=locustfile) as test:
        assert test.finish(address) == PASSED
    assert test.audits == ["PASS"]


def test_workers_may_share_an_account(address: str) -> None:
    options = (*LONG, "--shop-users", "user1:senha", *processes(2))
    with LoadTest(address, *options) as test:
        assert test.finish(address) == PASSED
    assert test.audits == ["PASS"]


def test_a_worker_too_many_buys_nothing_and_is_told_so(address: str, tmp_path: Path) -> None:
    """There are as many as there are numbers for them in an order key."""
    locustfile = extra(tmp_path, FEW_WORKERS)
    with LoadTest(address, *LONG, *processes(2), locustfile=locustfile) as test:
        assert test.finish(address) == REQUESTS_FAILED
    assert test.audits == ["PASS"]
    assert "more than 1 workers" in test.log


# How a run ends.


@pytest.mark.parametrize(
    ("lie", "code", "outcome"),
    [(Lie.NONE, PASSED, "PASS"), (Lie.LOSE_ORDERS, VIOLATED, "FAIL")],
    ids=["honest", "liar"],
)
def test_ctrl_c_reaches_all_processes_and_the_run_is_audited(
    lie: Lie, code: int, outcome: str
) -> None:
    with lying_shop(lie, PLENTY) as address, LoadTest(address, *LONG, *processes(2)) as test:
        wait_for_orders(address, 200)
        test.interrupt()
        assert test.exit_code() == code
    assert test.audits == [outcome]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda one: one.name)
def test_a_signal_to_the_master_alone_ends_the_run_with_its_audit(
    address: str, number: signal.Signals
) -> None:
    with spread(address, *LONG) as (test, others):
        wait_for_orders(address, 100)
        test.signal(number)
        assert test.exit_code() == PASSED
        assert [worker.exit_code() for worker in others] == [PASSED, PASSED]
    assert test.audits == ["PASS"]


def test_a_worker_that_is_told_to_leave_reports_before_it_does(address: str) -> None:
    with spread(address, *LONG) as (test, others):
        wait_for_orders(address, 100)
        others[0].signal(signal.SIGTERM)
        assert others[0].exit_code() == PASSED
        test.signal(signal.SIGINT)
        assert test.exit_code() == PASSED
    assert test.audits == ["PASS"]


@pytest.mark.parametrize(
    ("lie", "code", "outcome"),
    [(Lie.NONE, INCONCLUSIVE, "INCONCLUSIVE"), (Lie.KEEP_STOCK, VIOLATED, "FAIL")],
    ids=["honest", "liar"],
)
def test_a_worker_killed_in_mid_run_takes_the_acquittal_with_it_but_not_the_conviction(
    lie: Lie, code: int, outcome: str
) -> None:
    with lying_shop(lie, PLENTY) as address, LoadTest(address, *LONG, *processes(2)) as test:
        wait_for_orders(address, 5_000)
        os.kill(test.children()[0], signal.SIGKILL)
        test.signal(signal.SIGINT)
        assert test.exit_code() == code
    assert test.audits == [outcome]
    assert "did not report" in test.printed


def test_all_workers_killed_leave_the_audit_inconclusive(address: str) -> None:
    with LoadTest(address, *LONG, *processes(2)) as test:
        wait_for_orders(address, 100)
        for pid in test.children():
            os.kill(pid, signal.SIGKILL)
        test.signal(signal.SIGINT)
        assert test.exit_code() == INCONCLUSIVE
    assert test.audits == ["INCONCLUSIVE"]


def test_a_master_without_a_shop_ends_inconclusive_and_its_workers_go_home(tmp_path: Path) -> None:
    nobody, impatient = f"127.0.0.1:{free_port()}", extra(tmp_path, IMPATIENT)
    with spread(nobody, *LONG, locustfile=impatient) as (test, others):
        assert test.exit_code() == INCONCLUSIVE
        assert [worker.exit_code() for worker in others] == [PASSED, PASSED]
    assert test.audits == ["INCONCLUSIVE"]


def test_each_run_of_the_master_s_web_ui_has_an_audit(address: str) -> None:
    ui = WebUi()
    with spread(address, *ui.flags) as (test, _):
        ui.wait()
        wait_for(lambda: b'"worker_count":2' in ui.get("/stats/requests").replace(b" ", b""))
        for _ in range(2):
            ui.post("/swarm", user_count="8", spawn_rate="8", host=address)
            wait_for_more_orders(address)
            ui.post("/stop")
        test.signal(signal.SIGINT)
        assert test.exit_code() == PASSED
    assert test.audits == ["PASS", "PASS"]


def test_autostart_with_workers_ends_with_its_audit() -> None:
    autostart = ("--autostart", "--autoquit", "0", "--run-time", "2s")
    options = (*autostart, *WebUi().flags, *processes(2))
    with lying_shop(Lie.LOSE_ORDERS, STOCK) as address, LoadTest(address, *options) as test:
        assert test.exit_code() == VIOLATED
    assert test.audits == ["FAIL"]
