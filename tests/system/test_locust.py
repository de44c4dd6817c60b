"""Runs of a real Locust, one of each kind: seven of the eight that `make test` has.

The eighth is README's workload, in test_readme.py. How else a run can begin, end and go wrong is in
test_loadtest*.py, which `make check` runs; whatever needs no Locust is in test_lies.py. A run ends
when enough has happened, or by the clock where nothing depends on how much has.
"""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sportshop.audit import audit, load
from tests.system.conftest import StartShop
from tests.system.lies import Lie
from tests.system.locust_run import (
    DEADLINE_S,
    LONG,
    PASSED,
    REQUESTS_FAILED,
    ROOT,
    SHORT,
    SLO_MISSED,
    STOCK,
    VIOLATED,
    Figures,
    LoadTest,
    WebUi,
    extra,
    needs_locust,
    processes,
    wait_for_more_orders,
    wait_for_orders,
)
from tests.system.lying_shop import lying_shop

pytestmark = needs_locust

PLENTY = {"Football": 100_000, "Yoga Mat": 100_000}
BUYERS = ("--weight-browse=0", "--weight-orders=0", "--weight-hang-up=0")
INTERRUPTED = """
import os, signal
from sportshop.audit import Recorder

add = Recorder._add

def add_and_be_interrupted(self, *arguments):
    added = add(self, *arguments)
    if len(self) == 1_000:
        os.kill(os.getpid(), signal.SIGINT)
    return added

Recorder._add = add_and_be_interrupted
"""
"""Ctrl-C in the middle of an operation: its items are not yet written."""


@pytest.fixture
def address(start_shop: StartShop) -> str:
    """Where a real shop listens."""
    shop = start_shop()
    return f"{shop.host}:{shop.port}"


def test_a_real_shop_passes_and_the_history_comes_to_the_same_verdicts(
    address: str, tmp_path: Path
) -> None:
    figures, path = Figures(tmp_path), tmp_path / "run.npz"
    options = (*LONG, "--history", str(path), *figures.flags)
    with LoadTest(f"tcp://{address}", *options) as test:
        wait_for_orders(address, 200)
        test.signal(signal.SIGTERM)
        assert test.exit_code() == PASSED
    assert test.audits == ["PASS"]
    assert figures.count("accepted") >= 200
    verdicts = [(one.rule, str(one.outcome)) for one in audit(load(path))]
    told = figures.all["proof"]["verdicts"]
    assert verdicts == [(one["rule"], one["outcome"]) for one in told]


def test_a_position_given_twice_is_seen_where_each_worker_saw_it_once(tmp_path: Path) -> None:
    figures = Figures(tmp_path)
    options = (*LONG, *BUYERS, *processes(2), *figures.flags)
    shop = lying_shop(Lie.GIVE_POSITIONS_TWICE, PLENTY)
    with shop as address, LoadTest(address, *options) as test:
        wait_for_orders(address, 1_000)
        test.interrupt()
        assert test.exit_code() == VIOLATED
    assert test.audits == ["FAIL"]
    assert "no ledger position is given to two orders" in figures.evidence()


def test_the_exit_code_tells_the_worst_of_several_runs() -> None:
    ui = WebUi()
    with (
        lying_shop(Lie.LOSE_ORDERS, STOCK) as liar,
        lying_shop(Lie.NONE, STOCK) as honest,
        LoadTest(honest, *ui.flags) as test,
    ):
        ui.wait()
        for address in (liar, honest):
            ui.post("/swarm", user_count="8", spawn_rate="8", host=address)
            wait_for_orders(address, 200)
            ui.post("/stop")
        test.interrupt()
        assert test.exit_code() == VIOLATED
    assert test.audits == ["FAIL", "PASS"]


def test_ctrl_c_tears_no_operation_apart(address: str, tmp_path: Path) -> None:
    with LoadTest(address, *LONG, locustfile=extra(tmp_path, INTERRUPTED)) as test:
        assert test.exit_code() == PASSED
    assert test.audits == ["PASS"]


def test_an_open_workload_that_misses_an_objective_fails(tmp_path: Path) -> None:
    figures = Figures(tmp_path)
    objectives = ("--slo", "errors<1%", "--slo", "accepted>1000000/s")
    options = (*SHORT, "--rate", "200", *objectives, *figures.flags)
    with lying_shop(Lie.NONE, STOCK) as address, LoadTest(address, *options) as test:
        assert test.exit_code() == SLO_MISSED
    assert "MISSED    accepted>1000000/s: " in test.printed
    assert test.audits == ["PASS"]
    assert [one["kept"] for one in figures.all["slos"]] == [True, False]
    assert figures.all["exit_code"] == SLO_MISSED
    begun = figures.latencies("all", "intended_latencies_ms")["count"]
    due = 200 * figures.all["run"]["seconds"]
    assert begun + figures.all["missed_arrivals"] == pytest.approx(due, rel=0.2)


def test_a_shop_that_crashes_and_comes_back_keeps_its_promises(
    start_shop: StartShop, tmp_path: Path
) -> None:
    """Requests fail and are reported as failed, but every order's outcome becomes known."""
    shop, figures = start_shop(), Figures(tmp_path)
    address = f"{shop.host}:{shop.port}"
    with LoadTest(address, *LONG, *figures.flags) as test:
        wait_for_orders(address, 100)
        shop.kill()
        start_shop("sqlite", "--port", str(shop.port))
        wait_for_more_orders(address)
        test.interrupt()
        assert test.exit_code() == REQUESTS_FAILED
    assert test.audits == ["PASS"]
    assert figures.count("unknown") > 0
    assert "connection lost" in test.log


def test_the_whole_run_prints_a_verdict_and_leaves_nothing_behind(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "loadtest/_run.py", "--users", "8", "--run-time", "2s"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert (run.returncode, run.stderr) == (PASSED, "")
    assert "audit     PASS" in run.stdout
    assert len(run.stdout.splitlines()) < 24
    assert list(tmp_path.iterdir()) == []
    address = run.stdout.split(",")[0].rpartition(":")[2]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(address)), timeout=5)
