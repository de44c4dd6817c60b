"""Fixtures of the system tests: a real shop in a process of its own, on a free port."""

import mmap
import os
import queue
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.catalogues import write_catalogue

ROOT = Path(__file__).parents[2]
CATALOGUE = ROOT / "data"
START_SECONDS = 20
STOP_SECONDS = 20


class ShopProcess:
    """`sportshop serve` in a process; `host` and `port` are where it listens."""

    def __init__(
        self,
        store: str,
        *flags: str,
        prefix: tuple[str, ...] = (),
        module: str = "sportshop",
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.store = store
        command = [*prefix, sys.executable, "-m", module, "serve", "--port", "0"]
        command += ["--store", store]
        if "--catalogue" not in flags:
            command += ["--catalogue", str(CATALOGUE)]
        self._process = subprocess.Popen(
            [*command, *flags],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(env),
        )
        self._log: list[str] = []
        self._talks: list[Talk] = []
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        self.host, self.port = self._await_ready()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> str:
        """What it has written to stderr; complete after `wait`."""
        return "".join(self._log)

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self) -> int:
        """Wait until it has ended; return its exit code."""
        code = self._process.wait(STOP_SECONDS)
        self._reader.join(STOP_SECONDS)
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()
        self.hang_up()
        return code

    def hang_up(self) -> None:
        """Close all connections that `connect` and `login` have made."""
        for talk in self._talks:
            talk.socket.close()

    def stop(self) -> int:
        """Drain it, if it still runs; return its exit code."""
        if self._process.poll() is None:
            self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """End it without any chance to tidy up."""
        self.signal(signal.SIGKILL)
        self.wait()

    def connect(self) -> "Talk":
        self._talks.append(Talk(self.host, self.port))
        return self._talks[-1]

    def login(self, user: str = "user1", password: str = "senha") -> "Talk":
        talk = self.connect()
        answer = talk.ask("AUTHENTICATION", user=user, password=password)
        assert answer["code"] == "SUCCESS", answer
        return talk

    def _read_log(self) -> None:
        assert self._process.stderr is not None
        self._log.extend(self._process.stderr)

    def _await_ready(self) -> tuple[str, int]:
        assert self._process.stdout is not None
        lines: queue.Queue[str] = queue.Queue()
        stdout = self._process.stdout
        threading.Thread(target=lambda: lines.put(stdout.readline()), daemon=True).start()
        line = lines.get(timeout=START_SECONDS)
        if not line.startswith("listening on "):
            self.wait()
            raise AssertionError(f"the shop did not start: {line!r}\n{self.log}")
        host, _, port = line.removeprefix("listening on ").strip().rpartition(":")
        return host, int(port)


class Talk:
    """A client that sends and receives as it is told, so that a test sees every byte."""

    def __init__(self, host: str, port: int, timeout_s: float = 15) -> None:
        self.socket = socket.create_connection((host, port), timeout=timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""

    def __enter__(self) -> "Talk":
        return self

    def __exit__(self, *exc: object) -> None:
        self.socket.close()

    def ask(self, code: str, end_of_data: bool = True, **data: Any) -> dict[str, Any]:
        """Send a request and return the next answer."""
        self.send(code, end_of_data, **data)
        return self.answer()

    def send(self, code: str, end_of_data: bool = True, **data: Any) -> None:
        self.send_bytes(request(code, end_of_data, **data))

    def send_bytes(self, payload: bytes) -> None:
        self.socket.sendall(payload)

    def answer(self) -> dict[str, Any]:
        return msgspec.json.decode(self.line())

    def line(self) -> str:
        """Wait for the next line."""
        while b"\n" not in self._received:
            received = self.socket.recv(65536)
            if not received:
                raise EOFError("the shop closed the connection")
            self._received += received
        line, _, self._received = self._received.partition(b"\n")
        return line.decode()

    def answers(self) -> list[dict[str, Any]]:
        """Return the messages of one answer that is a list."""
        messages = [self.answer()]
        while not messages[-1]["endOfData"]:
            messages.append(self.answer())
        return messages

    def rest(self) -> list[dict[str, Any]]:
        """Return all answers that still come; the shop has to close the connection after them."""
        answers = []
        while True:
            try:
                answers.append(self.answer())
            except EOFError:
                return answers

    def orders(self) -> list[dict[str, Any]]:
        self.send("GET_ORDERS")
        return [order for message in self.answers() for order in message["data"]["orders"]]

    def stock(self) -> dict[str, int]:
        self.send("GET_PRODUCTS", soldOut=True)
        products = [p for message in self.answers() for p in message["data"]["products"]]
        return {product["name"]: product["stockQuantity"] for product in products}

    def is_closed(self) -> bool:
        """Wait for the end of the connection; false if something else comes first."""
        return not self._received and self.socket.recv(1) == b""


def order(product: str = "Ball", quantity: int = 1, **more: Any) -> bytes:
    return request("NEW_ORDER_ITEM", productName=product, quantity=quantity, **more)


def reasons(answers: list[dict[str, Any]]) -> list[str]:
    """Return the reason of each ERROR, and of other answers the code."""
    return [answer["data"].get("reason", answer["code"]) for answer in answers]


class Deaf:
    """A client that sends one thing over and over and reads nothing."""

    def __init__(self, shop: ShopProcess, user: str, payload: bytes) -> None:
        self.talk = shop.login(user, "secret")
        self.talk.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.talk.socket.setblocking(False)
        self._payload = payload
        self._sent = 0

    def push(self) -> None:
        """Send as much as the shop takes without being waited for."""
        try:
            while not self.is_cut_off():
                self._sent += self.talk.socket.send(self._payload[self._sent :])
                self._sent %= len(self._payload)
        except OSError:
            pass

    def is_cut_off(self) -> bool:
        poll = select.poll()
        poll.register(self.talk.socket, select.POLLRDHUP)
        return bool(poll.poll(0))

    def fill(self) -> None:
        """Send until the shop has taken nothing for a while."""
        while select.select([], [self.talk.socket], [], 0.2)[1]:
            self.push()


class Disk:
    """The disk under a shop that is started with `env=disk.env`; see failing_disk.c."""

    FIELDS = (
        "sync_errno",
        "syncs_before",
        "syncs_failing",
        "sync_held",
        "syncs_waiting",
        "syncs",
        "kill_at_sync",
        "write_errno",
        "write_bytes_left",
        "read_errno",
    )  # fmt: skip - as in failing_disk.c's struct control

    def __init__(self, library: Path, control: Path, folder: Path) -> None:
        control.write_bytes(bytes(mmap.PAGESIZE))
        with control.open("r+b") as file:
            self._control = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        self.env = {
            "LD_PRELOAD": str(library),
            "FAILING_DISK_CONTROL": str(control),
            "FAILING_DISK_FOLDER": str(folder),
        }

    def set(self, **fields: int) -> None:
        for name, value in fields.items():
            struct.pack_into("=i", self._control, 4 * self.FIELDS.index(name), value)

    def get(self, field: str) -> int:
        return int(struct.unpack_from("=i", self._control, 4 * self.FIELDS.index(field))[0])

    def fail_syncs(self, number: int, before: int = 0, failing: int = -1) -> None:
        """Let syncs fail: after `before` that work, so many (-1: all)."""
        self.set(syncs_before=before, syncs_failing=failing, sync_errno=number)

    def fail_writes(self, number: int, bytes_left: int = 0) -> None:
        """Let writes fail, once so many bytes more are written."""
        self.set(write_bytes_left=bytes_left, write_errno=number)

    def heal(self) -> None:
        self.set(sync_errno=0, sync_held=0, kill_at_sync=0, write_errno=0, read_errno=0)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let syncs wait until the end of the block."""
        self.set(sync_held=1)
        try:
            yield
        finally:
            self.set(sync_held=0)

    def await_waiting(self) -> None:
        """Wait until a sync waits: an order that is sent from now on comes after its batch."""
        eventually(lambda: self.get("syncs_waiting") > 0)

    def close(self) -> None:
        self.heal()
        self._control.close()


def eventually(happens: Callable[[], Any], seconds_max: float = 15) -> Any:
    """Wait until something is true, and return it; fail if that takes too long."""
    deadline = time.monotonic() + seconds_max
    while not (happened := happens()):
        assert time.monotonic() < deadline, f"did not happen within {seconds_max} s"
        time.sleep(0.002)
    return happened


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a shop: this one's without settings, with what is added.

    Without make's as well: a make below another one tells on stdout which folder it enters.
    """
    not_its_own = ("SPORTSHOP_", "MAKE", "MFLAGS")
    own = {name: v for name, v in os.environ.items() if not name.startswith(not_its_own)}
    return own | dict(extra or {})


def request(code: str, end_of_data: bool = True, **data: Any) -> bytes:
    message: dict[str, Any] = {"code": code}
    if data:
        message["data"] = data
    if not end_of_data:
        message["endOfData"] = False
    return msgspec.json.encode(message) + b"\n"


StartShop = Callable[..., ShopProcess]


@pytest.fixture
def start_shop(tmp_path: Path) -> Iterator[StartShop]:
    """Start shops that are ended with the test: start_shop("sqlite", "--idle-seconds", "1")."""
    started: list[ShopProcess] = []

    def start(kind: str = "sqlite", *flags: str, **options: Any) -> ShopProcess:
        shop = ShopProcess(store_url(kind, tmp_path), *flags, **options)
        started.append(shop)
        return shop

    yield start
    for shop in started:
        shop.hang_up()
        shop.stop()


@pytest.fixture
def start_small(start_shop: StartShop, tmp_path: Path) -> StartShop:
    """Start shops of Ball and Bat, 1,000,000 each, with users u0 to u49, password `secret`."""
    products = {"Ball": 1_000_000, "Bat": 1_000_000}
    catalogue = write_catalogue(tmp_path / "catalogue", products, 50)

    def start(kind: str = "sqlite", *flags: str, **options: Any) -> ShopProcess:
        return start_shop(kind, "--catalogue", str(catalogue), *flags, **options)

    return start


def store_url(kind: str, folder: Path) -> str:
    return {
        "memory": "memory:",
        "csv": f"csv:{folder}/shop",
        "sqlite": f"sqlite:{folder}/shop.db",
    }[kind]


@pytest.fixture(scope="module")
def fresh_shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShopProcess]:
    """A shop with the demo catalogue and a new store, for all tests of a module."""
    shop = ShopProcess(store_url("sqlite", tmp_path_factory.mktemp("shop")))
    yield shop
    assert shop.stop() == 0


@pytest.fixture(scope="session")
def disk_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """failing_disk.c, compiled."""
    if not sys.platform.startswith("linux"):
        pytest.skip("failing_disk.c needs LD_PRELOAD as Linux has it")
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("failing_disk.c needs a C compiler, cc")
    library = tmp_path_factory.mktemp("disk") / "failing_disk.so"
    source = Path(__file__).with_name("failing_disk.c")
    command = [compiler, "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run([*command, "-o", library, source, "-ldl"], check=True)
    return library


@pytest.fixture
def disk(
    disk_library: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Disk]:
    """The disk under tmp_path. It heals at the end, so that every shop can be stopped."""
    disk = Disk(disk_library, tmp_path_factory.mktemp("disk") / "control", tmp_path)
    yield disk
    disk.close()
