"""`make bench`: measure every row, print the table, keep it as JSON and as a chart.

    python -m tests.bench [--rows echo-50,keyed] [--seconds 3] [--repeats 3] [--out FOLDER]

A row is a ratio to a ceiling measured in the same run: absolute figures do not carry over to
another machine, and on a shared one not even to the next minute. The median of the ratios counts;
the range shows the noise.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import apsw

from tests.bench import audits, chart, neighbours, rows, shoppers
from tests.bench.programs import build, load_with, redis_server
from tests.bench.rows import Bench, Row, Sample, write_catalogue

ROWS = [*rows.ROWS, *neighbours.ROWS, *shoppers.ROWS, *audits.ROWS]
HEADER = f"{'row':<13}{'what':<56}{'goal':>8}{'median':>8}  {'range':<13} shop beside ceiling"


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parse(arguments)
    with tempfile.TemporaryDirectory(prefix="sportshop-bench-", dir=options.scratch) as scratch:
        folder = Path(scratch)
        generator = build("loadgen", folder)
        bench = Bench(
            folder,
            write_catalogue(folder / "catalogue"),
            load_with(generator),
            generator,
            options.seconds,
            options.repeats,
        )
        print(HEADER)
        results = [result for row in options.rows if (result := _measure(row, bench))]
    _keep(options.out, results)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("--rows", default="", help="names, with commas; all if left out")
    parser.add_argument("--seconds", type=float, default=3, help="of each load")
    parser.add_argument("--repeats", type=int, default=3, help="of shop and ceiling in turn")
    parser.add_argument("--out", type=Path, default=Path("reports"), help="for JSON and chart")
    parser.add_argument("--scratch", default=None, help="where stores are made: the disk counts")
    options = parser.parse_args(arguments)
    known = {row.name: row for row in ROWS}
    wanted = [name for name in options.rows.split(",") if name] or list(known)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        parser.error(f"--rows: no row {', '.join(unknown)}: there are {', '.join(known)}")
    options.rows = [known[name] for name in wanted]
    return options


def _measure(row: Row, bench: Bench) -> dict[str, Any] | None:
    if row.name.startswith("redis") and redis_server() is None:
        print(f"{row.name:<13}left out: needs redis-server (apt install redis-server)")
        return None
    os.sync()  # what the rows before have written is not to be paid for by this one's commits
    samples = list(row.measure(bench))
    result = _summary(row, samples)
    print(_line(row, result, samples), flush=True)
    return result


def _summary(row: Row, samples: Sequence[Sample]) -> dict[str, Any]:
    ratios = [sample.ratio for sample in samples]
    median = statistics.median(ratios)
    return {
        "row": row.name,
        "what": row.title,
        "goal": row.goal,
        "at_least": row.at_least,
        "median": median,
        "min": min(ratios),
        "max": max(ratios),
        "reached": row.reached(median),
        "unit": row.unit,
        "samples": [sample._asdict() for sample in samples],
    }


def _line(row: Row, result: dict[str, Any], samples: Sequence[Sample]) -> str:
    goal = f"{'≥' if row.at_least else '≤'} {row.goal:g}"
    figures = ", ".join(
        f"{s.shop:,.4g}" if s.ceiling == 1 else f"{s.shop:,.4g}|{s.ceiling:,.4g}" for s in samples
    )
    spread = f"{result['min']:.2f}…{result['max']:.2f}"
    mark = "" if result["reached"] else "  missed"
    return (
        f"{row.name:<13}{row.title:<56}{goal:>8}{result['median']:>8.2f}"
        f"  {spread:<13} {figures} {row.unit}{mark}"
    )


def _keep(out: Path, results: list[dict[str, Any]]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    document = {"at": f"{datetime.now(UTC):%Y-%m-%d}", "machine": _machine(), "rows": results}
    (out / "bench.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    (out / "bench.svg").write_text(chart.draw(document))
    print(f"kept in {out}/bench.json and {out}/bench.svg", file=sys.stderr)


def _machine() -> dict[str, Any]:
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(pages / 2**30),
        "python": platform.python_version(),
        "gevent": version("gevent"),
        "sqlite": apsw.sqlite_lib_version(),
    }


if __name__ == "__main__":
    main()
