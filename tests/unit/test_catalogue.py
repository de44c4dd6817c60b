"""The catalogue: what is wrong is told with file, line and column."""

from pathlib import Path

import pytest

from sportshop.catalogue import CatalogueError, read_catalogue, read_products, read_users
from sportshop.products import Product
from sportshop.users import password_matches
from tests.catalogues import CHEAP_HASH

ROOT = Path(__file__).parents[2]


def test_the_demo_catalogue_has_goods_that_are_scarce_and_users_with_the_readmes_password() -> None:
    demo = read_catalogue(ROOT / "data")
    stock = {product.name: product.stock for product in demo.products}
    assert 50 <= len(stock) <= 80
    assert sum(1 <= left <= 10 for left in stock.values()) >= 4
    assert [user.name for user in demo.users] == ["user1", "user2", "user3", "user4", "user5"]
    assert password_matches(demo.users[4].password_hash, "senha")


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (b"", "line 1: expected the columns name,price,stockQuantity"),
        (
            b"name,price\n",
            "line 1: expected the columns name,price,stockQuantity, found name,price",
        ),
        (b"name,price,stockQuantity\nBall,1.00\n", "line 2: expected 3 columns (name,price,stock"),
        (b"name,price,stockQuantity\n,1.00,1\n", "line 2, column name: expected 1 to 200 char"),
        (b"name,price,stockQuantity\nA\x07,1.00,1\n", "line 2, column name: expected no control"),
        (
            b"name,price,stockQuantity\nA,1.00,1\nB,1.234,1\n",
            "line 3, column price: expected an amo",
        ),
        (
            b"name,price,stockQuantity\nA,-1,1\n",
            "column price: expected an amount such as 149.90, f",
        ),
        (b"name,price,stockQuantity\nA,1e3,1\n", "line 2, column price: expected an amount"),
        (b"name,price,stockQuantity\nA,.5,1\n", "line 2, column price: expected an amount"),
        (b"name,price,stockQuantity\nA,1.,1\n", "line 2, column price: expected an amount"),
        (
            b"name,price,stockQuantity\nA,100000000,1\n",
            "column price: expected at most 99999999.99",
        ),
        (b"name,price,stockQuantity\nA,1,-1\n", "column stockQuantity: expected a whole number f"),
        (b"name,price,stockQuantity\nA,1,1.0\n", "line 2, column stockQuantity: expected a whole"),
        (b"name,price,stockQuantity\nA,1,9999999999\n", "column stockQuantity: expected a whole"),
        (
            b"name,price,stockQuantity\nA,1,1\n\nA,2,2\n",
            "line 4, column name: expected each once, a",
        ),
        (b'name,price,stockQuantity\n"A,1,1\n', "line 2: not correct CSV"),
        (b"name,price,stockQuantity\n\xff,1,1\n", "expected UTF-8"),
    ],
)
def test_a_bad_line_is_named(rows: bytes, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "products.csv"
    path.write_bytes(rows)
    with pytest.raises(CatalogueError) as caught:
        read_products(path)
    assert str(caught.value).startswith(str(path))
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("user,passwordHash\nuser1,senha\n", "line 2, column passwordHash: expected an Argon2id"),
        (
            f'user,passwordHash\nu,"{CHEAP_HASH}"\nu,"{CHEAP_HASH}"\n',
            "line 3, column user: expecte",
        ),
        (
            f'user,passwordHash\n{"u" * 65},"{CHEAP_HASH}"\n',
            "line 2, column user: expected 1 to 64",
        ),
    ],
)
def test_a_bad_user_is_named(rows: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "users.csv"
    path.write_text(rows)
    with pytest.raises(CatalogueError) as caught:
        read_users(path)
    assert expected in str(caught.value)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"products\.csv: cannot be read: No such file"):
        read_catalogue(tmp_path)


def test_what_a_spreadsheet_writes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "products.csv"
    path.write_bytes(
        b'\xef\xbb\xbfname,price,stockQuantity\r\n"Net, 10 m ""Pro""",149.9,3\r\nBola,7,0\r\n'
    )
    assert read_products(path) == [Product('Net, 10 m "Pro"', 14_990, 3), Product("Bola", 700, 0)]
