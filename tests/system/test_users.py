"""Users are added to a store, beside a running shop where that can be."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.catalogues import CHEAP_HASH
from tests.system.conftest import ROOT, StartShop, store_url


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
    [("", "x\n", "NAME: expected 1 to 64 characters"), ("ana", "\n", "the password is empty")],
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
