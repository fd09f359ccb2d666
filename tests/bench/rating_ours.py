"""The rater as a child that takes turns: `Rater.rate`, line items included, nothing else."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from metering import __version__
from metering.pricing.loader import load
from metering.rating.engine import Rater
from tests.bench.turns import ROOT, Turn, answer_turns

AT = datetime(2026, 7, 1, tzinfo=UTC)


def rater(book: Path = ROOT / "pricing_rules") -> Rater:
    """A rater with the product's own price book."""
    return Rater(load(book))


def prepare(workload: list[tuple[str, dict[str, Any]]]) -> tuple[str, int, Turn]:
    """A turn prices every event of `[model, usage]` once."""
    rate, at = rater().rate, AT
    # Each event its own usage object, as they come from a decoder.
    events = [(model, usage) for model, usage in workload]

    def turn() -> None:
        for model, usage in events:
            rate(model, usage, at)

    return __version__, len(events), turn


if __name__ == "__main__":
    answer_turns(prepare)
