"""Standard streams that are closed, full, or that nobody reads: no command fails over one.

What can't be told costs one line on stderr and the exit code at most, never a traceback.
"""

import fcntl
import json
import os
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.catalogues import write_catalogue
from tests.system.conftest import ROOT, Talk, environment, eventually
from tests.unit.fake_shop import FakeShop, Peer

PROGRAM = f"{sys.executable} -m sportshop"
SECONDS = 30
KEY = "k-1"
needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="writes to /dev/full")


def shell(command: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a person types it, `sportshop` first, with its redirections."""
    return subprocess.run(
        ["bash", "-c", command.replace("sportshop", PROGRAM, 1)],
        cwd=ROOT,
        env=environment({"SPORTSHOP_USER": "user1", "SPORTSHOP_PASSWORD": "senha", **env}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def lists(peer: Peer) -> None:
    peer.welcome()
    products = [{"name": f"Ball {n}", "price": "1.00", "stockQuantity": n} for n in range(1, 100)]
    peer.hear("GET_PRODUCTS")
    peer.answer("PRODUCTS_LIST", {"products": products, "asOf": 1})


def sells(peer: Peer) -> None:
    peer.welcome()
    peer.sell()


CANNOT = "sportshop: cannot write to standard output: No space left on device\n"


@needs_full
@pytest.mark.parametrize(
    ("command", "unbuffered"), [("--help", ""), ("--version", "1"), ("buy --help", "")]
)
def test_help_that_cannot_be_written_is_one_line(command: str, unbuffered: str) -> None:
    ended = shell(f"sportshop {command} >/dev/full", PYTHONUNBUFFERED=unbuffered)
    assert (ended.returncode, ended.stderr) == (1, CANNOT)


@needs_full
@pytest.mark.parametrize("command", ["products", "products --json"])
def test_a_list_that_cannot_be_written_is_one_line(command: str) -> None:
    with FakeShop(lists) as shop:
        ended = shell(f"sportshop {command} >/dev/full", SPORTSHOP_PORT=str(shop.port))
    assert (ended.returncode, ended.stderr) == (1, CANNOT)


@pytest.mark.parametrize(
    ("redirections", "code"),
    [(">&-", 0), ("<&- >&- 2>&-", 0), ("2>&-", 0), ("| head -1", 0), ("<&-", 0)],
)
def test_a_list_goes_nowhere_in_silence(redirections: str, code: int) -> None:
    with FakeShop(lists) as shop:
        ended = shell(f"sportshop products {redirections}", SPORTSHOP_PORT=str(shop.port))
    assert (ended.returncode, ended.stderr) == (code, "")


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("<&-", "no password: set SPORTSHOP_PASSWORD or give --password-stdin"),
        ("--password-stdin <&-", "the password is empty: it is the first line of standard input"),
    ],
)
def test_where_standard_input_is_closed_nobody_can_be_asked(given: str, why: str) -> None:
    ended = shell(f"sportshop products {given}", SPORTSHOP_PASSWORD="")
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", f"sportshop: {why}\n")


@needs_full
@pytest.mark.parametrize("output", [">/dev/full", "--json >/dev/full", "| true", "1</dev/null"])
def test_what_was_bought_is_told_even_if_the_receipt_cannot_be_written(output: str) -> None:
    command = f"set -o pipefail; sportshop buy Ball --key {KEY} {output}"
    with FakeShop(sells) as shop:
        ended = shell(command, SPORTSHOP_PORT=str(shop.port))
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"sportshop: order 7 was placed with the key {KEY}, but ")
    assert ended.stderr.count("\n") == 1


def test_what_was_bought_is_told_where_standard_output_is_closed() -> None:
    with FakeShop(sells) as shop:
        ended = shell(f"sportshop buy Ball --key {KEY} >&-", SPORTSHOP_PORT=str(shop.port))
    assert ended.returncode == 0
    assert ended.stderr == (
        f"sportshop: order 7 was placed with the key {KEY}; standard output is closed\n"
    )


@needs_full
def test_an_error_that_cannot_be_told_still_has_its_exit_code() -> None:
    for error in ("2>/dev/full", "2>&-"):
        ended = shell(f"sportshop products --port 0 {error}")
        assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", "")


# The server.


@contextmanager
def serving(folder: Path, redirections: str, *flags: str) -> Iterator[tuple[int, str, int]]:
    """Run `serve` with these redirections; yield its port, store and process id."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port: int = free.getsockname()[1]
    catalogue = write_catalogue(folder / "catalogue", {"Ball": 1_000}, 1)
    store = folder / "shop.db"
    command = f"exec {PROGRAM} serve --port {port} --store sqlite:{store} --catalogue {catalogue}"
    process = subprocess.Popen(
        ["bash", "-c", f"{command} {' '.join(flags)} {redirections}"],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        eventually(lambda: listens(port) or process.poll() is not None)
        assert process.poll() is None, process.stderr and process.stderr.read()
        yield port, str(store), process.pid
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=SECONDS)
        assert (process.returncode, "Traceback" in said) == (0, False), said
    finally:
        process.kill()
        process.wait()


def listens(port: int) -> bool:
    with closing(socket.socket()) as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def buy(port: int) -> int:
    with Talk("127.0.0.1", port) as talk:
        talk.ask("AUTHENTICATION", user="u0", password="secret")
        answer = talk.ask("NEW_ORDER_ITEM", productName="Ball", quantity=1)
        number: int = answer["data"]["order"]
        return number


@pytest.mark.parametrize(
    "redirections",
    [">&-", "2>&-", "<&-", "<&- >&- 2>&-", ">&- 2>&-", "<&- 2>&-",
     pytest.param(">/dev/full", marks=needs_full), pytest.param("2>/dev/full", marks=needs_full)],
)  # fmt: skip
def test_the_shop_sells_and_drains_whatever_its_streams_are(
    redirections: str, tmp_path: Path
) -> None:
    """Neither its socket nor its database gets the number of a closed stream."""
    with serving(tmp_path, redirections, "--log-level DEBUG") as (port, store, pid):
        assert [buy(port) for _ in range(3)] == [1, 2, 3]
        for _ in range(5):
            reset(port)  # each makes a line in the log
        if Path("/proc/self/fd").exists():
            for number in (0, 1, 2):
                leads_to = str(Path(f"/proc/{pid}/fd/{number}").readlink())
                assert leads_to.startswith(("/dev/", "pipe:")), leads_to
    with closing(sqlite3.connect(store)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("SELECT count(*) FROM orders").fetchone() == (3,)
    assert b"stopping" not in Path(store).read_bytes()


def reset(port: int) -> None:
    """Connect, begin a message, and cut the connection."""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=SECONDS)) as client:
        client.sendall(b"{")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_a_log_that_nobody_reads_stops_nothing_and_what_is_missing_is_counted(
    tmp_path: Path,
) -> None:
    """The smallest pipe there is, already full: every line of the log has to wait."""
    reading, writing = os.pipe()
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writing, False)
    filled = 0
    while True:
        try:
            filled += os.write(writing, b"." * 4096)
        except BlockingIOError:
            break
    os.set_blocking(writing, True)
    catalogue = write_catalogue(tmp_path / "catalogue", {"Ball": 1_000}, 1)
    flags = ["--store", "memory:", "--catalogue", str(catalogue), "--port", "0"]
    flags += ["--log-level", "DEBUG", "--log-format", "json"]
    code = "from sportshop.log_writer import LogWriter; from sportshop.__main__ import main\n"
    code += "LogWriter.__init__.__defaults__ = (4_000,); main()"
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            code,
            "serve",
            *flags,
            "--log-level",
            "DEBUG",
            "--log-format",
            "json",
        ],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=writing,
        text=True,
    )
    os.close(writing)
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline().rpartition(":")[2])
        for number in range(1, 101):
            reset(port)
            if number % 20 == 0:
                assert buy(port) == number // 20
        lines: list[str] = []
        with os.fdopen(reading) as log:
            log.read(filled)
            process.terminate()  # drains while nobody reads
            reader = threading.Thread(target=lambda: lines.extend(log), daemon=True)
            reader.start()
            assert process.wait(SECONDS) == 0
            reader.join(SECONDS)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    events = [json.loads(line) for line in lines]
    dropped = sum(event.get("dropped", 0) for event in events if event["event"] == "log lines")
    lost = sum(event["event"] == "connection lost" for event in events)
    assert dropped > 0
    assert dropped + lost >= 100
    assert events[-1]["event"] == "stopped"


def test_who_was_added_is_told_though_standard_output_is_full(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sportshop", "users", "add", "ana", "--password-stdin"]
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [*command, "--store", f"sqlite:{tmp_path}/shop.db"],
            input="secret\n",
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
            check=False,
        )
    what = "standard output cannot be written: No space left on device"
    assert ended.stderr == f"sportshop: added ana, but {what}\n"
    assert ended.returncode == 1
