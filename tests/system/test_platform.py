"""Where it runs: a checkout that was moved, a platform that is not Unix, a demo made fresh."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.catalogues import write_catalogue
from tests.system.conftest import ROOT, Talk, environment
from tests.unit.fake_shop import FakeShop, Peer

SECONDS = 30

WITHOUT_UNIX = """
import sys

UNIX = {"fcntl", "resource", "termios", "pwd", "grp", "tty", "pty", "syslog", "readline"}

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name in UNIX:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

for name in UNIX & set(sys.modules):
    del sys.modules[name]
sys.meta_path.insert(0, Hidden())
"""


def run_without_unix(program: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_UNIX + program, *arguments],
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
    peer.hear("GET_PRODUCTS")
    peer.answer("PRODUCTS_LIST", {"products": [], "asOf": 1})


def sells(peer: Peer) -> None:
    peer.welcome()
    peer.sell()


@pytest.mark.parametrize(
    ("arguments", "script", "said"),
    [
        (["products"], lists, "#\tproduct"),
        (["buy", "Ball", "--json"], sells, '"order": 7'),
        (["shop"], Peer.welcome, "Goodbye."),
    ],
)
def test_the_customers_commands_need_nothing_that_only_unix_has(
    arguments: list[str], script: object, said: str
) -> None:
    program = "from sportshop.__main__ import main; main()"
    with FakeShop(script) as shop:
        ended = run_without_unix(program, *arguments, SPORTSHOP_PORT=str(shop.port))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert said in ended.stdout


def test_the_client_library_needs_nothing_that_only_unix_has() -> None:
    ended = run_without_unix("import sportshop.client; print('imported')")
    assert (ended.stdout, ended.stderr) == ("imported\n", "")


def test_the_server_says_in_one_line_that_a_platform_cannot_run_it(tmp_path: Path) -> None:
    program = "from sportshop.__main__ import main; main()"
    store = f"sqlite:{tmp_path}/shop.db"
    ended = run_without_unix(program, "serve", "--store", store)
    assert ended.returncode == 2
    assert (
        ended.stderr == "sportshop: this platform has no module 'resource', which is needed here\n"
    )


# make.

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="runs make")


@pytest.fixture
def moved(tmp_path: Path) -> Path:
    """Return a checkout that was moved: what is in its .venv still names the folder of before."""
    checkout = tmp_path / "moved here"
    checkout.mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, checkout)
    shutil.copytree(ROOT / "sportshop", checkout / "sportshop")
    write_catalogue(checkout / "data", {"Ball": 5}, 1)
    scripts = checkout / ".venv" / "bin"
    scripts.mkdir(parents=True)
    write_script(scripts / "python", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    write_script(scripts / "sportshop", "#!/no/such/folder/.venv/bin/python\n")
    (checkout / ".venv" / "shop").touch()
    return checkout


def write_script(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def make(checkout: Path, *targets: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *targets],
        cwd=checkout,
        env=environment({"PYTHONPATH": "/no/such/folder"}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@contextmanager
def serving(checkout: Path) -> Iterator[int]:
    """Run `make serve`; yield the port."""
    with subprocess.Popen(
        ["make", "serve"],
        cwd=checkout,
        env=environment({"SPORTSHOP_PORT": "0"}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            line = process.stdout.readline()
            assert line.startswith("listening on "), line
            yield int(line.rpartition(":")[2])
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.communicate(timeout=SECONDS)


@needs_make
def test_a_checkout_that_was_moved_serves_and_its_demo_is_made_fresh(moved: Path) -> None:
    with serving(moved) as port:
        with Talk("127.0.0.1", port) as talk:
            talk.ask("AUTHENTICATION", user="u0", password="secret")
            assert talk.ask("NEW_ORDER_ITEM", productName="Ball", quantity=2)["code"] == "SUCCESS"
        refused = make(moved, "fresh")
        assert refused.returncode == 2
        assert "is open in another process: stop the shop first" in refused.stderr
        assert "Traceback" not in refused.stderr
        assert (moved / "data" / "shop.db").exists()
    made = make(moved, "fresh")
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout.startswith("removed ")
    assert "shop.db" in made.stdout
    assert not list((moved / "data").glob("shop.db-*"))
    assert not (moved / "data" / "shop.db").exists()
    again = make(moved, "fresh")
    assert (again.returncode, again.stdout) == (0, "there is no data/shop.db: nothing to remove\n")
    with serving(moved) as port, Talk("127.0.0.1", port) as talk:
        talk.ask("AUTHENTICATION", user="u0", password="secret")
        assert talk.stock() == {"Ball": 5}


@needs_make
def test_make_alone_lists_how_to_make_the_demo_fresh(moved: Path) -> None:
    assert "make fresh " in make(moved).stdout
