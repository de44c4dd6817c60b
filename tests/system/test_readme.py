"""What the README shows is what one sees."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.system.conftest import ShopProcess

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_example_of_the_client_runs_and_buys(fresh_shop: ShopProcess) -> None:
    example = PYTHON[0]
    program = example.replace("3333", str(fresh_shop.port))
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert ran.stderr == ""
    assert "Football 149.90 5000\n" in ran.stdout
    assert ran.stdout.endswith("order 1 for 299.80\n")


def test_what_is_typed_into_nc_is_answered_as_shown(fresh_shop: ShopProcess) -> None:
    (shown,) = re.findall(r"\$ nc 127.0.0.1 3333\n(.*?)```", README, re.DOTALL)
    talk = fresh_shop.connect()
    for sent, answer in zip(*[iter(shown.splitlines())] * 2, strict=True):
        talk.send_bytes(sent.encode() + b"\n")
        got = talk.line()
        expected = re.escape(answer).replace("…", ".*")
        changing = [(r'"order":\d+', r'"order":\\d+'), (r'"asOf":\d+', r'"asOf":\\d+')]
        for told, pattern in [*changing, (r'"stockQuantity":\d+', r'"stockQuantity":\\d+')]:
            expected = re.sub(told, pattern, expected)
        assert re.fullmatch(expected, got), got


def test_the_example_of_a_workload_runs_and_is_audited(
    fresh_shop: ShopProcess, tmp_path: Path
) -> None:
    workload = tmp_path / "my_workload.py"
    workload.write_text(PYTHON[1], encoding="utf-8")
    command = ["-m", "locust", "-f", str(workload), "--headless", "--only-summary", "-t", "2s"]
    ran = subprocess.run(
        [sys.executable, *command, "-u", "3", "--host", f"{fresh_shop.host}:{fresh_shop.port}"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "loadtest")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "GET_PRODUCTS" in ran.stdout
    assert "audit     PASS" in ran.stdout
