"""Runs that go wrong by the load test's own fault, its user's, or a worker's: never the shop's.

Each is a real run of Locust; what can be seen without Locust is in tests/unit/test_loadtest_*.
"""

import json
import os
import signal
import socket
from pathlib import Path

import pytest

from tests.system.conftest import StartShop
from tests.system.lies import Lie
from tests.system.locust_run import (
    DEADLINE_S,
    INCONCLUSIVE,
    PASSED,
    REQUESTS_FAILED,
    SHORT,
    STOCK,
    Figures,
    LoadTest,
    WebUi,
    extra,
    free_port,
    master,
    needs_locust,
    wait_for,
    wait_for_more_orders,
    workers,
)
from tests.system.lying_shop import lying_shop

pytestmark = [needs_locust, pytest.mark.slow]

MISTAKEN = """
import sys

sys.path.append("loadtest")

from _shop_user import ShopUser
from locust import task


class Mistaken(ShopUser):
    @task(5)
    def good(self):
        self.shop.buy((("Football", 1),))

    @task
    def none_of_it(self):
        self.shop.buy((("Football", 0),))

    @task
    def too_many(self):
        self.shop.buy_again((("Football", 1),) * 101)

    @task
    def a_string(self):
        self.shop.buy_and_hang_up("Football")

    @task
    def no_list(self):
        self.shop.orders(0)
"""
MISTAKES = {
    "ValueError: items[0]: quantity: expected 1 to 1,000,000, got 0",
    "ValueError: items: expected 1 to 100, got 101",
    "TypeError: items: expected a tuple of pairs such as ((\"Ball\", 1),), got str 'Football'",
    "ValueError: limit: expected 1 to 1,000, got 0",
}
BROKEN = """
import sys

sys.path.append("loadtest")

import {module}


def broken(*_, **__):
    raise RuntimeError("a bug of ours")


{module}.{name} = broken
"""


@pytest.fixture
def address(start_shop: StartShop) -> str:
    """Where a real shop listens."""
    shop = start_shop()
    return f"{shop.host}:{shop.port}"


def test_the_workload_s_mistakes_are_told_and_convict_nobody(address: str, tmp_path: Path) -> None:
    locustfile = tmp_path / "mistaken.py"
    locustfile.write_text(MISTAKEN, encoding="utf-8")
    figures = Figures(tmp_path)
    with LoadTest(address, *SHORT, *figures.flags, locustfile=str(locustfile)) as test:
        assert test.exit_code() == REQUESTS_FAILED
    assert test.audits == ["PASS"]
    told = {error["error"] for error in figures.all["task_errors"]}
    assert told
    assert told <= MISTAKES
    assert figures.latencies("all")["failed"] == 0
    assert "Mistaken workload, 8 shoppers" in test.printed
    assert "in the workload: " in test.printed


def test_a_file_of_users_that_has_gone_calls_one_run_off_and_the_next_is_as_good(
    address: str, tmp_path: Path
) -> None:
    ui, file = WebUi(), tmp_path / "users.csv"
    users = "user,password\nuser1,senha\nuser2,senha\n"
    file.write_text(users, encoding="utf-8")
    start = {"user_count": "4", "spawn_rate": "8", "host": address}
    with LoadTest(address, *ui.flags, "--shop-users-file", str(file)) as test:
        ui.wait()
        for is_there in (True, False, True):
            if not is_there:
                file.unlink()
            ui.post("/swarm", **start)
            if is_there:
                wait_for_more_orders(address)
            else:
                wait_for(lambda: json.loads(ui.get("/stats/requests"))["state"] == "stopped")
                file.write_text(users, encoding="utf-8")
            ui.post("/stop")
        test.signal(signal.SIGINT)
        assert test.exit_code() == PASSED
    assert test.audits == ["PASS", "PASS"]
    assert test.log.count(f"--shop-users-file: {file}: cannot be read") == 1
    assert "Traceback" not in test.log


@pytest.mark.parametrize("is_stopped", [True, False], ids=["stop", "start another"])
def test_a_run_that_is_ended_while_it_waits_for_the_shop_holds_up_no_other(
    address: str, is_stopped: bool
) -> None:
    ui = WebUi()
    start = {"user_count": "4", "spawn_rate": "8"}
    silent = socket.create_server(("127.0.0.1", 0))
    with silent, LoadTest(address, *ui.flags) as test:
        silent.settimeout(DEADLINE_S)
        ui.wait()
        ui.post("/swarm", **start, host=f"127.0.0.1:{silent.getsockname()[1]}")
        waiting, _ = silent.accept()
        if is_stopped:
            ui.post("/stop")
        ui.post("/swarm", **start, host=address)
        wait_for_more_orders(address)
        waiting.close()
        ui.post("/stop")
        test.signal(signal.SIGINT)
        assert test.exit_code() == PASSED
    assert test.audits == ["PASS"]


def test_a_worker_that_was_killed_before_a_run_has_no_share_of_its_rate(
    address: str, tmp_path: Path
) -> None:
    ui, port, figures = WebUi(), free_port(), Figures(tmp_path)
    start = {"user_count": "20", "spawn_rate": "50", "host": address, "rate": "100"}
    with (
        LoadTest(address, *master(port, 2), *ui.flags, *figures.flags) as test,
        workers(port, 2) as others,
    ):
        ui.wait()
        wait_for(lambda: states(ui).count("ready") == 2)
        os.kill(others[0].pid, signal.SIGKILL)
        wait_for(lambda: states(ui).count("missing") == 1)
        ui.post("/swarm", **start)
        wait_for_more_orders(address)
        ui.post("/stop")
        test.signal(signal.SIGINT)
        assert test.exit_code() == PASSED
    assert test.audits == ["PASS"]
    run = figures.all["run"]
    assert run["workers"] == 1
    begun = figures.latencies("all", "intended_latencies_ms")["count"]
    assert begun + figures.all["missed_arrivals"] > 0.8 * 100 * (run["seconds"] - 1)


def states(ui: WebUi) -> list[str]:
    return [worker["state"] for worker in json.loads(ui.get("/stats/requests"))["workers"]]


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("_one_run", "hot_product"),
        ("_one_run", "settle"),
        ("_one_run", "figures"),
        ("_audit", "_orders_since"),
        ("_audit", "_everything"),
        ("_client", "told"),
        ("_conductor", "_about"),
    ],
)
def test_a_bug_of_ours_convicts_nobody_not_even_a_liar(
    module: str, name: str, tmp_path: Path
) -> None:
    locustfile = extra(tmp_path, BROKEN.format(module=module, name=name))
    shop = lying_shop(Lie.LOSE_ORDERS, STOCK)
    with shop as address, LoadTest(address, *SHORT, locustfile=locustfile) as test:
        assert test.exit_code() == INCONCLUSIVE
    assert test.audits == ["INCONCLUSIVE"]
    assert "a bug of ours" in test.log + test.printed


def test_without_a_host_it_says_where_it_buys_before_it_does(address: str, tmp_path: Path) -> None:
    default = f"""
import sys

sys.path.append("loadtest")

import _options

_options.HOST = "tcp://{address}"
"""
    with LoadTest("", *SHORT, locustfile=extra(tmp_path, default)) as test:
        assert test.exit_code() == PASSED
    told = f"loadtest: no --host was given: buying for real at {address} (sportshop "
    (line,) = [line for line in test.log.splitlines() if line.startswith("loadtest: ")]
    assert line.startswith(told)
    assert line.endswith("as user1 and 4 more")
