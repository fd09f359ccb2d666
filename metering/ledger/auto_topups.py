"""Auto top-up: what a customer asks for, and when nothing must be bought (billing-rules: "Auto top-up").

Amounts are picodollars. Days and months are those of UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from typing import Final, NamedTuple

from metering.pricing.top_ups import AutoTopUpPolicy, Ceiling

_SOONEST: Final = timedelta(seconds=5)
_LATEST: Final = timedelta(minutes=10)


class OffReason(StrEnum):
    """Why it is off. Only the customer turns it on again."""

    CUSTOMER = "customer"
    DECLINED = "declined"
    AUTHENTICATION = "authentication_required"
    CARD_REMOVED = "card_removed"
    DISPUTE = "dispute"
    REFUND = "refund"
    RUNAWAY = "runaway"

    @property
    def says(self) -> str:
        """The reason in a sentence for the customer."""
        return _SAYS[self]


_SAYS: Final = {
    OffReason.CUSTOMER: "You turned it off.",
    OffReason.DECLINED: "The card that it charges was declined.",
    OffReason.AUTHENTICATION: "The bank wants you to confirm the payment, and automatic ones can't be.",
    OffReason.CARD_REMOVED: "The card that it charges was removed.",
    OffReason.DISPUTE: "A payment of this account was disputed with the bank.",
    # Else what went back would be charged again at once.
    OffReason.REFUND: "A refund took the balance below the threshold.",
    OffReason.RUNAWAY: "It bought so often that something must be wrong, so we stopped it.",
}


class AutoTopUp(NamedTuple):
    """What the customer asked for, as it stands; without a `card_id` the default card is charged.

    `enabled_at` is when it was last turned on; while it is `paused_until` then, nothing is bought.
    """

    account_id: str
    is_enabled: bool
    threshold_pico: int
    amount_pico: int
    card_id: str | None
    most_per_month_pico: int | None
    off_reason: OffReason | None
    paused_until: datetime | None
    enabled_at: datetime | None
    updated_at: datetime


class Bought(NamedTuple):
    """What was bought by itself this day and month; `lately` counts purchases begun, this one included."""

    day: Ceiling
    month: Ceiling
    lately: int


class Stop(NamedTuple):
    """Why a purchase must not be made (any more), and what follows for auto top-up as a whole."""

    code: str
    paused_until: datetime | None = None
    off_reason: OffReason | None = None


def why_not(  # noqa: PLR0911  (a rule each)
    asked: AutoTopUp,
    amount_pico: int,
    posted_pico: int,
    bought: Bought,
    policy: AutoTopUpPolicy,
    now: datetime,
) -> Stop | None:
    """Why a purchase of this amount must not be made at `now`; None where it may be."""
    if not asked.is_enabled:
        by_customer = asked.off_reason in {None, OffReason.CUSTOMER}
        return Stop("disabled" if by_customer else str(asked.off_reason))
    if posted_pico >= asked.threshold_pico:
        return Stop("no_longer_needed")
    if amount_pico != asked.amount_pico:
        return Stop("changed")
    if bought.lately > policy.brake_purchases:
        return Stop("brake", off_reason=OffReason.RUNAWAY)
    own = asked.most_per_month_pico
    most = policy.per_month.amount_pico if own is None else min(own, policy.per_month.amount_pico)
    if _is_full(bought.month, policy.per_month._replace(amount_pico=most), amount_pico):
        return Stop("ceiling_month", paused_until=_next_month(now))
    if _is_full(bought.day, policy.per_day, amount_pico):
        return Stop("ceiling_day", paused_until=day_of(now) + timedelta(days=1))
    return None


def _is_full(bought: Ceiling, most: Ceiling, amount_pico: int) -> bool:
    return bought.purchases >= most.purchases or bought.amount_pico + amount_pico > most.amount_pico


def day_of(now: datetime) -> datetime:
    """When the day began."""
    return datetime.combine(now.astimezone(UTC).date(), time(), UTC)


def month_of(now: datetime) -> datetime:
    """When the month began."""
    return day_of(now).replace(day=1)


def _next_month(now: datetime) -> datetime:
    return (month_of(now) + timedelta(days=31)).replace(day=1)


def wait_after_decline(policy: AutoTopUpPolicy, declines: int, *, is_final: bool) -> timedelta | None:
    """How long to wait after so many declines of a purchase; None where it is not to be tried again."""
    if is_final or declines > len(policy.retry_after):
        return None
    return policy.retry_after[declines - 1]


def wait_for_answer(unanswered: int) -> timedelta:
    """How long to wait after so many calls in a row that had no answer."""
    return min(_LATEST, _SOONEST * (1 << min(unanswered - 1, 10)))
