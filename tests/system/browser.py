"""A real browser for the tests of what people look at: Chromium, without a window.

Playwright drives it, because a test of a page needs what it has and Selenium has not, or only in
part: it waits by itself until something can be clicked, reports every request that a page makes
and every error in its console, cuts the network off, and prefers dark colours. It is given the
system's Chromium and downloads none.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

try:
    from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright
except ImportError:
    HAS_PLAYWRIGHT = False
else:
    HAS_PLAYWRIGHT = True

NAMES = ("chromium", "google-chrome")  # as in the Makefile
FLAGS = (
    "--no-sandbox",  # which root may not have
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WIDTH, HEIGHT = 1280, 900
PNG = b"\x89PNG\r\n\x1a\n"
PNG_BYTES_MIN = 10_000  # an empty page makes less
WAIT_MS = 30_000  # for what happens by itself, on a machine that is busy


def missing(what: str) -> NoReturn:
    """Skip, and tell what to install; in CI fail: there nobody would notice."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


def chromium() -> str:
    """Return the path of the browser. If there is none, or nothing to drive it, that is told."""
    if not HAS_PLAYWRIGHT:
        missing("needs Playwright: `make install` brings it")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        missing("needs Chromium: `make browser` brings it on Debian, as root")
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """Chromium, with a profile of its own that is gone afterwards."""
    path = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


class Visitor:
    """A page in the browser, and what it has asked for and complained about meanwhile."""

    def __init__(self, page: "Page") -> None:
        self.page = page
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page.set_default_timeout(WAIT_MS)
        page.on("request", self._asked)
        page.on("console", self._told)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _asked(self, request: "Request") -> None:
        self.requests.append(request.url)

    def _told(self, message: "ConsoleMessage") -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def take_picture(self, path: Path) -> None:
        """Take a picture of the whole page, however long, and see that there is something on it."""
        picture = self.page.screenshot(path=path, full_page=True)
        assert picture.startswith(PNG)
        assert len(picture) > PNG_BYTES_MIN


@pytest.fixture
def visitor(browser: "Browser") -> Iterator[Visitor]:
    """Somebody who has never been there, without cookies."""
    size = {"width": WIDTH, "height": HEIGHT}
    context = browser.new_context(viewport=size, accept_downloads=True)
    yield Visitor(context.new_page())
    context.close()
