"""`sportshop verify`: the audit of a record, offline: text and exit code tell the verdict."""

import builtins
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sportshop.audit import Goods, History, Kind, Recorder, Told, When, merge
from sportshop.cli import main

HARMFUL = "Ball\x1b[2J\x07"


def record(path: Path, left: int = 4, name: str = "Ball", **more: object) -> Path:
    """Write the record of a run in which one of five balls was bought, and `left` told to be left.

    What is left at the end is right in any case.
    """
    shop = Recorder(0, "clock")
    ann = shop.user("ann")
    shop.products(When(ann, 1_000, 2_000), 7, {name: (14990, 5)}, Kind.OPENING)
    told = Told(8, [Goods(name, 1, 14990, left)], 14990)
    shop.receipt(When(ann, 3_000, 4_000), 1, [(name, 1)], told, 8, replayed=False)
    shop.products(When(ann, 5_000, 6_000), 8, {name: (14990, 4)}, Kind.CLOSING)
    shop.final_list(When(ann, 7_000, 8_000), 8, 7, [(0, 1, told)])
    history: History = merge([shop.block()], about={"host": "127.0.0.1:3333"}, **more)
    history.save(path)
    return path


def verify(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["verify", *map(str, arguments)])


def test_a_correct_run_passes(tmp_path: Path) -> None:
    ran = verify(record(tmp_path / "run"))
    assert ran.exit_code == 0
    *rules, blank, last = ran.stdout.splitlines()
    assert len(rules) > 15
    assert all(rule.startswith("PASS: ") for rule in rules)
    assert blank == ""
    assert last.startswith(f"PASS: {len(rules)} of {len(rules)} rules hold for 5 operations, ")
    assert "127.0.0.1:3333" in last
    assert ran.stderr == ""


def test_a_broken_rule_is_told_with_its_evidence(tmp_path: Path) -> None:
    ran = verify(record(tmp_path / "run", left=5))
    assert ran.exit_code == 3
    assert "FAIL: a replay in ledger order gives the stock that each order left" in ran.stdout
    assert "order 8 of ann (1 Ball)" in ran.stdout
    assert ran.stdout.splitlines()[-1].startswith("FAIL: ")


def test_a_record_with_a_hole_is_inconclusive(tmp_path: Path) -> None:
    ran = verify(record(tmp_path / "run", incomplete=["worker 3 did not report"]))
    assert ran.exit_code == 4
    assert "worker 3 did not report" in ran.stdout


def test_the_verdicts_are_json_for_programs(tmp_path: Path) -> None:
    ran = verify(record(tmp_path / "run", left=5), "--json")
    told = json.loads(ran.stdout)
    assert (ran.exit_code, told["outcome"], told["operations"]) == (3, "fail", 5)
    (replay,) = [v for v in told["verdicts"] if v["rule"].startswith("a replay")]
    assert (replay["outcome"], replay["found"]) == ("fail", 1)
    assert "left 5 of Ball" in replay["evidence"][0]


@pytest.mark.parametrize("content", [None, b"", b"name,price\n", b"PK\x03\x04 and no more"])
def test_what_is_no_history_is_told_in_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "run"
    if content is not None:
        path.write_bytes(content)
    ran = verify(path)
    assert ran.exit_code == 2
    assert ran.stdout == ""
    (line,) = ran.stderr.splitlines()
    assert line.startswith(f"sportshop: {path}: ")


def test_a_pipe_is_no_history_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    ran = verify(tmp_path / "pipe")
    assert ran.exit_code == 2
    assert ran.stderr == f"sportshop: {tmp_path}/pipe: a pipe, and a history has to be a file\n"


def test_nothing_that_a_shop_says_reaches_the_terminal_uncleaned(tmp_path: Path) -> None:
    ran = verify(record(tmp_path / "run", left=5, name=HARMFUL))
    assert ran.exit_code == 3
    assert "\x1b" not in ran.stdout
    assert "\x07" not in ran.stdout
    assert "1 Ball?[2J?" in ran.stdout


def test_without_numpy_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = builtins.__import__

    def without(name, given=None, local=None, names=(), level=0):
        if name == "sportshop" and "audit" in (names or ()):
            raise ModuleNotFoundError("No module named 'numpy'", name="numpy")
        return found(name, given, local, names, level)

    monkeypatch.setattr(builtins, "__import__", without)
    ran = verify(tmp_path / "run")
    assert ran.exit_code == 2
    assert "verify needs numpy: pip install 'sportshop[loadtest]'" in ran.stderr


def test_who_watches_sees_how_far_it_is(tmp_path: Path) -> None:
    path = record(tmp_path / "run")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "sportshop", "verify", str(path)]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=environment) as ran:
        os.close(theirs)
        seen = b""
        try:
            while received := os.read(ours, 65536):
                seen += received
        except OSError:  # Linux's way to tell the end of a terminal
            pass
        os.close(ours)
    assert ran.returncode == 0
    assert b"reading" in seen
    assert b"positions are unique" in seen


def test_the_other_commands_need_no_numpy() -> None:
    program = "import sys, sportshop.cli; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
