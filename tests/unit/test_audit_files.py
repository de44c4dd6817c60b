"""The record as a file: it is read as it was saved, and a bad one is told so."""

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sportshop.audit import BadHistory, History, Kind, Recorder, audit, load, merge
from sportshop.audit.history import ITEM, LARGE, LISTS, NUMBER_MAX, OPERATION, UNKNOWN_PRICE
from tests.unit.histories import ANN, correct_run, goods, told

numbers = st.integers(-NUMBER_MAX, NUMBER_MAX)


def test_a_history_is_read_as_it_was_saved(tmp_path: Path) -> None:
    recorder = Recorder(3, "clock")
    recorder.violation("an answer is none")
    history = merge([recorder.block()], alone=True, incomplete=["why"], about={"users": 2})
    run = correct_run()
    run.change(Kind.ACCEPTED, ANN, wanted=(("Ball", 2),))
    run.change(Kind.REPLAYED, told=told(8, goods("Ball", 1, 2**40))._replace(total=1))
    for number, written in enumerate([history, run.history()]):
        path = tmp_path / f"{number}.npz"
        written.save(path)
        read = load(path)
        assert (read.operations == written.operations).all()
        assert (read.items == written.items).all()
        assert read.remarks == written.remarks
        assert read.violations == written.violations
        assert [read.lines, read.users, read.clocks] == [
            written.lines,
            written.users,
            written.clocks,
        ]
        assert [read.large_stocks, read.odd_totals] == [written.large_stocks, written.odd_totals]
        assert (read.alone, read.incomplete, read.about) == (
            written.alone,
            written.incomplete,
            written.about,
        )
        assert audit(read) == audit(written)


# Files that are none.


def saved(path: Path) -> bytes:
    correct_run().history().save(path)
    return path.read_bytes()


def reason(path: Path) -> str:
    with pytest.raises(BadHistory) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value)) > len(f"{path}: ")
    return str(caught.value).removeprefix(f"{path}: ")


def test_a_file_that_is_not_there_is_told_so(tmp_path: Path) -> None:
    assert reason(tmp_path / "none.npz") == "No such file or directory"
    assert reason(tmp_path) == "Is a directory"


@pytest.mark.parametrize("content", [b"", b"PK", b"hello\n", b"{}", bytes(1000), b"\x93NUMPY\x01"])
def test_a_file_of_something_else_is_told_to_be_no_history(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "history.npz"
    path.write_bytes(content)
    assert reason(path).startswith("not a history, or a damaged one: ")


def test_a_single_column_is_no_history(tmp_path: Path) -> None:
    path = tmp_path / "column.npy"
    np.save(path, np.zeros(3))
    assert "no archive of columns" in reason(path)


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_damaged_file_is_told_to_be_one_or_is_read(tmp_path: Path, data: st.DataObject) -> None:
    """A byte that is never looked at, such as one of a time stamp, does no harm."""
    path = tmp_path / "history.npz"
    whole = bytearray(saved(path))
    if data.draw(st.booleans()):
        whole = whole[: data.draw(st.integers(0, len(whole) - 1))]
    else:
        for _ in range(data.draw(st.integers(1, 4))):
            whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(whole)
    try:
        history = load(path)
    except BadHistory as problem:
        told = str(problem)
    else:
        audit(history)
        told = f"{path}: "
    assert told.startswith(f"{path}: ")


def rewritten(path: Path, **changes: Any) -> None:
    """Write a good history's file with other columns, or another description."""
    history = correct_run().history()
    history.save(path)
    with np.load(path) as file:
        columns = {name: file[name] for name in file.files}
    about = json.loads(columns["about"].tobytes())
    about |= changes.pop("about", {})
    columns["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    columns |= changes
    np.savez(path, **{name: column for name, column in columns.items() if column is not None})


BAD_ABOUTS: list[tuple[dict[str, Any], str]] = [
    ({"format": 9}, "format 9, this program reads format 1"),
    ({"format": "1"}, "Expected `int`, got `str` - at `$.format`"),
    ({"users": []}, "impossible user"),
    ({"users": [1]}, "at `$.users[0]`"),
    ({"users": None}, "at `$.users`"),
    ({"lines": []}, "impossible line"),
    ({"lines": [["Ball", 1]]}, "at `$.lines[0]`"),
    ({"lines": [["Ball", 2**63, 1]]}, "at `$.lines[0][1]`"),
    ({"lines": [["Ball", 1.5, 1]]}, "at `$.lines[0][1]`"),
    ({"lines": [["Ball", 1, 2**32]]}, "at `$.lines[0][2]`"),
    ({"lines": [["Ball", 1, -1]]}, "at `$.lines[0][2]`"),
    ({"lines": [["Ball", 1, 1]] * 99}, "a line twice"),
    ({"large_stocks": None}, "at `$.large_stocks`"),
    ({"large_stocks": [NUMBER_MAX + 1]}, "at `$.large_stocks[0]`"),
    ({"odd_totals": [[-1, 5]]}, "at `$.odd_totals[0][0]`"),
    ({"odd_totals": [[4, 2**63]]}, "at `$.odd_totals[0][1]`"),
    ({"odd_totals": [[10_000, 5]]}, "a total of an operation that does not exist"),
    ({"odd_totals": [[0, 5]]}, "a total of an operation that is no repeat"),
    ({"clocks": ["clock"]}, "impossible worker"),
    ({"clocks": ["clock"] * 257}, "at `$.clocks`"),
    ({"remarks": [[10_000, "lies"]]}, "a remark on an operation that does not exist"),
    ({"remarks": [[-1, "lies"]]}, "at `$.remarks[0][0]`"),
    ({"remarks": [[0, 5]]}, "at `$.remarks[0][1]`"),
    ({"alone": "yes"}, "at `$.alone`"),
    ({"incomplete": "yes"}, "at `$.incomplete`"),
    ({"about": []}, "at `$.about`"),
]


@pytest.mark.parametrize(("about", "why"), BAD_ABOUTS, ids=[why for _, why in BAD_ABOUTS])
def test_a_file_that_describes_itself_wrongly_is_refused(
    tmp_path: Path, about: dict[str, Any], why: str
) -> None:
    path = tmp_path / "history.npz"
    rewritten(path, about=about)
    assert why in reason(path)


@pytest.mark.parametrize(
    ("column", "value", "why"),
    [
        ("place", -1, "impossible place"),
        ("place", NUMBER_MAX + 1, "impossible place"),
        ("number", -1, "impossible position"),
        ("number", NUMBER_MAX + 1, "impossible position"),
        ("sent", -(2**63), "impossible time"),
        ("kind", 13, "impossible kind"),
        ("kind", Kind.OPENING, "twice that can be there only once"),
        ("kind", Kind.ORDERS, "an operation without its items"),
        ("kind", Kind.LISTED, "an entry of a list that is not there"),
        ("items", 60_000, "operations and items do not match"),
    ],
)
def test_a_file_with_a_number_that_cannot_be_is_refused(
    tmp_path: Path, column: str, value: int, why: str
) -> None:
    operations = correct_run().history().operations
    operations[column] = value
    path = tmp_path / "history.npz"
    rewritten(path, operations=operations)
    assert why in reason(path)


@pytest.mark.parametrize(
    ("line", "stock", "why"),
    [
        (LARGE - 1, 0, "impossible line"),
        (2 * LARGE - 1, 0, "impossible line"),
        (LARGE, 1, "impossible stock"),
        (LARGE, -1, "impossible stock"),
    ],
)
def test_a_file_with_an_item_that_cannot_be_is_refused(
    tmp_path: Path, line: int, stock: int, why: str
) -> None:
    items = correct_run().history().items
    items["line"][3], items["stock"][3] = line, stock
    path = tmp_path / "history.npz"
    rewritten(path, items=items, about={"large_stocks": [2**40]})
    assert why in reason(path)


@pytest.mark.parametrize("which", [0, 1])
def test_a_file_with_a_list_from_before_the_beginning_is_refused(
    tmp_path: Path, which: int
) -> None:
    history = correct_run().history()
    counts = history.operations["items"].astype(int)
    (lists,) = np.flatnonzero(history.operations["kind"] == Kind.ORDERS)
    history.items["stock"][counts[:lists].sum() + which] = -1
    path = tmp_path / "history.npz"
    rewritten(path, items=history.items)
    assert "a limit or a position below 0" in reason(path)


@pytest.mark.parametrize(
    "columns",
    [
        {"operations": None},
        {"about": {}, "items": None},
        {"operations": np.zeros(16)},
        {"operations": np.zeros((4, 4), OPERATION)},
        {"items": np.zeros(16, OPERATION)},
        {"items": np.zeros((), ITEM)},
        {"operations": np.array([{}], object)},
        {"operations": np.zeros(16, OPERATION.newbyteorder(">"))},
    ],
)
def test_a_file_with_other_columns_is_refused(tmp_path: Path, columns: dict[str, Any]) -> None:
    path = tmp_path / "history.npz"
    rewritten(path, **columns)
    assert reason(path).startswith("not a history, or a damaged one: ")


def test_a_file_that_promises_more_rows_than_it_has_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "history.npz"
    saved(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    shape = f"({len(correct_run().history())},)".encode()
    for huge in (b"(99999999999999,)", b"(-1,)", b"(2**999,)", b"(18446744073709551617,)"):
        operations = members["operations.npy"]
        longer = operations.replace(shape, huge).replace(b" " * (len(huge) - len(shape)), b"", 1)
        with zipfile.ZipFile(path, "w") as archive:
            for name, member in members.items():
                archive.writestr(name, longer if name == "operations.npy" else member)
        assert reason(path).startswith("not a history, or a damaged one: ")


@st.composite
def any_histories(draw: st.DrawFn) -> History:
    """Return whatever `load` lets in."""
    count = draw(st.integers(0, 12))
    kinds = draw(st.permutations([*Kind][9:])) + [Kind(n) for n in range(9)] * 3
    rows, items = np.zeros(count, OPERATION), []
    positions = st.sampled_from([0, 1, 2, 3, 2**38, NUMBER_MAX]) | st.integers(0, NUMBER_MAX)
    for row in rows:
        kind = draw(st.sampled_from(kinds))
        if kind in {Kind.OPENING, Kind.CLOSING, Kind.FINAL}:
            kinds.remove(kind)
        least = 1 if kind in {Kind.SOLD_OUT, Kind.NOT_FOUND} else 0
        many = 2 if kind == Kind.ORDERS else draw(st.integers(least, 3))
        row["kind"], row["items"] = kind, many
        row["place"] = draw(positions)
        is_bounded = kind in {Kind.REPLAYED, Kind.FINAL, *LISTS}
        row["number"] = draw(positions if is_bounded else st.integers(-(2**63), 2**63 - 1))
        row["sent"] = draw(st.integers(0, 5) | numbers)
        row["took"] = draw(st.sampled_from([0, 1, 2**32 - 1]))
        row["user"], row["worker"] = draw(st.integers(0, 1)), draw(st.integers(0, 1))
        row["key"] = draw(st.sampled_from([0, 1, 2, 2**32 - 1]))
        items += [draw(any_items(least=0 if kind == Kind.ORDERS else None)) for _ in range(many)]
    finals = rows["user"][rows["kind"] == Kind.FINAL]
    listed = np.flatnonzero(rows["kind"] == Kind.LISTED)
    rows["kind"][listed[~np.isin(rows["user"][listed], finals)]] = Kind.ACCEPTED
    repeats = np.flatnonzero(rows["kind"] == Kind.REPLAYED).tolist()
    totals = st.tuples(st.sampled_from(repeats), st.integers(-(2**63), 2**63 - 1))
    return History(
        rows,
        np.array(items, ITEM),
        ["ann", "bob"],
        [(*offer, quantity) for offer in OFFERS for quantity in QUANTITIES],
        draw(st.sampled_from([["one", "one"], ["one", "two"]])),
        LARGE_STOCKS,
        draw(st.lists(totals, max_size=2)) if repeats else [],
        alone=draw(st.booleans()),
    )


OFFERS = [("Ball", UNKNOWN_PRICE), ("Shoe", 0), ("Ball", NUMBER_MAX), ("", -1)]
QUANTITIES = [0, 1, 2**32 - 1]
LARGE_STOCKS = [NUMBER_MAX, 2**31, -NUMBER_MAX]


@st.composite
def any_items(draw: st.DrawFn, least: int | None) -> tuple[int, int]:
    line = draw(st.integers(0, len(OFFERS) * len(QUANTITIES) - 1))
    if draw(st.booleans()):
        return draw(st.integers(0, 2 if least is None else 1)), LARGE + line
    low = -(2**31) if least is None else least
    return draw(st.sampled_from([0, 1, max(low, -1)]) | st.integers(low, 2**31 - 1)), line


@given(any_histories())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_whatever_can_be_read_can_be_audited(tmp_path: Path, history: History) -> None:
    path = tmp_path / "history.npz"
    history.save(path)
    for verdict in audit(load(path)):
        assert str(verdict)


def test_a_pipe_is_no_history_and_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(BadHistory, match="it is a pipe"):
        load(pipe)
