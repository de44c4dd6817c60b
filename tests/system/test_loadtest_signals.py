"""`make loadtest` and signals: however it ends, it leaves neither a process nor a file behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.system.locust_run import DEADLINE_S, ROOT, needs_locust, wait_for, wait_for_orders

pytestmark = [needs_locust, pytest.mark.slow]

NUMBERS = pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda one: one.name
)
MARK = "SPORTSHOP_TEST_MARK"


class Sale:
    """`loadtest/_run.py` in a session of its own, with its temporary files in a folder of ours."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._folder = folder
        self._mark = f"{MARK}={folder}"
        self._process = subprocess.Popen(
            [sys.executable, "loadtest/_run.py", "--users", "4", "--run-time", "100s", *arguments],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(folder), MARK: str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.told = ""

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def send_to_group(self, number: signal.Signals) -> None:
        """As a terminal does, to all that it knows of."""
        os.killpg(self._process.pid, number)

    def address(self) -> str:
        """Wait until the shop listens, and return where."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().split(",")[0].removeprefix("a shop on ").strip()

    def exit_code(self) -> int:
        printed, errors = self._process.communicate(timeout=DEADLINE_S)
        self.told = printed + errors
        return self._process.returncode

    def left_behind(self) -> list[str]:
        """Return the files and the processes that are still there."""
        files = [str(path) for path in self._folder.iterdir()]
        return [*files, *map(str, self.processes())]

    def processes(self) -> list[int]:
        """Return all processes that it started, and itself: they have inherited our mark."""
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                is_ours = self._mark in path.read_bytes().decode("latin-1").split("\0")
            except OSError:  # it has ended, or is another user's
                continue
            if is_ours:
                found.append(int(path.parent.name))
        return found

    def end(self) -> None:
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        self._process.communicate()


@contextmanager
def sale(folder: Path, *arguments: str) -> Iterator[Sale]:
    started = Sale(folder, *arguments)
    try:
        yield started
    finally:
        started.end()


@NUMBERS
def test_a_signal_while_it_starts_ends_it_and_leaves_nothing_behind(
    number: signal.Signals, tmp_path: Path
) -> None:
    with sale(tmp_path) as started:
        wait_for(lambda: any(tmp_path.glob("*/shop.log")))
        started.send(number)
        assert started.exit_code() == 128 + number
        assert started.left_behind() == []
    assert f"loadtest: ended by {number.name}, without an audit" in started.told
    assert "Traceback" not in started.told


@pytest.mark.parametrize("whole_group", [False, True], ids=["alone", "group"])
@NUMBERS
def test_a_signal_during_the_sale_ends_it_with_its_audit_and_leaves_nothing_behind(
    number: signal.Signals, whole_group: bool, tmp_path: Path
) -> None:
    with sale(tmp_path) as started:
        wait_for_orders(started.address(), 50, "shopper1")
        send = started.send_to_group if whole_group else started.send
        send(number)
        send(number)  # make passes on what it gets itself: that is no insistence
        assert started.exit_code() == 0
        assert started.left_behind() == []
    assert "audit     PASS" in started.told


def test_one_more_signal_a_second_later_ends_it_at_once(tmp_path: Path) -> None:
    with sale(tmp_path) as started:
        wait_for_orders(started.address(), 50, "shopper1")
        (shop,) = [pid for pid in started.processes() if "serve" in arguments(pid)]
        os.kill(shop, signal.SIGSTOP)  # so that the audit would take its time
        started.send(signal.SIGINT)
        first_s = time.monotonic()
        wait_for(lambda: time.monotonic() - first_s > 1.1)
        started.send(signal.SIGINT)
        assert started.exit_code() == 128 + signal.SIGINT
        assert started.left_behind() == []
    assert "audit  " not in started.told


def test_a_run_under_nohup_outlives_its_terminal(tmp_path: Path) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # inherited
    try:
        with sale(tmp_path) as started:
            address = started.address()
            started.send(signal.SIGHUP)
            wait_for_orders(address, 50, "shopper1")
            started.send(signal.SIGTERM)
            assert started.exit_code() == 0
            assert started.left_behind() == []
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


def arguments(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8").split("\0")
