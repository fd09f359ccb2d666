"""The golden events, one line of JSON each, and what the book makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path

import msgspec

from metering.money import to_text
from metering.pricing.book import PriceBook
from metering.pricing.loader import load, read_documents
from metering.rating.engine import Rater
from metering.rating.rating import Rating, Unpriced

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "pricing_rules"
GOLDEN = ROOT / "tests" / "golden"
# Any moment will do: no card of the book has a second edition that goldens were made for.
MOMENT = datetime(2026, 6, 1, tzinfo=UTC)
_DECODER = msgspec.json.Decoder(float_hook=Decimal)


@dataclass(frozen=True)
class Golden:
    """One line: an event, and its exact cost or the meter that has no price."""

    line: int
    model: str
    usage: Mapping[str, object]
    cost_usd: str | None
    meter: str | None

    @property
    def expected(self) -> str:
        """What `outcome` must say."""
        return f"unpriced: {self.meter}" if self.cost_usd is None else self.cost_usd


def outcome(result: Rating | Unpriced) -> str:
    """A result in the words of a golden."""
    return f"unpriced: {result.meter}" if isinstance(result, Unpriced) else to_text(result.cost_pico)


@cache
def goldens() -> tuple[Golden, ...]:
    """Every golden event, with numbers as the decimals they spell."""
    lines = (GOLDEN / "priced_events.jsonl").read_bytes().splitlines()
    events = [_DECODER.decode(line) for line in lines]
    return tuple(
        Golden(number, event["model"], event["usage"], event.get("cost_usd"), event.get("meter"))
        for number, event in enumerate(events, 1)
    )


@cache
def documents() -> Mapping[str, object]:
    """The parsed files of the real price book."""
    return read_documents(RULES)


@cache
def book() -> PriceBook:
    """The real price book."""
    return load(RULES)


@cache
def rater() -> Rater:
    """Rates by the real price book."""
    return Rater(book())
