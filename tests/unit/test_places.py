"""Where a store is, as people write it: meant what they mean, or told what to write."""

from pathlib import Path

import pytest

from sportshop.storage.interface import StoreError
from sportshop.storage.places import place_of


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ana")


MEANT = {
    "sqlite:data/shop.db": ("sqlite", "data/shop.db"),
    "sqlite:/srv/shop.db": ("sqlite", "/srv/shop.db"),
    "SQLITE:shop.db": ("sqlite", "shop.db"),
    "Csv:books": ("csv", "books"),
    "csv:~/shop": ("csv", "/home/ana/shop"),
    "sqlite:~/shop.db": ("sqlite", "/home/ana/shop.db"),
    "csv:~": ("csv", "/home/ana"),
    "sqlite:~root/shop.db": ("sqlite", "/root/shop.db"),
    "csv:./~": ("csv", "~"),
    " sqlite:shop.db \n": ("sqlite", "shop.db"),
    "sqlite: shop.db\r\n": ("sqlite", "shop.db"),
    "sqlite:my shop.db": ("sqlite", "my shop.db"),
    "sqlite:what?.db": ("sqlite", "what?.db"),
    "sqlite:////srv/shop.db": ("sqlite", "/srv/shop.db"),
    "memory:": ("memory", "."),
    "MEMORY: ": ("memory", "."),
}


@pytest.mark.parametrize("url", MEANT)
def test_a_place_is_what_people_mean(url: str) -> None:
    kind, path = MEANT[url]
    assert place_of(url) == (kind, Path(path))


TOLD = {
    "sqlite::memory:": "a store in memory is written memory:",
    "sqlite:file::memory:?cache=shared": "a store in memory is written memory:",
    "sqlite:shop.db?mode=memory": "a store in memory is written memory:",
    "sqlite:///srv/shop.db": "for a path from here write sqlite:srv/shop.db, for one from the root"
    " sqlite:/srv/shop.db",
    "csv://books": "for a path from here write csv:books, for one from the root csv:/books",
    "sqlite:shop.db?mode=ro": "such as sqlite:shop.db",
    "sqlite:file:shop.db": "such as sqlite:shop.db",
    "sqlite:file:///srv/shop.db?immutable=1": "such as sqlite:srv/shop.db or sqlite:/srv/shop.db",
    "sqlite:shop\0.db": "without NUL",
    "csv:\udcff": "in UTF-8",
    "csv:~nobody-of-this-name/shop": "there is no home for ~nobody-of-this-name",
    "": "expected memory:, csv:FOLDER or sqlite:FILE",
    " \n": "expected memory:, csv:FOLDER or sqlite:FILE",
    "sqlite: ": "expected memory:, csv:FOLDER or sqlite:FILE",
    "shop.db": "expected memory:, csv:FOLDER or sqlite:FILE",
    "memory": "expected memory:, csv:FOLDER or sqlite:FILE",
    "memory://": "expected memory:, csv:FOLDER or sqlite:FILE",
    "file:shop.db": "expected memory:, csv:FOLDER or sqlite:FILE",
    '"sqlite:shop.db"': "expected memory:, csv:FOLDER or sqlite:FILE",
}


@pytest.mark.parametrize("url", TOLD)
def test_what_is_no_place_is_told_what_to_write(url: str) -> None:
    with pytest.raises(StoreError) as refused:
        place_of(url)
    said = str(refused.value)
    assert TOLD[url] in said
    assert said.isprintable()


def test_a_file_is_no_folder_of_csv_files(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="File exists: csv: takes a folder, and sqlite: a file"):
        place_of(f"csv:{tmp_path}/file")
