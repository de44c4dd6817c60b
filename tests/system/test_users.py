"""Users are added to a store, beside a running shop where that can be."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import apsw
import pytest

from tests.catalogues import CHEAP_HASH, write_catalogue
from tests.system.conftest import ROOT, ShopProcess, StartShop, eventually, store_url


def sportshop(*arguments: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sportshop", *map(str, arguments)]
    return subprocess.run(
        command, input=stdin, capture_output=True, text=True, cwd=ROOT, check=False, timeout=30
    )


def test_a_user_added_while_the_shop_runs_can_log_in(start_shop: StartShop) -> None:
    shop = start_shop("sqlite")
    shop.login()
    added = sportshop(
        "users", "add", "ana", "--password-stdin", "--store", shop.store, stdin="s3cret\n"
    )
    assert (added.returncode, added.stdout, added.stderr) == (0, "added ana\n", "")
    shop.login("ana", "s3cret")
    again = sportshop("users", "add", "ana", "--password-stdin", "--store", shop.store, stdin="x\n")
    assert again.returncode == 1
    assert again.stderr == "sportshop: there is a user 'ana' already: nothing was added\n"


@pytest.mark.parametrize("kind", ["csv", "sqlite"])
def test_users_are_imported_before_the_first_start(
    kind: str, start_shop: StartShop, tmp_path: Path
) -> None:
    file = tmp_path / "staff.csv"
    file.write_text(f'user,passwordHash\nana,"{CHEAP_HASH}"\n"rui, jr","{CHEAP_HASH}"\n')
    added = sportshop("users", "import", file, "--store", store_url(kind, tmp_path))
    assert (added.returncode, added.stdout) == (0, "added 2 users\n")
    shop = start_shop(kind)
    for name in ("ana", "rui, jr"):
        shop.login(name, "secret")
    shop.login("user1", "senha")


def test_a_bad_file_adds_nothing(start_shop: StartShop, tmp_path: Path) -> None:
    shop = start_shop("sqlite")
    file = tmp_path / "staff.csv"
    file.write_text(f'user,passwordHash\nana,"{CHEAP_HASH}"\nrui,clear\n')
    refused = sportshop("users", "import", file, "--store", shop.store)
    assert refused.returncode == 2
    assert f"{file}, line 3, column passwordHash: expected an Argon2id hash" in refused.stderr
    file.write_text(f'user,passwordHash\nana,"{CHEAP_HASH}"\nuser1,"{CHEAP_HASH}"\n')
    refused = sportshop("users", "import", file, "--store", shop.store)
    assert (refused.returncode, refused.stdout) == (1, "")
    where = f"{file}, line 3, column user"
    said = f"sportshop: {where}: the store has that user already: nothing was added\n"
    assert refused.stderr == said
    answer = shop.connect().ask("AUTHENTICATION", user="ana", password="secret")
    assert answer["data"]["reason"] == "INVALID_CREDENTIALS"


def test_a_csv_store_that_is_open_is_left_alone(start_shop: StartShop) -> None:
    shop = start_shop("csv")
    refused = sportshop(
        "users", "add", "ana", "--password-stdin", "--store", shop.store, stdin="x\n"
    )
    assert refused.returncode == 2
    assert "is open in another process" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "stdin", "says"),
    [
        ("", "x\n", "NAME: expected 1 to 64 characters"),
        ("ana", "\n", "the password is empty"),
        ("ana ", "x\n", "NAME: expected no blank at either end: character 4 is U+0020 SPACE"),
        ("an\u200ba", "x\n", "NAME: expected no format characters: character 3 is U+200B"),
        ("ana\udcff", "x\n", "'NAME': 'ana\\udcff' is not text in UTF-8"),
        ("\x1b[31m", "x\n", "NAME: expected no control characters: character 1 is U+001B"),
    ],
)
def test_a_user_without_name_or_password_is_refused(
    name: str, stdin: str, says: str, tmp_path: Path
) -> None:
    refused = sportshop(
        "users",
        "add",
        name,
        "--password-stdin",
        "--store",
        store_url("sqlite", tmp_path),
        stdin=stdin,
    )
    assert refused.returncode == 2
    assert says in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert "\x1b" not in refused.stderr


HUGE = CHEAP_HASH.replace("m=8,", "m=4294967295,")
SLOW = CHEAP_HASH.replace("t=1,", "t=4294967295,")


@pytest.mark.parametrize("phc", [HUGE, SLOW, CHEAP_HASH.replace("m=8,t=1,", "t=1,m=8,")])
@pytest.mark.parametrize("place", [2, 3])
def test_a_hash_that_would_stop_the_shop_is_refused_with_its_line(
    phc: str, place: int, start_shop: StartShop, tmp_path: Path
) -> None:
    file = tmp_path / "staff.csv"
    rows = [f'ana,"{CHEAP_HASH}"\n', f'rui,"{CHEAP_HASH}"\n']
    rows[place - 2] = f'bad,"{phc}"\n'
    file.write_text("user,passwordHash\n" + "".join(rows))
    refused = sportshop("users", "import", file, "--store", store_url("sqlite", tmp_path))
    assert (refused.returncode, refused.stdout) == (2, "")
    said = f"sportshop: {file}, line {place}, column passwordHash: expected an Argon2id hash"
    assert refused.stderr.startswith(said)
    assert len(refused.stderr.splitlines()) == 1


@pytest.mark.parametrize("kind", ["csv", "sqlite"])
@pytest.mark.parametrize("phc", [HUGE, SLOW])
def test_a_store_that_has_such_a_hash_already_goes_on_without_its_user(
    kind: str, phc: str, start_small: StartShop, tmp_path: Path
) -> None:
    shop = start_small(kind)
    shop.login("u0", "secret")
    shop.stop()
    change_hash(kind, shop.store, "u0", phc)
    shop = start_small(kind)
    for user in ("u0", "nobody"):
        answer = shop.connect().ask("AUTHENTICATION", user=user, password="secret")
        assert answer["data"]["reason"] == "INVALID_CREDENTIALS"
    shop.login("u1", "secret")
    assert shop.stop() == 0
    assert "the user can't log in user=u0" in shop.log


def change_hash(kind: str, store: str, user: str, phc: str) -> None:
    """Do by hand what no command does: give a user of a store another hash."""
    place = Path(store.partition(":")[2])
    if kind == "csv":
        file = place / "users.csv"
        old = next(row for row in file.read_text().splitlines() if row.startswith(f"{user},"))
        file.write_text(file.read_text().replace(old, f'{user},"{phc}"'))
        return
    connection = apsw.Connection(str(place))
    connection.execute("UPDATE users SET password_hash = ? WHERE name = ?", (phc, user))
    connection.execute("DELETE FROM settings WHERE name = 'seal'")  # it was changed on purpose
    connection.close()


def start_with(
    start_shop: StartShop, folder: Path, users: dict[str, str], *flags: str, **more: Any
) -> ShopProcess:
    """Start a shop of these users."""
    catalogue = write_catalogue(folder / "catalogue", {"Ball": 10}, 1)
    rows = "".join(f'{name},"{phc}"\n' for name, phc in users.items())
    (catalogue / "users.csv").write_text("user,passwordHash\n" + rows, encoding="utf-8")
    return start_shop("memory", "--catalogue", str(catalogue), *flags, **more)


def test_the_dearest_hashes_do_not_keep_the_shop_from_ending(
    start_shop: StartShop, tmp_path: Path
) -> None:
    phc = CHEAP_HASH.replace("m=8,t=1,p=1", "m=262144,t=4,p=1")
    shop = start_with(start_shop, tmp_path, {"u0": phc}, "--drain-seconds", "0.1")
    talks = [shop.connect() for _ in range(4)]
    for number, talk in enumerate(talks):
        talk.send("AUTHENTICATION", user="u0", password=f"wrong {number}")
    eventually(lambda: resident_mib(shop.pid) > 256)  # a hash is under way
    shop.signal(signal.SIGTERM)
    assert shop.wait() == 0
    assert "Traceback" not in shop.log


def resident_mib(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") >> 20


def test_a_login_without_memory_for_its_hash_is_busy(start_shop: StartShop, tmp_path: Path) -> None:
    phc = CHEAP_HASH.replace("m=8,t=1,p=1", "m=262144,t=1,p=1")
    little = ("bash", "-c", 'ulimit -v 280000; exec "$@"', "--")
    shop = start_with(start_shop, tmp_path, {"u0": phc, "u1": CHEAP_HASH}, prefix=little)
    for user in ("u0", "nobody"):
        answer = shop.connect().ask("AUTHENTICATION", user=user, password="secret")
        assert answer["data"]["reason"] == "BUSY"
    shop.login("u1", "secret")
    assert shop.stop() == 0
    assert "no memory for a password hash" in shop.log
    assert "Traceback" not in shop.log


def test_names_are_told_apart_by_what_they_are_and_not_by_their_form(
    start_shop: StartShop, tmp_path: Path
) -> None:
    catalogue = write_catalogue(tmp_path / "catalogue", {"Vôlei": 5, "Bo\u0302la": 5}, 0)
    (catalogue / "users.csv").write_text(f'user,passwordHash\njosé,"{CHEAP_HASH}"\n')
    shop = start_shop("sqlite", "--catalogue", str(catalogue))
    talk = shop.connect()
    welcome = talk.ask("AUTHENTICATION", user="jose\u0301", password="secret")
    assert welcome["data"]["user"] == "josé"
    for asked, own in (("Vo\u0302lei", "Vôlei"), ("Bôla", "Bo\u0302la"), ("Vôlei", "Vôlei")):
        (item,) = talk.ask("NEW_ORDER_ITEM", productName=asked, quantity=1)["data"]["items"]
        assert item["productName"] == own
    assert talk.stock() == {"Vôlei": 3, "Bo\u0302la": 4}


def test_the_password_is_kept_nowhere(start_shop: StartShop, tmp_path: Path) -> None:
    shop = start_shop("sqlite")
    sportshop(
        "users", "add", "ana", "--password-stdin", "--store", shop.store, stdin="s3cret-word\n"
    )
    shop.login("ana", "s3cret-word")
    shop.stop()
    for folder, _, names in os.walk(tmp_path):
        for name in names:
            assert b"s3cret-word" not in Path(folder, name).read_bytes()
    assert "s3cret-word" not in shop.log
