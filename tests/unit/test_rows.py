"""The reader of files that people write: read whole, or refused in a line that shows no secret."""

import codecs
import os
from pathlib import Path

import pytest

from sportshop.catalogue import (
    CatalogueError,
    line_of_user,
    read_products,
    read_rows,
    read_users,
)
from sportshop.products import Product
from sportshop.users import NewUser
from tests.catalogues import CHEAP_HASH

HEADER = b"name,price,stockQuantity\n"
USERS = b"user,passwordHash\n"
ROW = b'ana,"%s"\n' % CHEAP_HASH.encode()
SECRET = "hunter2"


def refusal_of(content: bytes, path: Path, read=read_products) -> str:
    path.write_bytes(content)
    with pytest.raises(CatalogueError) as caught:
        read(path)
    said = str(caught.value)
    assert said.startswith(str(path))
    assert said.isprintable()  # one line, and nothing in it that a terminal obeys
    assert len(said) < len(str(path)) + 300
    return said.removeprefix(str(path))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file.csv"


# What is not the header.


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            b"Name,Price,StockQuantity\nA,1,1\n",
            "written exactly so, found Name,Price,Stock",
        ),
        (b"name, price, stockQuantity\nA,1,1\n", "written exactly so, found name, price, stock"),
        (b"Ball,1.00,5\n", "found Ball,1.00,5: line 1 is not the header"),
        (b"name,price\n", "found name,price: line 1 is not the header"),
        (b"sep=,\n" + HEADER, "found sep=,: line 1 is not the header"),
        (b"\x1b[31m,b,c\n", r"found \x1b[31m,b,c: line 1 is not the header"),
        (b"x" * 100_000 + b"\n", "x…: line 1 is not the header"),
        (
            b"\n\nname\n",
            "line 3: expected the columns name,price,stockQuantity, found name: li",
        ),
    ],
)
def test_a_line_that_is_not_the_header_is_told_so(
    content: bytes, expected: str, file: Path
) -> None:
    assert expected in refusal_of(content, file)


@pytest.mark.parametrize(
    ("content", "separator"),
    [
        (b"name;price;stockQuantity\r\nBall;1,00;5\r\n", "';'"),
        (b"Name ; Price ; StockQuantity\n", "';'"),
        (b"\xef\xbb\xbfname;price;stockQuantity\n", "';'"),
        (b"name\tprice\tstockQuantity\nBall\t1.00\t5\n", "tabs"),
        (b"name|price|stockQuantity\n", "'|'"),
    ],
)
def test_another_separator_is_named(content: bytes, separator: str, file: Path) -> None:
    said = refusal_of(content, file)
    assert said == f", line 1: the columns are separated by {separator}: expected ','"


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xef\xbb\xbf", b",,\n"])
def test_a_file_without_anything_is_empty(content: bytes, file: Path) -> None:
    assert refusal_of(content, file) == (
        ", line 1: expected the columns name,price,stockQuantity: the file is empty"
    )


# Secrets.


@pytest.mark.parametrize(
    "content",
    [
        f"ana,{SECRET}\n",
        f"{SECRET},ana\n",
        f'ana,"{CHEAP_HASH}"\n',
        f"ana;{SECRET}\n",
        f"user;passwordHash\nana;{SECRET}\n",
        f"\x1b[31m{SECRET}\n",
        f"{SECRET}{'x' * 100_000}\n",
        f"user,password\nana,{SECRET}\n",
        f"user,passwordHash,{SECRET}\n",
        f"user,passwordHash\nana,{SECRET}\n",
        f"user,passwordHash\n{SECRET}\n",
        f"user,passwordHash\nana,x,{SECRET}\n",
        f"user,passwordHash\n{SECRET}\u00a0,x\n",
        f"user,passwordHash\n{SECRET * 20},x\n",
        f'user,passwordHash\n"{SECRET},x\n',
        f'user,passwordHash\n"{SECRET}"{SECRET},x\n',
        f'user,passwordHash\n{SECRET},"{CHEAP_HASH}"\n{SECRET},"{CHEAP_HASH}"\n',
        f"user,passwordHash\n{SECRET},{'x' * 200_000}\n",
        f"user,passwordHash\n{SECRET},{CHEAP_HASH.replace('m=8,', 'm=4294967295,')}\n",
        f"user,passwordHash\n{SECRET},\0\n",
        f"user,passwordHash\n{SECRET},\udcff\n",
    ],
)
def test_no_cell_of_a_file_with_secrets_is_shown(content: str, file: Path) -> None:
    said = refusal_of(content.encode(errors="surrogateescape"), file, read_users)
    assert SECRET not in said
    assert CHEAP_HASH[-20:] not in said
    assert "line " in said


def test_a_password_column_is_secret_as_well(file: Path) -> None:
    for content in (f"ana,{SECRET}\n", f"user,password\n{SECRET}\n"):
        said = refusal_of(
            content.encode(), file, lambda p: list(read_rows(p, ("user", "password")))
        )
        assert SECRET not in said


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (f"ana,{SECRET}\n", "line 1: expected the columns user,passwordHash: line 1 is not the h"),
        ("user;passwordHash\n", "line 1: the columns are separated by ';': expected ','"),
        (
            "user,passwordHash\nana ,x\n",
            "line 2, column user: expected no blank at either end",
        ),
        (
            f"user,passwordHash\nana,{CHEAP_HASH}\n".replace("m=8,t=1,p=1", "t=2,m=64,p=1"),
            "line 2: expected 2 columns (user,passwordHash), found 4",
        ),
        (
            f'user,passwordHash\nana,"{CHEAP_HASH}"\nrui,"{CHEAP_HASH}"\n'.replace(
                "rui", "ru\u200bi"
            ),
            "line 3, column user: expected no format characters: character 3 is U+200B ZERO WIDTH",
        ),
    ],
)
def test_line_and_column_are_told_though_no_cell_is(
    content: str, expected: str, file: Path
) -> None:
    assert expected in refusal_of(content.encode(), file, read_users)


# How spreadsheets and editors write.


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_lines_may_end_in_any_way_and_rows_without_anything_are_passed_over(
    line_end: str, mark: bytes, file: Path
) -> None:
    lines = [
        "",
        "name,price,stockQuantity",
        "",
        ",,",
        " , ,",
        "   ",
        "Ball,1,2",
        '"","",""',
        "Net,3,4",
    ]
    file.write_bytes(mark + line_end.join([*lines, ""]).encode())
    assert read_products(file) == [Product("Ball", 100, 2), Product("Net", 300, 4)]


def test_rows_without_anything_are_passed_over_among_users_too(file: Path) -> None:
    file.write_bytes(USERS + ROW + b",\n , \n\n")
    assert read_users(file) == [NewUser("ana", CHEAP_HASH)]


def test_a_row_that_has_something_is_not_passed_over(file: Path) -> None:
    assert "line 2, column name: expected 1 to 200" in refusal_of(HEADER + b",1,\n", file)
    assert "line 2: expected 3 columns" in refusal_of(HEADER + b",\nx\n", file).replace("3:", "2:")


@pytest.mark.parametrize(
    ("mark", "encoding", "expected"),
    [
        (b"", "utf-16", "UTF-16"),  # Python puts a mark of its own before it
        (codecs.BOM_UTF16_BE, "utf-16-be", "UTF-16"),
        (b"", "utf-16-le", "UTF-16"),
        (b"", "utf-16-be", "UTF-16"),
        (b"", "utf-32", "UTF-32"),
    ],
)
def test_excels_unicode_text_is_named(
    mark: bytes, encoding: str, expected: str, file: Path
) -> None:
    text = "name\tprice\tstockQuantity\r\nVôlei\t1.00\t5\r\n"
    said = refusal_of(mark + text.encode(encoding), file)
    assert said == f", line 1: expected UTF-8, found {expected}: save it as CSV in UTF-8"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (HEADER + b"V\xf4lei,1,1\n", ", line 2: expected UTF-8"),
        (HEADER + b"A,1,1\r\nV\xf4lei,1,1\r\n", ", line 3: expected UTF-8"),
        (b"name,price,stockQuantity\rA,1,1\rV\xf4lei,1,1\r", ", line 3: expected UTF-8"),
        (HEADER + b"A\0,1,1\n", ", line 2: expected text, found a NUL byte"),
        (HEADER + bytes(100_000), ", line 2: expected text, found a NUL byte"),
        (HEADER + b"\xed\xa0\x80,1,1\n", ", line 2: expected UTF-8"),
    ],
)
def test_what_is_no_text_is_told_with_its_line(content: bytes, expected: str, file: Path) -> None:
    assert refusal_of(content, file) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'"A,1,1\nB,1,1\n', "line 2: not correct CSV: a quote is opened and not closed before"),
        (b'"A"x,1,1\n', "line 2: not correct CSV: ',' expected after '\"'"),
        (b'A,1,1\n"A" ,1,1\n', "line 3: not correct CSV: ',' expected after '\"'"),
        (b"x" * 131_073 + b",1,1\n", "line 2: not correct CSV: a cell has more than 131072 char"),
        (b'"A\n' + b"B,1,1\n" * 30_000, "line 2: not correct CSV: a cell has more than 131072"),
    ],
)
def test_quotes_that_are_not_right_are_told_with_their_line(
    content: bytes, expected: str, file: Path
) -> None:
    assert expected in refusal_of(HEADER + content, file)


# What is no file.


def test_a_folder_a_pipe_and_a_device_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, why in (
        (tmp_path, "Is a directory"),
        (tmp_path / "pipe", "it is not a regular file"),
        (Path("/dev/zero"), "it is not a regular file"),
        (Path("/dev/null"), "it is not a regular file"),
    ):
        with pytest.raises(CatalogueError) as caught:
            read_products(path)
        assert str(caught.value) == f"{path}: cannot be read: {why}"


def test_a_file_that_is_missing_or_too_large_or_has_no_name_is_told(tmp_path: Path) -> None:
    (tmp_path / "huge").touch()
    os.truncate(tmp_path / "huge", 1 << 40)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name, why in (
        ("no", "No such file or directory"),
        ("huge", "it has more than 1024 MiB"),
        ("loop", "Too many levels of symbolic links"),
        ("a\0b", "that is not the name of a file"),
        ("x" * 5_000, "File name too long"),
    ):
        with pytest.raises(CatalogueError, match=f"cannot be read: {why}"):
            read_products(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "shown"),
    [("\x1b[31m.csv", r"\x1b[31m.csv"), ("a\nb", r"a\nb"), ("ana\udcff", r"ana\udcff")],
)
def test_the_name_of_a_file_is_escaped(name: str, shown: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with pytest.raises(CatalogueError) as caught:
        read_products(path)
    assert str(caught.value) == f"{tmp_path}/{shown}: cannot be read: No such file or directory"
    path.write_bytes(b"x\n")
    with pytest.raises(CatalogueError) as caught:
        read_products(path)
    assert str(caught.value).startswith(f"{tmp_path}/{shown}, line 1: expected the columns")


# Names.


@pytest.mark.parametrize(
    ("one", "other"),
    [("Vôlei", "Vo\u0302lei"), ("Vo\u0302lei", "Vôlei"), ("Kit", "\u212ait"), ("Ball", "Ball")],
)
def test_each_name_stands_once_in_any_form(one: str, other: str, file: Path) -> None:
    content = HEADER + f"{one},1,1\n{other},1,1\n".encode()
    said = refusal_of(content, file)
    assert said == f", line 3, column name: expected each once, and line 2 has it, found {other!r}"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Ball\u00a0", "no separator characters, found 'Ball\\xa0': character 5 is U+00A0 NO-BREA"),
        ("Ball ", "expected no blank at either end, found 'Ball ': character 5 is U+0020 SPACE"),
        ("\u200bBall", "no format characters, found '\\u200bBall': character 1 is U+200B ZERO"),
        ("Ball\x07", "expected no control characters, found 'Ball\\x07': character 5 is U+0007"),
    ],
)
def test_a_new_name_that_is_refused_is_told_with_its_character(
    name: str, expected: str, file: Path
) -> None:
    said = refusal_of(HEADER + f"{name},1,1\n".encode(), file)
    assert said.startswith(", line 2, column name: expected")
    assert expected in said


def test_the_line_of_a_user_is_found_again(file: Path) -> None:
    file.write_bytes(USERS + b"\n" + ROW + ROW.replace(b"ana", b"rui"))
    assert line_of_user(file, "rui") == 4
