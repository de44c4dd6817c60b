"""The page that `--report` writes, in a real browser without a network."""

from pathlib import Path

import pytest

from tests.system import browser as chromium
from tests.system.browser import Visitor
from tests.system.lies import Lie
from tests.system.locust_run import SHORT, VIOLATED, LoadTest, needs_locust
from tests.system.lying_shop import lying_shop
from tests.unit.test_page import ATTACK, flash_sale, found, nothing_asked, page, series, stock

browser, visitor = chromium.browser, chromium.visitor  # fixtures
pytestmark = pytest.mark.browser
TWO_HOURS = 7_200

SUMMARIES = {
    "flash sale": flash_sale(),
    "failed": flash_sale(proof=found("fail", ["order 7 is gone"], 3), exit_code=3),
    "inconclusive": flash_sale(proof=found("inconclusive", ["a worker did not report"], 1)),
    "nothing asked": nothing_asked(),
    "called off": flash_sale(series=series(0), stock=stock([], [])),
    "one second": flash_sale(series=series(1), stock=stock([0, 0.2, 0.4], [100, 50, 0])),
    "two hours": flash_sale(
        run=flash_sale()["run"] | {"seconds": 7_200.0},
        series=series(TWO_HOURS),
        stock=stock([12.0 * n for n in range(600)], list(range(600, 0, -1))),
    ),
    "attack": flash_sale(
        run=flash_sale()["run"] | {"host": ATTACK, "hot_product": ATTACK},
        proof=found("fail", [ATTACK], 1),
    ),
}


def read(visitor: Visitor, path: Path) -> None:
    """Open a page without a network, and see that it asked for nothing and complained of none."""
    visitor.page.context.set_offline(True)
    visitor.page.goto(path.as_uri())
    assert visitor.requests == [path.as_uri()]
    assert visitor.complaints == []


@pytest.mark.parametrize("name", SUMMARIES)
@pytest.mark.parametrize("colours", ["light", "dark"])
def test_a_page_is_whole_without_a_network(
    visitor: Visitor, tmp_path: Path, name: str, colours: str
) -> None:
    path = tmp_path / "report.html"
    path.write_text(page(SUMMARIES[name]), encoding="utf-8")
    visitor.page.emulate_media(color_scheme=colours)
    read(visitor, path)
    assert visitor.page.locator("section h2").count() >= 7
    assert visitor.page.locator("script").count() == 0
    ground = visitor.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(246, 247, 249)", "dark": "rgb(18, 21, 27)"}[colours]
    visitor.take_picture(tmp_path / "report.png")


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_sticks_out_of_a_narrow_screen(
    visitor: Visitor, tmp_path: Path, width: int
) -> None:
    path = tmp_path / "report.html"
    path.write_text(page(SUMMARIES["attack"]), encoding="utf-8")
    visitor.page.set_viewport_size({"width": width, "height": 800})
    read(visitor, path)
    assert visitor.page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize(
    "fault",
    [
        '<img src="http://127.0.0.1:9/">',
        "<script>x</script>",
        '<img src="data:image/png;base64,x">',
    ],
)
def test_what_a_page_would_load_or_run_is_noticed(
    visitor: Visitor, tmp_path: Path, fault: str
) -> None:
    path = tmp_path / "report.html"
    path.write_text(page(flash_sale()).replace("</main>", f"{fault}</main>"), encoding="utf-8")
    with pytest.raises(AssertionError):
        read(visitor, path)


def test_without_a_browser_its_tests_are_skipped_and_tell_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="make browser"):
        chromium.chromium()


def test_in_ci_a_missing_browser_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="needs Chromium"):
        chromium.chromium()


@needs_locust
def test_a_liar_is_told_of_on_the_page_of_a_real_run_and_in_locusts_own_reports(
    visitor: Visitor, tmp_path: Path
) -> None:
    path, rows, html = tmp_path / "report.html", tmp_path / "run", tmp_path / "locust.html"
    products = {"Football": 300, "Yoga Mat": 100_000}
    reports = ("--report", str(path), "--csv", str(rows), "--html", str(html))
    with (
        lying_shop(Lie.NEGATIVE_STOCK, products) as address,
        LoadTest(address, *SHORT, *reports) as load,
    ):
        assert load.exit_code() == VIOLATED
    read(visitor, path)
    text = visitor.page.locator("main").inner_text()
    assert "Exit code 3: the proof failed: the shop broke a rule" in text
    assert "beyond the 300 Football there were" in text
    assert "Stock of Football" in text
    assert text.count("sold out after") == 3
    rule = "nothing is sold beyond the stock at the start"
    assert f"AUDIT,{rule}," in (tmp_path / "run_failures.csv").read_text(encoding="utf-8")
    assert f"AUDIT,{rule}," in (tmp_path / "run_stats.csv").read_text(encoding="utf-8")
    assert rule in html.read_text(encoding="utf-8")
    visitor.take_picture(tmp_path / "report.png")
