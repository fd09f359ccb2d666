"""When auto top-up must not buy, and how long it waits: the rules, without a database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.ledger.auto_topups import (
    AutoTopUp,
    Bought,
    OffReason,
    Stop,
    day_of,
    month_of,
    wait_after_decline,
    wait_for_answer,
    why_not,
)
from metering.pricing.top_ups import AutoTopUpPolicy, Ceiling

HOUR = timedelta(hours=1)
POLICY = AutoTopUpPolicy(
    minimum_threshold_pico=5,
    minimum_amount_of_threshold=2,
    per_day=Ceiling(10, 500),
    per_month=Ceiling(100, 2_500),
    retry_after=(HOUR, 2 * HOUR),
    brake_purchases=5,
    brake_window=HOUR,
)
NOW = datetime(2026, 12, 31, 23, 30, tzinfo=UTC)
NEW_YEAR = datetime(2027, 1, 1, tzinfo=UTC)
ON = AutoTopUp("a", True, 10, 50, None, None, None, None, NOW, NOW)
NOTHING = Bought(Ceiling(0, 0), Ceiling(0, 0), 1)
COUNT = st.integers(0, 120)
PICO = st.integers(0, 3_000)


def stop(asked: AutoTopUp = ON, posted: int = 9, bought: Bought = NOTHING, amount: int = 50) -> Stop | None:
    return why_not(asked, amount, posted, bought, POLICY, NOW)


def test_a_first_purchase_below_the_threshold_may_be_made() -> None:
    assert stop() is None
    assert stop(posted=-1_000) is None


@pytest.mark.parametrize(
    ("reason", "code"),
    [(None, "disabled"), (OffReason.CUSTOMER, "disabled"), (OffReason.DISPUTE, "dispute")],
)
def test_what_is_off_buys_nothing_and_says_why(reason: OffReason | None, code: str) -> None:
    assert stop(ON._replace(is_enabled=False, off_reason=reason)) == Stop(code)


def test_at_the_threshold_nothing_is_needed() -> None:
    assert stop(posted=10) == Stop("no_longer_needed")


def test_another_amount_than_what_is_asked_for_now_is_not_bought() -> None:
    assert stop(amount=60) == Stop("changed")


def test_the_brake_lets_so_many_through_and_no_more() -> None:
    assert stop(bought=NOTHING._replace(lately=5)) is None
    assert stop(bought=NOTHING._replace(lately=6)) == Stop("brake", off_reason=OffReason.RUNAWAY)


@pytest.mark.parametrize(
    ("day", "month", "own", "code"),
    [
        (Ceiling(9, 450), Ceiling(99, 2_450), None, None),
        (Ceiling(10, 0), Ceiling(10, 0), None, "ceiling_day"),
        (Ceiling(1, 451), Ceiling(1, 451), None, "ceiling_day"),
        (Ceiling(1, 0), Ceiling(100, 0), None, "ceiling_month"),
        (Ceiling(1, 0), Ceiling(1, 2_451), None, "ceiling_month"),
        # The longer pause, where both are full.
        (Ceiling(10, 500), Ceiling(100, 2_500), None, "ceiling_month"),
        (Ceiling(0, 0), Ceiling(1, 50), 100, None),
        (Ceiling(0, 0), Ceiling(1, 51), 100, "ceiling_month"),
        # A limit of one's own can only be lower.
        (Ceiling(1, 0), Ceiling(1, 2_451), 10**6, "ceiling_month"),
    ],
)
def test_the_ceilings_are_reached_and_not_passed(
    day: Ceiling, month: Ceiling, own: int | None, code: str | None
) -> None:
    found = stop(ON._replace(most_per_month_pico=own), bought=Bought(day, month, 1))
    assert found == (None if code is None else Stop(code, paused_until=NEW_YEAR))


@given(day=st.builds(Ceiling, COUNT, PICO), month=st.builds(Ceiling, COUNT, PICO), amount=st.integers(1, 600))
def test_what_may_be_bought_never_takes_a_period_past_its_ceiling(
    day: Ceiling, month: Ceiling, amount: int
) -> None:
    if stop(ON._replace(amount_pico=amount), bought=Bought(day, month, 1), amount=amount) is None:
        for bought, most in ((day, POLICY.per_day), (month, POLICY.per_month)):
            assert bought.purchases + 1 <= most.purchases
            assert bought.amount_pico + amount <= most.amount_pico


@given(st.datetimes(datetime(2025, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001  (the zone is added)
def test_a_pause_ends_with_the_first_moment_of_the_next_period(now: datetime) -> None:
    monthly = why_not(ON, 50, 0, Bought(Ceiling(0, 0), Ceiling(100, 0), 1), POLICY, now)
    daily = why_not(ON, 50, 0, Bought(Ceiling(10, 0), Ceiling(10, 0), 1), POLICY, now)
    assert monthly is not None
    assert daily is not None
    assert monthly.paused_until is not None
    assert daily.paused_until == day_of(now) + timedelta(days=1)
    assert month_of(monthly.paused_until) == monthly.paused_until > now
    assert month_of(monthly.paused_until - timedelta(microseconds=1)) == month_of(now)


def test_declines_wait_by_the_schedule_and_end_with_it() -> None:
    waits = [wait_after_decline(POLICY, declines, is_final=False) for declines in (1, 2, 3, 4)]
    assert waits == [HOUR, 2 * HOUR, None, None]
    assert wait_after_decline(POLICY, 1, is_final=True) is None


def test_silence_is_waited_out_from_seconds_to_minutes() -> None:
    waits = [wait_for_answer(unanswered).total_seconds() for unanswered in range(1, 10)]
    assert waits == [5, 10, 20, 40, 80, 160, 320, 600, 600]
    assert wait_for_answer(10**6) == timedelta(minutes=10)
