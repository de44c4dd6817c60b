"""Part: what the shoppers of one process share."""

from pathlib import Path

import pytest
from _part import clock_name


def test_processes_of_one_machine_share_a_clock() -> None:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    assert clock_name() == clock_name()
    assert clock_name().startswith(boot)


def test_a_time_namespace_has_a_clock_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = clock_name()
    other = tmp_path / "time"
    other.symlink_to("time:[4026539999]")
    monkeypatch.setattr("_part.NAMESPACE", other)
    assert clock_name() != ours


def test_a_kernel_without_time_namespaces_has_the_boot_s_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("_part.NAMESPACE", tmp_path / "none")
    assert " " not in clock_name()
