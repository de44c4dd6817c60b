"""What keeps a shop from starting is told in one line that says what to put right.

Exit code 2, nothing on stdout, no traceback. And what a shop that does start says: one line on
stdout, few on stderr, never a password.
"""

import json
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import argon2
import pytest

from sportshop.catalogue import CatalogueError, read_catalogue
from sportshop.storage import open_store
from sportshop.storage.interface import StoreError
from tests.catalogues import CHEAP_HASH, write_catalogue
from tests.system.conftest import (
    CATALOGUE,
    ROOT,
    ShopProcess,
    StartShop,
    environment,
    store_url,
)

SERVE = [sys.executable, "-m", "sportshop", "serve"]
REFUSED_SECONDS = 10
TOO_LONG = "x" * 300  # for a name of a file: at most 255 bytes
NO_HOST = "x" * 64  # for a label of a host name: at most 63; refused without asking a name server


def refused(*flags: str, env: Mapping[str, str] | None = None) -> str:
    """Run `serve`, which must refuse to start; return what it says on stderr."""
    ended = subprocess.run(
        [*SERVE, "--port", "0", *flags],
        cwd=ROOT,
        env=environment(env),
        capture_output=True,
        text=True,
        timeout=REFUSED_SECONDS,
        check=False,
    )
    assert ended.returncode == 2, ended.stderr
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr
    return ended.stderr


def refusal(*flags: str) -> str:
    """Run `serve`, which must refuse to start in one line of its own; return that line."""
    said = refused(*flags)
    assert said.startswith("sportshop: ")
    assert said.endswith("\n")
    assert said.count("\n") == 1, said
    return said


def refusal_here(store: str, catalogue: Path = CATALOGUE) -> str:
    """Open a store as `serve` does, in this process; return the line that `serve` prints.

    For what has many inputs: that `serve` prints it is seen by the tests that use `refusal`.
    """
    with pytest.raises((StoreError, CatalogueError)) as refused:
        open_store(store, lambda: read_catalogue(catalogue)).close()
    return f"sportshop: {refused.value}\n"


@contextmanager
def serving(*flags: str, env: Mapping[str, str] | None = None) -> Iterator[str]:
    """Run `serve` with nothing but these; give the first line on stdout."""
    with subprocess.Popen(
        [*SERVE, *flags], cwd=ROOT, env=environment(env), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline()
        finally:
            process.terminate()


# The address.


def test_a_port_that_is_taken_is_named() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        said = refusal("--store", "memory:", "--port", str(port))
    assert said == f"sportshop: cannot listen on 127.0.0.1:{port}: Address already in use\n"


@pytest.mark.parametrize(
    ("host", "why"),
    [(NO_HOST, "Name or service not known"), ("203.0.113.1", "Cannot assign requested address")],
    ids=["unknown", "not of this machine"],
)
def test_a_host_that_cannot_be_listened_on_is_named(host: str, why: str) -> None:
    said = refusal("--store", "memory:", "--host", host)
    assert said.startswith(f"sportshop: cannot listen on {host}:0: ")
    assert why in said


# The catalogue.

PRODUCTS = "name,price,stockQuantity\nBall,1.00,5\n"
USERS = f'user,passwordHash\nu0,"{CHEAP_HASH}"\n'


def hash_with(parameters: str) -> str:
    return CHEAP_HASH.replace("m=8,t=1,p=1", parameters)


BAD_LINES = {
    "empty file": ("products", "", "line 1: expected the columns name,price,stockQuantity"),
    "wrong header": (
        "products",
        "name,cost,stockQuantity\n",
        "line 1: expected the columns name,price,stockQuantity, found name,cost,stockQuantity",
    ),
    "missing column": (
        "products",
        PRODUCTS + "Bat,2.00\n",
        "line 3: expected 3 columns (name,price,stockQuantity), found 2",
    ),
    "bad price": (
        "products",
        PRODUCTS + "Bat,cheap,5\n",
        "line 3, column price: expected an amount such as 149.90, found 'cheap'",
    ),
    "price of 5,000 digits": (
        "products",
        PRODUCTS + f"Bat,{'1' * 5_000},5\n",
        "line 3, column price: expected at most 99999999.99, found '1111",
    ),
    "negative stock": (
        "products",
        PRODUCTS + "Bat,2.00,-5\n",
        "line 3, column stockQuantity: expected a whole number from 0 to 1000000000, found '-5'",
    ),
    "duplicate name": (
        "products",
        PRODUCTS + "Ball,2.00,5\n",
        "line 3, column name: expected each once, and line 2 has it, found 'Ball'",
    ),
    "control character": (
        "products",
        PRODUCTS + "B\x07t,2.00,5\n",
        r"line 3, column name: expected no control characters, found 'B\x07t'",
    ),
    "not UTF-8": ("products", PRODUCTS + "B\udcfft,2.00,5\n", "line 3: expected UTF-8"),
    "unclosed quote": ("products", PRODUCTS + '"Bat,2.00,5\n', "line 3: not correct CSV"),
    "no hash": (
        "users",
        USERS + "u1,\n",
        "line 3, column passwordHash: expected an Argon2id hash such as $argon2id$v=19$m=19456",
    ),
    "hash of another kind": (
        "users",
        USERS + f'u1,"{CHEAP_HASH.replace("argon2id", "argon2i")}"\n',
        "line 3, column passwordHash: expected an Argon2id hash",
    ),
    "hash cut short": (
        "users",
        USERS + f'u1,"{CHEAP_HASH[:40]}"\n',
        "line 3, column passwordHash: expected an Argon2id hash",
    ),
    "duplicate user": (
        "users",
        USERS + f'u0,"{CHEAP_HASH}"\n',
        "line 3, column user: expected each once, and line 2 has it\n",
    ),
    "no users' header": ("users", "", "line 1: expected the columns user,passwordHash"),
}
BAD_PARAMETERS = {  # RFC 9106, section 3.1: what no Argon2 can be asked to compute
    "too little memory": "m=7,t=1,p=1",
    "no passes": "m=8,t=0,p=1",
    "no lanes": "m=8,t=1,p=0",
    "negative": "m=-8,t=1,p=1",
    "over 32 bits": "m=4294967296,t=1,p=1",
}
BAD_LINES |= {
    f"hash with {defect}": (
        "users",
        f'user,passwordHash\nu0,"{hash_with(parameters)}"\n',
        "line 2, column passwordHash: expected an Argon2id hash",
    )
    for defect, parameters in BAD_PARAMETERS.items()
}


@pytest.mark.parametrize("defect", BAD_LINES)
def test_a_bad_line_of_the_catalogue_is_named(defect: str, tmp_path: Path) -> None:
    name, content, expected = BAD_LINES[defect]
    catalogue = write_catalogue(tmp_path / "catalogue", {"Ball": 5}, 1)
    path = catalogue / f"{name}.csv"
    path.write_bytes(content.encode(errors="surrogateescape"))
    said = refusal_here(f"sqlite:{tmp_path}/shop.db", catalogue)
    assert said.startswith(f"sportshop: {path}, {expected}")
    assert said.count("\n") == 1


@pytest.mark.parametrize("missing", ["products.csv", "users.csv"])
def test_a_file_of_the_catalogue_that_is_missing_is_named(missing: str, tmp_path: Path) -> None:
    catalogue = write_catalogue(tmp_path / "catalogue", {"Ball": 5}, 1)
    (catalogue / missing).unlink()
    said = refusal("--store", "memory:", "--catalogue", str(catalogue))
    assert said == (
        f"sportshop: {catalogue}/{missing}: cannot be read: No such file or directory\n"
    )


def test_a_password_in_place_of_its_hash_is_refused_and_not_shown(tmp_path: Path) -> None:
    catalogue = write_catalogue(tmp_path / "catalogue", {"Ball": 5}, 0)
    (catalogue / "users.csv").write_text("user,passwordHash\nu0,correct horse\n")
    said = refusal("--store", "memory:", "--catalogue", str(catalogue))
    assert "line 2, column passwordHash: expected an Argon2id hash" in said
    assert "correct horse" not in said


@pytest.mark.parametrize("kind", ["sqlite", "csv"])
def test_a_catalogue_that_was_refused_can_be_mended(
    kind: str, tmp_path: Path, start_shop: StartShop
) -> None:
    catalogue = write_catalogue(tmp_path / "catalogue", {"Ball": -5}, 1)
    refusal("--store", store_url(kind, tmp_path), "--catalogue", str(catalogue))
    write_catalogue(catalogue, {"Ball": 5}, 1)
    shop = start_shop(kind, "--catalogue", str(catalogue))
    assert shop.login("u0", "secret").stock() == {"Ball": 5}


# The store.


@pytest.mark.parametrize("store", ["postgres:shop", "sqlite:", "csv:", "memory:x", "shop.db", ""])
def test_an_unknown_store_is_told_which_there_are(store: str) -> None:
    said = refusal_here(store)
    assert said == (
        f"sportshop: unknown store {store!r}: expected memory:, csv:FOLDER or sqlite:FILE\n"
    )


@pytest.mark.parametrize("content", [b"my notes\n", bytes(range(256)) * 20], ids=["text", "bytes"])
def test_a_file_that_is_no_database_is_refused_and_left_alone(
    content: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "shop.db"
    file.write_bytes(content)
    assert refusal_here(f"sqlite:{file}") == (
        f"sportshop: store sqlite:{file}: file is not a database\n"
    )
    assert file.read_bytes() == content


def test_a_database_of_another_application_is_refused_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "shop.db"
    with closing(sqlite3.connect(file)) as other:
        other.execute("CREATE TABLE songs (title TEXT)")
    before = file.read_bytes()
    assert refusal_here(f"sqlite:{file}") == (
        f"sportshop: store sqlite:{file} is a database, but not one of a sportshop\n"
    )
    assert file.read_bytes() == before


def test_a_database_without_anything_in_it_is_filled_like_a_new_one(
    tmp_path: Path, start_small: StartShop
) -> None:
    file = tmp_path / "shop.db"
    with closing(sqlite3.connect(file)) as emptied:
        emptied.execute("CREATE TABLE songs (title TEXT)")
        emptied.execute("DROP TABLE songs")
    assert file.stat().st_size > 0
    shop = start_small("sqlite")
    assert shop.login("u0", "secret").stock() == {"Ball": 1_000_000, "Bat": 1_000_000}


def make(store: str) -> None:
    open_store(store, lambda: read_catalogue(CATALOGUE)).close()


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "shop.db"
    make(f"sqlite:{file}")
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA user_version = 2")
    assert refusal_here(f"sqlite:{file}") == (
        f"sportshop: store sqlite:{file} has schema version 2: this sportshop knows version 1\n"
    )


def test_a_csv_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    make(f"csv:{folder}")
    settings = json.loads((folder / "store.json").read_text())
    (folder / "store.json").write_text(json.dumps(settings | {"version": 2}))
    assert refusal_here(f"csv:{folder}") == (
        f"sportshop: store csv:{folder} has version 2: this sportshop knows version 1\n"
    )


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"format":"other","version":1,"tokenKey":""}'], ids=repr
)
def test_a_csv_store_whose_settings_are_damaged_is_refused(content: str, tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    make(f"csv:{folder}")
    (folder / "store.json").write_text(content)
    said = refusal_here(f"csv:{folder}")
    assert said.startswith(f"sportshop: store csv:{folder}: {folder}/store.json: ")


def test_the_catalogue_is_not_taken_for_a_csv_store_and_left_alone(tmp_path: Path) -> None:
    data = Path(shutil.copytree(CATALOGUE, tmp_path / "data"))
    before = {path.name: path.read_bytes() for path in data.iterdir() if path.is_file()}
    said = refusal_here(f"csv:{data}")
    assert said.startswith(f"sportshop: store csv:{data}: the folder has files that are not")
    assert "give the store a folder of its own" in said
    assert {path.name: path.read_bytes() for path in data.iterdir() if path.is_file()} == before


def sell_three(start_shop: StartShop) -> None:
    """Place three orders in as many batches, and stop."""
    shop = start_shop("csv")
    talk = shop.login()
    for position in (1, 2, 3):
        answer = talk.ask("NEW_ORDER_ITEM", productName="Bola de Futsal", quantity=1)
        assert answer["data"]["order"] == position
    shop.stop()


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        ("orders.csv", b",2498,", b",2398,", "orders.csv, lines 3 to 4: damaged: wrong seal"),
        ("orders.csv", b"order,placedAt", b"position,at", "orders.csv, line 1: expected order,"),
        ("users.csv", b"user1,", b"user9,", "orders.csv, line 2: users.csv has no 'user1'"),
        ("products.csv", b"Bola de Futsal", b"Bola", "orders.csv, line 2: products.csv has no"),
        ("products.csv", b",2500\n", b",2400\n", "orders.csv, line 2: expected stockQuantity 2399"),
        ("products.csv", b",2500\n", b",many\n", "column openingStock: expected a whole number"),
    ],
    ids=["digit", "header", "user", "product", "stock", "opening stock"],
)
def test_a_csv_store_that_was_tampered_with_is_refused_at_the_line(
    file: str, old: bytes, new: bytes, says: str, tmp_path: Path, start_shop: StartShop
) -> None:
    sell_three(start_shop)
    path = tmp_path / "shop" / file
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))
    assert says in refusal_here(store_url("csv", tmp_path))


@pytest.mark.parametrize("missing", ["orders.csv", "products.csv", "users.csv"])
def test_a_csv_store_that_lacks_a_file_is_refused(missing: str, tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    make(f"csv:{folder}")
    (folder / missing).unlink()
    said = refusal_here(f"csv:{folder}")
    assert f"{folder}/{missing}: " in said
    assert "No such file or directory" in said
    assert not (folder / missing).exists()


@pytest.mark.parametrize("kind", ["sqlite", "csv"])
def test_a_store_is_open_in_one_server_only(
    kind: str, tmp_path: Path, start_small: StartShop
) -> None:
    first = start_small(kind)
    store = store_url(kind, tmp_path)
    assert refusal("--store", store) == f"sportshop: store {store} is open in another process\n"
    assert first.login("u0", "secret").stock()["Ball"] == 1_000_000
    first.kill()
    assert start_small(kind).login("u0", "secret").stock()["Ball"] == 1_000_000


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("sqlite:{}/no/such/shop.db", "/no/such: make it first"),
        ("sqlite:{}", "unable to open database file"),
        ("sqlite:{}/file/shop.db", "Not a directory"),
        ("csv:{}/file", "File exists"),
        ("csv:{}/file/shop", "Not a directory"),
        (f"sqlite:{{}}/{TOO_LONG}", "File name too long"),
        (f"csv:{{}}/{TOO_LONG}", "File name too long"),
    ],
)
def test_a_store_where_none_can_be_is_refused(place: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = place.format(tmp_path)
    said = refusal_here(store)
    assert said.startswith(f"sportshop: store {store}: ")
    assert says in said


# The flags and the environment.


@pytest.mark.parametrize(
    ("flag", "value", "says"),
    [
        ("--port", "70000", "70000 is not in the range 0<=x<=65535"),
        ("--port", "-1", "-1 is not in the range 0<=x<=65535"),
        ("--port", "abc", "'abc' is not a valid integer"),
        ("--idle-seconds", "x", "'x' is not a valid float"),
        ("--idle-seconds", "0", "0.0 is not in the range x>=0.01"),
        ("--idle-seconds", "nan", "nan is not"),
        ("--connections-max", "0", "0 is not in the range x>=1"),
        ("--waiting-orders-max", "1.5", "'1.5' is not a valid integer"),
        ("--log-format", "xml", "'xml' is not one of 'text', 'json'"),
        ("--log-level", "loud", "'loud' is not one of"),
    ],
)
def test_a_bad_value_is_named_with_its_flag_and_its_variable(
    flag: str, value: str, says: str
) -> None:
    variable = "SPORTSHOP" + flag.removeprefix("-").replace("-", "_").upper()
    said = refused("--store", "memory:", flag, value)
    last = said.splitlines()[-1]
    assert flag in last
    assert variable in last
    assert says in last


def test_a_bad_value_in_the_environment_is_named_with_its_variable() -> None:
    said = refused("--store", "memory:", env={"SPORTSHOP_IDLE_SECONDS": "abc"})
    assert "SPORTSHOP_IDLE_SECONDS" in said.splitlines()[-1]
    with pytest.raises(AssertionError), serving(env={"SPORTSHOP_PORT": "abc"}) as line:
        assert line.startswith("listening")


def test_a_flag_that_does_not_exist_is_named() -> None:
    assert "--idle-secs" in refused("--store", "memory:", "--idle-secs", "3").splitlines()[-1]


def test_the_environment_sets_what_no_flag_does() -> None:
    settings = {
        "SPORTSHOP_HOST": "127.0.0.2",
        "SPORTSHOP_PORT": "0",
        "SPORTSHOP_STORE": "memory:",
        "SPORTSHOP_CATALOGUE": str(CATALOGUE),
        "SPORTSHOP_LOGIN_SECONDS": "0.1",
    }
    with serving(env=settings) as line:
        assert line.startswith("listening on 127.0.0.2:")
        port = int(line.rpartition(":")[2])
        assert port not in {0, 3333}
        with socket.create_connection(("127.0.0.2", port), timeout=10) as client:
            assert b"no login within 0.1 s" in client.recv(1000)


def test_a_flag_outdoes_the_environment() -> None:
    env = {"SPORTSHOP_HOST": "127.0.0.2", "SPORTSHOP_STORE": "nonsense"}
    flags = ("--host", "127.0.0.3", "--port", "0", "--store", "memory:")
    with serving(*flags, env=env) as line:
        assert line.startswith("listening on 127.0.0.3:")


# What it says while it runs.


def test_stdout_gets_one_line_that_says_where_it_listens() -> None:
    with subprocess.Popen(
        [*SERVE, "--port", "0", "--store", "memory:"],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        port = int(first.removeprefix("listening on 127.0.0.1:"))
        socket.create_connection(("127.0.0.1", port), timeout=10).close()
        process.terminate()
        assert process.stdout.read() == ""
    assert process.returncode == 0


def visit(shop: ShopProcess) -> None:
    """Log in, rightly and wrongly, order well and badly, and leave without a word."""
    talk = shop.login("u0", "secret")
    for _ in range(200):
        talk.ask("NEW_ORDER_ITEM", productName="Ball", quantity=1)
        talk.ask("NEW_ORDER_ITEM", productName="nothing", quantity=1)
    talk.send_bytes(b"nonsense\n")
    assert talk.answer()["data"]["reason"] == "MALFORMED_MESSAGE"
    assert len(talk.orders()) == 200
    shop.connect().ask("AUTHENTICATION", user="u0", password="wrong")


@pytest.mark.parametrize("level", ["INFO", "DEBUG"])
def test_no_message_makes_a_line_in_the_log(level: str, start_small: StartShop) -> None:
    shop = start_small("memory", "--log-level", level)
    visit(shop)
    assert shop.stop() == 0
    opened, stopping, stopped = shop.log.splitlines()
    assert " INFO opened the store store=memory: orders=0 products=2 " in opened
    assert " INFO stopping connections=2" in stopping
    assert " INFO stopped settled=True connections=2 " in stopped


def test_the_log_can_be_one_json_object_a_line(start_small: StartShop) -> None:
    shop = start_small("memory", "--log-format", "json")
    visit(shop)
    assert shop.stop() == 0
    events = [json.loads(line) for line in shop.log.splitlines()]
    assert [event["event"] for event in events] == ["opened the store", "stopping", "stopped"]
    assert all(event["level"] == "INFO" and event["time"].endswith("Z") for event in events)
    assert (events[0]["store"], events[0]["products"]) == ("memory:", 2)
    assert events[2]["connections"] == 2


PASSWORD, TYPO = "correct horse battery", "corect horse batery"


@pytest.mark.parametrize("kind", ["sqlite", "csv"])
def test_a_password_is_neither_logged_nor_stored(
    kind: str, tmp_path: Path, start_shop: StartShop
) -> None:
    catalogue = write_catalogue(tmp_path / "catalogue", {"Ball": 5}, 1)
    hasher = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    (catalogue / "users.csv").write_text(f'user,passwordHash\nu0,"{hasher.hash(PASSWORD)}"\n')
    shop = start_shop(kind, "--catalogue", str(catalogue), "--log-level", "DEBUG")
    talk = shop.login("u0", PASSWORD)
    talk.ask("NEW_ORDER_ITEM", productName="Ball", quantity=1)
    shop.connect().ask("AUTHENTICATION", user="u0", password=TYPO)
    shop.connect().ask("AUTHENTICATION", user="nobody", password=PASSWORD)
    shop.connect().ask("AUTHENTICATION", user="u0", passwort=PASSWORD)
    shop.connect().ask("AUTHENTICATION", password=[PASSWORD])
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    running = {path: path.read_bytes() for path in files}
    shop.stop()
    stopped = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    said = shop.log.encode()
    for content in (*running.values(), *stopped.values(), said):
        assert PASSWORD.encode() not in content
        assert TYPO.encode() not in content
