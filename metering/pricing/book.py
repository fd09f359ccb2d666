"""The compiled price book: prices of every model, each a rate card of charges, by edition.

Everything here is immutable. A `Charge` is one line of the price list; `rates` are exact fractions of a
picodollar per one unit of the meter, so that no rounding happens before the line item's.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction

from metering.usage.meters import Scalar, Vocabulary


@dataclass(frozen=True, slots=True)
class Tier:
    """A range of a meter's quantity: above `above`, up to and including `up_to` (None: without end)."""

    by: str
    above: int | None
    up_to: int | None

    def overlaps(self, other: Tier) -> bool:
        """Whether a quantity can lie in both."""
        low = max(-1 if tier.above is None else tier.above for tier in (self, other))
        ends = [tier.up_to for tier in (self, other) if tier.up_to is not None]
        return not ends or min(ends) > low


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate as written (`text` dollars per `per`) and as computed with: picodollars for one unit."""

    text: str
    pico_per_unit: Fraction


@dataclass(frozen=True, slots=True)
class Charge:
    """One line of a rate card.

    `rates` has one entry for each meter that the line prices (none for dynamic and percentage);
    `size` is the units that `per` names: 1,000,000 for `1M tokens`, 5 for the package `5 URLs`, 3600 for
    an hour of a meter in seconds. `when` holds, per field, the values that the line applies to. The
    amounts `minimum_pico`, `maximum_pico` and `default_pico` are of dynamic and percentage charges.
    """

    name: str
    model: str
    meters: tuple[str, ...]
    per: str | None
    size: int
    rates: Mapping[str, Rate]
    list_rate: str | None = None
    percent_off: str | None = None
    percent: str | None = None
    tier: Tier | None = None
    when: Mapping[str, frozenset[Scalar]] | None = None
    minimum_pico: int | None = None
    maximum_pico: int | None = None
    default_pico: int | None = None
    label: str | None = None
    accepts: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class PricingRow:
    """One line of the public price list, as text."""

    charge: str
    spec: str
    rate: str
    list_rate: str | None = None


@dataclass(frozen=True, slots=True)
class RateCard:
    """One edition of one model's prices, in force from `effective` (None: always) until the next."""

    effective: datetime | None
    charges: tuple[Charge, ...]
    rows: tuple[PricingRow, ...]
    minimum_pico: int | None = None
    maximum_pico: int | None = None


@dataclass(frozen=True, slots=True)
class ModelPrices:
    """A model's facts and its rate cards, oldest first; `file` is where the book keeps them."""

    id: str
    name: str
    provider: str
    file: str
    facts: Mapping[str, object]
    cards: tuple[RateCard, ...]

    def edition_at(self, moment: datetime) -> int:
        """Which of `cards` is in force at `moment`."""
        return bisect_right([card.effective for card in self.cards[1:] if card.effective is not None], moment)

    def card_at(self, moment: datetime) -> RateCard:
        """The rate card in force at `moment`."""
        return self.cards[self.edition_at(moment)]


@dataclass(frozen=True, slots=True)
class Plan:
    """A monthly plan: what it costs and the quantities that the fee covers."""

    slug: str
    name: str
    monthly_fee_pico: int
    included: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class PriceBook:
    """All prices. `digest` is the SHA-256 of `documents` in canonical form, the book's identity."""

    digest: bytes
    documents: Mapping[str, object]
    vocabulary: Vocabulary
    models: Mapping[str, ModelPrices]
    plans: Mapping[str, Plan]
