"""The load test in one process: however a run ends, it is audited once and the exit code tells.

Every test is a real Locust in a process of its own: Locust patches whatever imports it.
"""

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sportshop.client import Client
from tests.system.conftest import ShopProcess, StartShop
from tests.system.lies import Lie
from tests.system.locust_run import (
    IMPATIENT,
    INCONCLUSIVE,
    LONG,
    NOTES,
    PASSED,
    REQUESTS_FAILED,
    SHORT,
    STOCK,
    VIOLATED,
    WRONG_USAGE,
    Figures,
    LoadTest,
    WebUi,
    extra,
    free_port,
    needs_locust,
    wait_for,
    wait_for_more_orders,
    wait_for_orders,
)
from tests.system.lying_shop import lying_shop

pytestmark = [needs_locust, pytest.mark.slow]

GONE = "Limited Edition Match Ball"  # of which the demo shop has few
BROKEN_AUDIT = """
import sportshop.audit

def audit(history):
    raise ValueError("a bug of ours")

sportshop.audit.audit = audit
"""


def address_of(shop: ShopProcess) -> str:
    return f"{shop.host}:{shop.port}"


@pytest.fixture
def address(start_shop: StartShop) -> str:
    """Where a real shop listens."""
    return address_of(start_shop())


# Who passes.


def test_selling_out_is_no_failure(address: str, tmp_path: Path) -> None:
    figures = Figures(tmp_path)
    options = (*LONG, "--hot-product", GONE, *figures.flags)
    with LoadTest(address, *options) as test:
        assert test.finish(address) == PASSED
    assert figures.count("refused") > 100
    assert figures.latencies("all")["failed"] == 0


# How a run ends.


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda one: one.name)
def test_a_signal_ends_the_run_with_its_audit(address: str, number: signal.Signals) -> None:
    with LoadTest(address, *LONG) as test:
        wait_for_orders(address, 100)
        test.signal(number)
        assert test.exit_code() == PASSED
    assert test.audits == ["PASS"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda one: one.name)
def test_a_signal_does_not_let_a_liar_go(number: signal.Signals) -> None:
    with lying_shop(Lie.LOSE_ORDERS, STOCK) as address, LoadTest(address, *LONG) as test:
        wait_for_orders(address, 200)
        test.signal(number)
        assert test.exit_code() == VIOLATED
    assert test.audits == ["FAIL"]


def test_an_audit_that_breaks_acquits_nobody(address: str, tmp_path: Path) -> None:
    with LoadTest(address, *SHORT, locustfile=extra(tmp_path, BROKEN_AUDIT)) as test:
        assert test.exit_code() == INCONCLUSIVE
    assert "a bug of ours" in test.log


@pytest.mark.parametrize(
    ("lie", "code", "outcome"),
    [(Lie.NONE, PASSED, "PASS"), (Lie.LOSE_ORDERS, VIOLATED, "FAIL")],
    ids=["honest", "liar"],
)
def test_autostart_with_a_run_time_ends_with_its_audit(lie: Lie, code: int, outcome: str) -> None:
    options = ("--autostart", "--autoquit", "0", "--run-time", "2s", *WebUi().flags)
    with lying_shop(lie, STOCK) as address, LoadTest(address, *options) as test:
        assert test.exit_code() == code
    assert test.audits == [outcome]


def test_each_run_of_the_web_ui_has_an_audit(address: str) -> None:
    ui = WebUi()
    with LoadTest(address, *ui.flags) as test:
        ui.wait()
        for _ in range(2):
            assert b"started" in ui.post("/swarm", user_count="8", spawn_rate="8", host=address)
            wait_for_more_orders(address)
            assert b"stopped" in ui.post("/stop")
        test.interrupt()
        assert test.exit_code() == PASSED
    assert test.audits == ["PASS", "PASS"]


def test_a_run_that_is_started_during_an_audit_waits_for_it(start_shop: StartShop) -> None:
    shop, ui = start_shop(), WebUi()
    address = address_of(shop)
    start = {"user_count": "8", "spawn_rate": "8", "host": address}
    with LoadTest(address, *ui.flags) as test:
        ui.wait()
        ui.post("/swarm", **start)
        wait_for(lambda: ui.users() == 8)  # Locust tells what it told less than two seconds ago
        wait_for_orders(address, 100)
        shop.signal(signal.SIGSTOP)  # so that orders in flight keep the audit waiting
        stop = threading.Thread(target=ui.post, args=("/stop",))
        stop.start()
        wait_for(lambda: ui.users() == 0)
        ui.post("/swarm", **start)
        shop.signal(signal.SIGCONT)
        stop.join()
        wait_for_more_orders(address)
        test.interrupt()
        assert test.exit_code() == PASSED
    assert test.audits == ["PASS", "PASS"]


def test_ctrl_c_during_a_run_of_the_web_ui_ends_it_with_its_audit(address: str) -> None:
    ui = WebUi()
    with LoadTest(address, *ui.flags) as test:
        ui.wait()
        ui.post("/swarm", user_count="8", spawn_rate="8", host=address)
        wait_for_orders(address, 100)
        test.interrupt()
        assert test.exit_code() == PASSED
    assert test.audits == ["PASS"]


def test_a_second_ctrl_c_does_not_cut_the_audit_short(
    start_shop: StartShop, tmp_path: Path
) -> None:
    shop = start_shop()
    with LoadTest(address_of(shop), *LONG, locustfile=extra(tmp_path, NOTES)) as test:
        wait_for_orders(address_of(shop), 100)
        shop.signal(signal.SIGSTOP)  # so that orders in flight keep the audit waiting
        test.signal(signal.SIGINT)
        wait_for((tmp_path / "stopping").exists)
        test.signal(signal.SIGINT)
        wait_for((tmp_path / "warned").exists)
        shop.signal(signal.SIGCONT)
        assert test.exit_code() == PASSED
    assert test.audits == ["PASS"]
    assert "Ctrl-C once more ends without a verdict" in test.log


def test_a_form_posted_to_the_web_ui_cannot_name_files_and_is_told_what_is_wrong(
    address: str, tmp_path: Path
) -> None:
    ui, planted = WebUi(), tmp_path / "planted"
    wrong = {"rate": "fast", "workload": "none", "weight_buy": "-3"}
    start = {"user_count": "8", "spawn_rate": "8", "host": address}
    start |= {"rate": "", "workload": "mixed", "weight_buy": ""}
    with LoadTest(address, *ui.flags) as test:
        ui.wait()
        for name, value in wrong.items():
            ui.post("/swarm", **start | {name: value})
            ui.post("/stop")
        ui.post("/swarm", **start, history=str(planted))
        wait_for_orders(address, 100)
        ui.post("/stop")
        test.interrupt()
        assert test.exit_code() == PASSED
    assert test.audits == ["PASS"]
    assert "Traceback" not in test.log
    assert not planted.exists()
    assert all(f"--{name.replace('_', '-')}: expected" in test.log for name in wrong)


# Shops in trouble.


def test_a_shop_that_stays_away_leaves_the_audit_inconclusive(
    start_shop: StartShop, tmp_path: Path
) -> None:
    shop = start_shop()
    with LoadTest(address_of(shop), *LONG, locustfile=extra(tmp_path, IMPATIENT)) as test:
        wait_for_orders(address_of(shop), 100)
        shop.kill()
        test.signal(signal.SIGTERM)
        assert test.exit_code() == INCONCLUSIVE
    assert test.audits == ["INCONCLUSIVE"]
    assert "the shop no longer answers" in test.printed


def test_without_a_shop_nothing_passes(tmp_path: Path) -> None:
    with LoadTest(f"127.0.0.1:{free_port()}", *LONG, locustfile=extra(tmp_path, IMPATIENT)) as test:
        assert test.exit_code() == INCONCLUSIVE
    assert test.audits == ["INCONCLUSIVE"]


def test_a_shop_that_takes_connections_and_is_silent_leaves_the_audit_inconclusive(
    tmp_path: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with LoadTest(address, *LONG, locustfile=extra(tmp_path, IMPATIENT)) as test:
            assert test.exit_code() == INCONCLUSIVE
    assert test.audits == ["INCONCLUSIVE"]


def test_a_shop_that_falls_silent_in_mid_run_leaves_the_audit_inconclusive(
    start_shop: StartShop, tmp_path: Path
) -> None:
    shop = start_shop()
    with LoadTest(address_of(shop), *LONG, locustfile=extra(tmp_path, IMPATIENT)) as test:
        wait_for_orders(address_of(shop), 100)
        shop.signal(signal.SIGSTOP)
        test.signal(signal.SIGTERM)
        try:
            assert test.exit_code() == INCONCLUSIVE
        finally:
            shop.signal(signal.SIGCONT)
    assert test.audits == ["INCONCLUSIVE"]


# Others in the shop.


@contextmanager
def another_customer(shop: ShopProcess) -> Iterator[None]:
    """Let somebody buy a Golf Ball now and then."""
    leave = threading.Event()

    def buy() -> None:
        with Client(shop.host, shop.port) as customer:
            customer.authenticate("user5", "senha")
            while not leave.wait(0.02):
                customer.order("Golf Ball")

    thread = threading.Thread(target=buy)
    thread.start()
    yield
    leave.set()
    thread.join()


OURS = ("--shop-users", "user1:senha,user2:senha")


def test_another_customer_makes_the_audit_inconclusive(
    start_shop: StartShop, tmp_path: Path
) -> None:
    shop, figures = start_shop(), Figures(tmp_path)
    options = (*LONG, *OURS, *figures.flags)
    with another_customer(shop), LoadTest(address_of(shop), *options) as test:
        assert test.finish(address_of(shop), 1_000) == INCONCLUSIVE
    assert test.audits == ["INCONCLUSIVE"]
    assert figures.evidence("fail") == {}


def test_another_customer_where_nobody_may_be_is_a_fault(start_shop: StartShop) -> None:
    shop = start_shop()
    with another_customer(shop), LoadTest(address_of(shop), *LONG, *OURS, "--alone") as test:
        assert test.finish(address_of(shop), 1_000) == VIOLATED
    assert "FAIL: every position taken during the run is in a list" in test.printed


def test_what_was_sold_before_the_run_is_not_its_business(start_shop: StartShop) -> None:
    shop = start_shop()
    with Client(shop.host, shop.port) as customer:
        customer.authenticate("user1", "senha")
        for _ in range(5):
            customer.order("Golf Ball")
    with LoadTest(address_of(shop), *LONG, "--alone") as test:
        assert test.finish(address_of(shop)) == PASSED


# Options.


@pytest.mark.parametrize(
    ("host", "arguments", "told"),
    [
        ("http://127.0.0.1:3333", (), "expected tcp://HOST:PORT"),
        ("127.0.0.1:port", (), "--host"),
        ("127.0.0.1", ("--shop-users", ""), "--shop-users: expected user:password"),
        ("127.0.0.1", ("--shop-users-file", "/nowhere.csv"), "/nowhere.csv"),
        ("127.0.0.1", ("--rate", "fast"), "--rate: expected arrivals per second"),
        ("127.0.0.1", ("--weight-buy", "-1"), "--weight-buy: expected a number from 0"),
        ("127.0.0.1", ("--slo", "p99<fast"), "--slo: cannot read 'p99<fast'"),
        ("127.0.0.1", ("--summary", "/nowhere/at.json"), "--summary: /nowhere/at.json"),
        ("127.0.0.1", ("--history", "/"), "--history: /"),
    ],
)
def test_an_option_that_makes_no_sense_is_told_at_once(
    host: str, arguments: tuple[str, ...], told: str
) -> None:
    with LoadTest(host, *SHORT, *arguments) as test:
        assert test.exit_code() == WRONG_USAGE
    ours = [line for line in test.log.splitlines() if line.startswith("loadtest: ")]
    assert len(ours) == 1
    assert told in ours[0]
    assert "Traceback" not in test.log


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--shop-users", "nobody:nothing"), "--shop-users: the shop refuses nobody: INVALID_CR"),
        (("--hot-product", "Footbal"), "--hot-product: the shop has no 'Footbal'; did you mean"),
    ],
)
def test_what_the_shop_does_not_know_ends_the_run_before_it_begins(
    address: str, arguments: tuple[str, ...], told: str
) -> None:
    with LoadTest(address, *SHORT, *arguments) as test:
        assert test.exit_code() == WRONG_USAGE
    (ours,) = [line for line in test.log.splitlines() if line.startswith("loadtest: ")]
    assert told in ours
    assert test.audits == []
    assert "Traceback" not in test.log


def test_one_account_that_the_shop_does_not_know_is_told_once_and_the_others_shop(
    address: str,
) -> None:
    with LoadTest(address, *LONG, "--shop-users", "user1:senha,nobody:nothing") as test:
        assert test.finish(address) == REQUESTS_FAILED
    assert test.log.count("the shop refuses nobody") == 1
    assert test.audits == ["PASS"]
    assert "Traceback" not in test.log


def test_pauses_of_ones_own_do_not_go_with_a_rate(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "loadtest")
    users = tmp_path / "users.py"
    users.write_text(
        "from locust import between, task\n"
        "from _shop_user import ShopUser\n"
        "class Patient(ShopUser):\n"
        "    wait_time = between(1, 2)\n"
        "    @task\n"
        "    def look(self): self.shop.products()\n",
        encoding="utf-8",
    )
    with LoadTest(address, *SHORT, "--rate", "10", locustfile=str(users)) as test:
        assert test.exit_code() == WRONG_USAGE
    assert "--rate: Patient has a wait_time of its own" in test.log
