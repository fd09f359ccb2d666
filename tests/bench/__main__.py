"""`python -m tests.bench [NAME …]`: run the benchmarks, show a table, keep the numbers as JSON."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench import auto_topup, holds, ingest_batches, ingest_singles, machine, rating
from tests.bench.measuring import Options, Result, Series
from tests.bench.turns import ROOT

BENCHMARKS: dict[str, Callable[[Options], Result]] = {
    "rating": rating.run,
    "ingest_batches": ingest_batches.run,
    "ingest_singles": ingest_singles.run,
    "holds": holds.run,
    "auto_topup": auto_topup.run,
}
ROUNDS = 5


def main() -> None:
    """Run what the command line names, or everything."""
    asked = _arguments()
    console, progress = Console(width=110), Console(stderr=True)
    options = Options(asked.rounds, lambda text: progress.print(f"» {text}"), asked.profile)
    names = asked.names or (["ingest_batches"] if asked.profile else list(BENCHMARKS))
    facts, started = machine.facts(), time.monotonic()
    usable = os.sched_getaffinity(0)
    results = []
    for name in names:
        results.append(BENCHMARKS[name](options))
        os.sched_setaffinity(0, usable)
        _show(results[-1], console)
    facts |= {"load after": list(os.getloadavg()), "seconds": round(time.monotonic() - started, 1)}
    console.print("; ".join(f"{name} {value}" for name, value in facts.items()), style="dim")
    at = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    file = asked.json or ROOT / "bench-results" / f"{at}-{machine.commit()}.json"
    _write(file, facts, results)
    progress.print(f"» written to {file}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; default: all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write (default: bench-results/)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"rounds to take (default: {ROUNDS})")
    parser.add_argument(
        "--profile", action="store_true", help="instead, show where the time of ingest_batches goes"
    )
    asked = parser.parse_args()
    unknown = [name for name in asked.names if name not in BENCHMARKS]
    if unknown or (asked.profile and asked.names not in ([], ["ingest_batches"])):
        parser.error(f"no such benchmark, or nothing to profile there: {', '.join(unknown or asked.names)}")
    if asked.rounds < 1:
        parser.error("--rounds must be at least 1")
    return asked


def _show(result: Result, console: Console) -> None:
    table = Table(title=result.name, title_justify="left", title_style="bold")
    table.add_column("")
    for heading in ("median", "min", "max", ""):
        table.add_column(heading, justify="right" if heading else "left")
    for series in [*result.figures, *result.ratios]:
        table.add_row(
            series.name,
            *(_number(value) for value in (series.median, min(series.values), max(series.values))),
            series.unit + _target(series),
        )
    console.print(table)
    notes = [f"{name} {value}" for name, value in result.facts.items()]
    console.print("; ".join([*notes, f"errors {result.errors}"]), style="dim")
    for remark in result.remarks:
        console.print(remark, markup=False, highlight=False)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1_000 else f"{value:.3g}"


def _target(series: Series) -> str:
    return "" if series.target is None else f" (target {'≤' if series.at_most else '≥'} {series.target:,g})"


def _write(file: Path, facts: dict[str, object], results: list[Result]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    benchmarks = {
        result.name: {
            "compares": result.compares,
            "facts": result.facts,
            "figures": [series.as_json() for series in result.figures],
            "ratios": [series.as_json() for series in result.ratios],
            "errors": result.errors,
            "remarks": result.remarks,
        }
        for result in results
    }
    file.write_text(json.dumps({"machine": facts, "benchmarks": benchmarks}, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
