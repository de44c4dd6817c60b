"""Locust's web UI as people see it: Chromium starts a run, watches it, stops it and reads on.

A real shop, or a lying one, a real Locust and a real browser; the network is this machine's own.
"""

import contextlib
import csv
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system import browser as chromium
from tests.system.browser import WAIT_MS, Visitor
from tests.system.conftest import ShopProcess, StartShop
from tests.system.lies import Lie
from tests.system.locust_run import (
    PASSED,
    REQUESTS_FAILED,
    VIOLATED,
    LoadTest,
    WebUi,
    needs_locust,
    processes,
    wait_for,
)
from tests.system.lying_shop import lying_shop

pytestmark = [needs_locust, pytest.mark.browser]

browser, visitor = chromium.browser, chromium.visitor  # fixtures
STOCK = 1_000_000  # of each product in `start_small`
ACCOUNTS = ("--shop-users", "u0:secret,u1:secret,u2:secret,u3:secret")
ALL = "all products"
LATER = "The proof is made when the run has ended."
Row = dict[str, str]


class Watcher:
    """Somebody at the web UI of a load test. `base`: the path that it is served under."""

    def __init__(self, visitor: Visitor, ui: WebUi, base: str = "") -> None:
        self.page = visitor.page
        port = ui.flags[-1]
        self.url = f"http://127.0.0.1:{port}{base}/"
        wait_for(lambda: listens(int(port)))
        self.page.goto(self.url)

    def start(self) -> None:
        self.page.get_by_role("button", name="Start").click()
        self.page.get_by_role("button", name="Stop").wait_for()

    def stop(self) -> None:
        """Stop the run, and wait for what the page then shows by itself."""
        self.page.get_by_role("button", name="Stop").click()
        self.wait_for_the_end()

    def wait_for_the_end(self) -> None:
        self.page.get_by_role("button", name="New").wait_for(timeout=2 * WAIT_MS)

    def open(self, tab: str) -> None:
        self.page.get_by_role("tab", name=tab).click()

    def rows(self) -> list[Row]:
        """Return the rows of the table that is shown, by the heads of its columns."""
        table = self.page.locator("table").evaluate(
            "table => [...table.rows].map(row => [...row.cells].map(cell => cell.innerText))"
        )
        return [dict(zip(table[0], cells, strict=True)) for cells in table[1:]]

    def row(self, product: str) -> Row:
        return next((row for row in self.rows() if row["Product"] == product), {})

    def count(self, product: str, column: str) -> int:
        return int(self.row(product).get(column, "0"))

    def wait_for_sales(self) -> None:
        """Wait until more is sold than now."""
        sold = self.count(ALL, "Sold")
        wait_for(lambda: self.count(ALL, "Sold") > sold)

    def download(self, path: Path) -> list[Row]:
        """Click the link to our CSV file, and return its rows."""
        self.open("Download Data")
        with self.page.expect_download() as coming:
            self.page.get_by_text("Download stock audit CSV").click()
        assert coming.value.suggested_filename == "stock-audit.csv"
        coming.value.save_as(path)
        with path.open(encoding="utf-8", newline="") as lines:
            return list(csv.DictReader(lines))


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


@pytest.fixture
def shop(start_small: StartShop) -> ShopProcess:
    return start_small()


@pytest.fixture
def football_shop() -> Iterator[str]:
    with lying_shop(Lie.OVERSELL, {"Football": 300, "Yoga Mat": 100_000}) as address:
        yield address


def test_a_run_is_started_watched_stopped_and_proved_on_the_page(
    visitor: Visitor, shop: ShopProcess, tmp_path: Path
) -> None:
    ui = WebUi()
    with LoadTest(f"{shop.host}:{shop.port}", *ACCOUNTS, *ui.flags) as load:
        watcher = Watcher(visitor, ui)
        watcher.page.get_by_text("Custom parameters").click()
        watcher.page.locator("[name=hotProduct]").fill("Ball")
        watcher.page.locator("[name=weightBuy]").fill("80")
        watcher.start()
        watcher.open("Stock audit")
        wait_for(lambda: watcher.count("Ball", "Sold") > 0)
        assert watcher.count("Ball", "At start") == STOCK
        sold, left = watcher.count("Ball", "Sold"), watcher.count("Ball", "Left")
        wait_for(lambda: watcher.count("Ball", "Sold") > sold)
        assert watcher.count("Ball", "Left") < left
        assert float(watcher.row("Ball")["Accepted/s"]) > 0
        visitor.take_picture(tmp_path / "live.png")

        watcher.stop()
        rows = watcher.rows()
        assert [row["Product"] for row in rows] == [ALL, "Ball", "Bat"]
        for row in rows:
            assert int(row["At start"]) - int(row["Sold"]) == int(row["Left"])
            assert row["Violations"] == "0"
        stock = shop.login("u0", "secret").stock()
        assert stock == {name: watcher.count(name, "Left") for name in ("Ball", "Bat")}

        watcher.open("Proof")
        verdicts = watcher.rows()
        assert len(verdicts) > 10
        assert {row["Verdict"] for row in verdicts} == {"pass"}
        visitor.take_picture(tmp_path / "proof.png")

        downloaded = watcher.download(tmp_path / "stock.csv")
        assert [float(row.pop("Accepted/s")) for row in downloaded] == [
            float(row.pop("Accepted/s")) for row in rows[1:]
        ]
        assert downloaded == rows[1:]
        load.interrupt()
        assert load.exit_code() == PASSED
    assert visitor.complaints == []
    assert all(url.startswith(watcher.url) for url in visitor.requests)


def test_the_form_shows_what_shoppers_do_and_no_password(
    visitor: Visitor, shop: ShopProcess
) -> None:
    ui = WebUi()
    with LoadTest(f"{shop.host}:{shop.port}", *ACCOUNTS, *ui.flags):
        watcher = Watcher(visitor, ui)
        watcher.page.get_by_text("Custom parameters").click()
        tasks = ["Buy", "Browse", "Orders", "Basket", "Retry", "Reuse", "Pipeline", "HangUp"]
        for name in ("workload", "rate", "hotProduct", *(f"weight{task}" for task in tasks)):
            assert watcher.page.locator(f"[name={name}]").is_visible(), name
        watcher.page.locator("[name=workload]").select_option("reconnect-storm")
        content = watcher.page.content().replace("is_secret", "")  # of Locust's form
    assert "secret" not in content
    assert "shop_users" not in content


def test_a_lie_shows_while_the_run_goes_on_and_as_a_failure_when_it_has_ended(
    visitor: Visitor, football_shop: str, tmp_path: Path
) -> None:
    ui = WebUi()
    with LoadTest(football_shop, *ui.flags) as load:
        watcher = Watcher(visitor, ui)
        watcher.start()
        watcher.open("Proof")
        wait_for(lambda: [row["Rule"] for row in watcher.rows()] == [LATER])
        watcher.open("Stock audit")
        wait_for(lambda: watcher.count("Football", "Violations") > 0)
        assert watcher.page.get_by_role("button", name="Stop").is_enabled()
        visitor.take_picture(tmp_path / "live.png")

        watcher.stop()
        football = watcher.row("Football")
        beyond = int(football["Sold"]) - int(football["At start"])
        assert int(football["Violations"]) == beyond > 0
        assert watcher.row(ALL)["Violations"] == football["Violations"]

        watcher.open("Proof")
        first = watcher.rows()[0]
        rule = "nothing is sold beyond the stock at the start"
        assert first["Verdict"] == "FAIL"
        assert rule in {row["Rule"] for row in watcher.rows() if row["Verdict"] == "FAIL"}
        visitor.take_picture(tmp_path / "proof.png")

        watcher.open("Failures")
        failures = [row for row in watcher.rows() if row["Method"] == "AUDIT"]
        assert rule in {row["Name"] for row in failures}
        visitor.take_picture(tmp_path / "failures.png")
        load.interrupt()
        assert load.exit_code() == VIOLATED


def test_the_next_run_begins_with_nothing_of_the_one_before(
    visitor: Visitor, shop: ShopProcess
) -> None:
    ui = WebUi()
    with LoadTest(f"{shop.host}:{shop.port}", *ACCOUNTS, *ui.flags) as load:
        watcher = Watcher(visitor, ui)
        watcher.start()
        watcher.open("Stock audit")
        watcher.wait_for_sales()
        watcher.stop()
        left = watcher.row(ALL)["Left"]

        watcher.page.get_by_role("button", name="New").click()
        watcher.start()
        wait_for(lambda: watcher.row(ALL)["At start"] == left)
        watcher.wait_for_sales()
        watcher.stop()
        for row in watcher.rows():
            assert int(row["At start"]) - int(row["Sold"]) == int(row["Left"])
            assert row["Violations"] == "0"
        load.interrupt()
        assert load.exit_code() == PASSED
    assert load.audits == ["PASS", "PASS"]


def test_orders_that_a_crash_left_unknown_are_counted_once(
    visitor: Visitor, start_small: StartShop
) -> None:
    """Whether their first answer came or the one to the retry, or the first and then no other."""
    ui = WebUi()
    shop = start_small()
    retries = ("--weight-retry", "1000")
    with LoadTest(f"{shop.host}:{shop.port}", *ACCOUNTS, *ui.flags, *retries) as load:
        watcher = Watcher(visitor, ui)
        watcher.start()
        watcher.open("Stock audit")
        for _ in range(3):
            watcher.wait_for_sales()
            shop.kill()
            shop = start_small("sqlite", "--port", str(shop.port))
        watcher.wait_for_sales()
        watcher.stop()
        for row in watcher.rows():
            assert int(row["At start"]) - int(row["Sold"]) == int(row["Left"])
        load.interrupt()
        assert load.exit_code() == REQUESTS_FAILED
    assert load.audits == ["PASS"]


def test_a_page_goes_on_asking_until_the_proof_is_made_however_long_that_takes(
    visitor: Visitor, start_small: StartShop
) -> None:
    """Here because the shop has to be up again before anybody can ask what it sold."""
    ui = WebUi()
    shop = start_small()
    with LoadTest(f"{shop.host}:{shop.port}", *ACCOUNTS, *ui.flags) as load:
        watcher = Watcher(visitor, ui)
        watcher.start()
        watcher.open("Stock audit")
        watcher.wait_for_sales()
        shop.kill()
        watcher.page.get_by_role("button", name="Stop").click()
        watcher.open("Proof")
        for _ in range(3):
            with watcher.page.expect_response("**/stats/requests"):
                pass
        assert watcher.page.get_by_role("button", name="Loading").is_visible()
        assert [row["Rule"] for row in watcher.rows()] == [LATER]
        start_small("sqlite", "--port", str(shop.port))
        watcher.wait_for_the_end()
        assert {row["Verdict"] for row in watcher.rows()} == {"pass"}
        load.interrupt()
        assert load.exit_code() == REQUESTS_FAILED


def test_a_master_shows_what_all_its_workers_sold(visitor: Visitor, shop: ShopProcess) -> None:
    ui = WebUi()
    address = f"{shop.host}:{shop.port}"
    with LoadTest(address, *ACCOUNTS, *ui.flags, *processes(2)) as load:
        watcher = Watcher(visitor, ui)
        wait_for(lambda: json.loads(ui.get("/worker-count"))["worker_count"] == 2)
        watcher.start()
        watcher.open("Stock audit")
        watcher.wait_for_sales()
        watcher.wait_for_sales()
        watcher.stop()
        stock = shop.login("u0", "secret").stock()
        for name, left in stock.items():
            assert watcher.count(name, "Left") == left
            assert watcher.count(name, "Sold") == STOCK - left > 0
            assert watcher.count(name, "Violations") == 0
        load.interrupt()
        assert load.exit_code() == PASSED


def test_under_a_base_path_the_tab_and_the_file_are_there_too(
    visitor: Visitor, shop: ShopProcess, tmp_path: Path
) -> None:
    ui = WebUi()
    base = ("--web-base-path", "/load")
    with LoadTest(f"{shop.host}:{shop.port}", *ACCOUNTS, *ui.flags, *base) as load:
        watcher = Watcher(visitor, ui, "/load")
        watcher.start()
        watcher.open("Stock audit")
        watcher.wait_for_sales()
        watcher.stop()
        shown = [row["Sold"] for row in watcher.rows()[1:]]
        assert [row["Sold"] for row in watcher.download(tmp_path / "stock.csv")] == shown
        load.interrupt()
        assert load.exit_code() == PASSED


LOGIN = """
from locust import events

@events.init.add_listener
def ask_for_a_login(environment, **_):
    environment.web_ui.app.secret_key = "of the session"
    environment.web_ui.login_manager.user_loader(lambda name: None)
"""


def test_with_a_login_the_file_is_for_those_who_are_logged_in(
    visitor: Visitor, shop: ShopProcess, tmp_path: Path
) -> None:
    login = tmp_path / "login.py"
    login.write_text(LOGIN, encoding="utf-8")
    ui = WebUi()
    address, files = f"{shop.host}:{shop.port}", f"loadtest/,{login}"
    with LoadTest(address, *ACCOUNTS, *ui.flags, "--web-login", locustfile=files):
        watcher = Watcher(visitor, ui)
        assert "/login" in watcher.page.url
        for path in ("stock-audit/csv", "stats/requests/csv"):
            answer = watcher.page.request.get(watcher.url + path, max_redirects=0)
            assert (answer.status, "Product" in answer.text()) == (302, False)
