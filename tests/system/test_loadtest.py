"""The load test itself: it acquits a real shop, convicts a lying one, and its exit code tells.

Every test is a real Locust in a process of its own: Locust patches whatever imports it.
"""

import contextlib
import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sportshop.client import Client
from tests.system.lying_shop import Lie, lying_shop

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("locust") is None, reason="needs the extra `loadtest`"
)

ROOT = Path(__file__).parents[2]
SHORT = ("--headless", "--run-time", "2s")
LONG = ("--headless", "--run-time", "30s")  # something else ends it
DEADLINE_S = 60
PASSED, REQUESTS_FAILED, CANNOT_START, VIOLATED, INCONCLUSIVE = range(5)
STOCK = {"Football": 300, "Yoga Mat": 100_000, "Golf Ball": 100_000}


class Shop:
    """A real shop on a store of its own, which can crash and come back where it was."""

    def __init__(self, folder: Path) -> None:
        self._store = f"sqlite:{folder / 'shop.db'}"
        self.host, self.port = "127.0.0.1", 0
        self.start()

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "sportshop", "serve", "--log-level", "ERROR"]
        command += ["--store", self._store, "--port", str(self.port)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        self.port = int(line.rpartition(":")[2])

    def crash(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path)
    yield shop
    shop.crash()


class LoadTest:
    """Locust, running. Leaving the context ends it and everything that it started."""

    def __init__(self, host: str, *arguments: str) -> None:
        command = [sys.executable, "-m", "locust", "-f", "loadtest/"]
        command += ["--only-summary", "--users", "8", "--spawn-rate", "8", "--host", host]
        self._process = subprocess.Popen(
            [*command, *arguments],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self.printed = self.log = ""

    def __enter__(self) -> "LoadTest":
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.communicate()

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def exit_code(self) -> int:
        self.printed, self.log = self._process.communicate(timeout=DEADLINE_S)
        print(self.printed, self.log)  # pytest shows it when the test fails
        return self._process.returncode

    def orders(self, label: str) -> int:
        """Return how many orders the summary tells under a label."""
        found = re.search(rf"^{label} +([\d,]+) orders", self.printed, re.MULTILINE)
        return int(found[1].replace(",", "")) if found else 0


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {DEADLINE_S} s"
        time.sleep(0.05)


def wait_for_orders(address: str, count: int) -> None:
    """Wait until the ledger has grown to so many orders."""
    host, _, port = address.partition(":")
    with Client(host, int(port)) as customer:
        customer.authenticate("user1", "senha")
        wait_for(lambda: customer.products().as_of >= count)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("form", ["tcp://{}", "{}"])
def test_a_real_shop_passes(shop: Shop, form: str) -> None:
    with LoadTest(form.format(shop.address), *SHORT) as load:
        assert load.exit_code() == PASSED
    assert "audit     PASS" in load.printed
    assert load.orders("accepted") > 100


def test_selling_out_is_no_failure(shop: Shop) -> None:
    hot = ("--hot-product", "Limited Edition Match Ball")
    with LoadTest(shop.address, *SHORT, *hot) as load:
        assert load.exit_code() == PASSED
    assert load.orders("sold out") > 100
    assert ", 0 failed" in load.printed


def test_an_honest_shop_in_memory_passes() -> None:
    with lying_shop(Lie.NONE, STOCK) as address, LoadTest(address, *SHORT) as load:
        assert load.exit_code() == PASSED
    assert load.orders("accepted") > 300


@pytest.mark.parametrize(
    ("lie", "rule", "evidence"),
    [
        (
            Lie.OVERSELL,
            "nothing is sold beyond the stock at the start",
            r"order \d+ of user\d \(.*Football.*\) is \d+ beyond the 300 there were",
        ),
        (
            Lie.LOSE_ORDERS,
            "every acknowledged order is in its owner's list",
            r"order \d+ of (user\d) \(.+\) was acknowledged and is not in \1's list",
        ),
        (
            Lie.GIVE_POSITIONS_TWICE,
            "no ledger position is given to two orders",
            r"position (\d+) holds order \1 of user\d \(.+\) and order \1 of user\d \(.+\)",
        ),
        (
            Lie.KEEP_STOCK,
            "a replay in ledger order gives the stock that each order left",
            r"order \d+ of user\d \(.+\) left \d+ of .+: after order \d+ it is \d+",
        ),
    ],
    ids=[lie.name for lie in Lie if lie is not Lie.NONE],
)
def test_a_lying_shop_is_convicted_and_its_orders_are_named(
    lie: Lie, rule: str, evidence: str
) -> None:
    with lying_shop(lie, STOCK) as address, LoadTest(address, *SHORT) as load:
        assert load.exit_code() == VIOLATED
    assert f"FAIL: {rule}" in load.printed
    assert re.search(evidence, load.printed)


def test_ctrl_c_ends_the_run_with_its_audit(shop: Shop) -> None:
    with LoadTest(shop.address, *LONG) as load:
        wait_for_orders(shop.address, 100)
        load.interrupt()
        assert load.exit_code() == PASSED
    assert "audit     PASS" in load.printed


def test_ctrl_c_does_not_let_a_liar_go() -> None:
    with lying_shop(Lie.LOSE_ORDERS, STOCK) as address, LoadTest(address, *LONG) as load:
        wait_for_orders(address, 100)
        load.interrupt()
        assert load.exit_code() == VIOLATED


def test_another_customer_makes_the_audit_inconclusive(shop: Shop) -> None:
    ours = ("--shop-users", "user1:senha,user2:senha")
    with Client(shop.host, shop.port) as customer, LoadTest(shop.address, *SHORT, *ours) as load:
        customer.authenticate("user5", "senha")
        while load.runs:
            customer.order("Golf Ball")
            time.sleep(0.02)
        assert load.exit_code() == INCONCLUSIVE
    assert "others bought meanwhile" in load.printed
    assert "FAIL" not in load.printed


def test_a_shop_that_crashes_and_comes_back_keeps_its_promises(shop: Shop) -> None:
    """Requests fail and are reported as failed, but every order's outcome becomes known."""
    with LoadTest(shop.address, "--headless", "--run-time", "5s") as load:
        wait_for_orders(shop.address, 100)
        shop.crash()
        shop.start()
        assert load.exit_code() == REQUESTS_FAILED
    assert "audit     PASS" in load.printed
    assert "connection lost" in load.printed


def test_without_a_shop_nothing_passes() -> None:
    with LoadTest(f"127.0.0.1:{free_port()}", *SHORT) as load:
        assert load.exit_code() == INCONCLUSIVE


@pytest.mark.parametrize(
    ("host", "arguments", "told"),
    [
        ("http://127.0.0.1:3333", (), "expected tcp://HOST:PORT"),
        ("127.0.0.1:port", (), "--host"),
        ("127.0.0.1", ("--shop-users", ""), "--shop-users: expected one account or more"),
        ("127.0.0.1", ("--shop-users-file", "/nowhere.csv"), "/nowhere.csv"),
    ],
)
def test_an_option_that_makes_no_sense_is_told_at_once(
    host: str, arguments: tuple[str, ...], told: str
) -> None:
    with LoadTest(host, *SHORT, *arguments) as load:
        assert load.exit_code() == CANNOT_START
    assert told in load.log


def test_each_run_of_the_web_ui_has_an_audit(shop: Shop) -> None:
    ui = f"127.0.0.1:{free_port()}"
    web = ("--web-host", "127.0.0.1", "--web-port", ui.rpartition(":")[2])
    swarm = {"user_count": "8", "spawn_rate": "8", "host": shop.address}
    with LoadTest(shop.address, *web) as load:
        wait_for(lambda: answers(ui))
        for orders in (100, 2_000):
            assert b"started" in post(ui, "/swarm", swarm)
            wait_for_orders(shop.address, orders)
            assert b"stopped" in post(ui, "/stop", {})
        load.interrupt()
        assert load.exit_code() == PASSED
    assert load.printed.count("audit     PASS") == 2


def answers(address: str) -> bool:
    host, _, port = address.partition(":")
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=5):
        return True
    return False


def post(address: str, path: str, fields: dict[str, str]) -> bytes:
    data = urllib.parse.urlencode(fields).encode()
    with urllib.request.urlopen(f"http://{address}{path}", data, timeout=DEADLINE_S) as answer:
        return bytes(answer.read())


# Distributed.


def workers() -> tuple[str, ...]:
    """Return the options for two workers, whose master listens on a port that is free."""
    port = str(free_port())
    master = ("--master-bind-host", "127.0.0.1", "--master-bind-port", port)
    return ("--processes", "2", *master, "--master-port", port)


def test_workers_report_to_the_audit(shop: Shop) -> None:
    with LoadTest(shop.address, *SHORT, *workers()) as load:
        assert load.exit_code() == PASSED
    assert load.orders("accepted") > 100


def test_a_worker_that_does_not_report_leaves_the_audit_inconclusive(shop: Shop) -> None:
    with LoadTest(shop.address, *LONG, *workers()) as load:
        wait_for_orders(shop.address, 100)
        children = Path(f"/proc/{load.pid}/task/{load.pid}/children").read_text(encoding="ascii")
        os.kill(int(children.split()[0]), signal.SIGKILL)
        load.interrupt()
        assert load.exit_code() == INCONCLUSIVE
    assert "did not report" in load.printed


# `make loadtest`.


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
