"""Requests and tokens per minute: the sliding window, and when to come again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from metering.ledger.request_rate import WINDOW, Limits, Rate

NOW = datetime(2026, 10, 1, tzinfo=UTC)
COUNT = st.integers(0, 200)
MANY = Limits(10**9, 10**9)
MOMENT = st.integers(0, 60_000_000 - 1).map(lambda microseconds: NOW + timedelta(microseconds=microseconds))


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


def test_a_fresh_account_gets_its_whole_limit_at_once() -> None:
    rate = Rate(NOW)
    for _ in range(50):
        assert rate.wait_seconds(Limits(50, 10**6), 10, NOW) == 0
        rate = rate.plus(10)
    assert rate.wait_seconds(Limits(50, 10**6), 10, NOW) > 0


def test_the_fifty_first_waits_until_a_fiftieth_of_the_window_has_slid_out() -> None:
    rate = Rate(NOW, requests=50)
    # The window ends after 60 s; 1.2 s later the fifty of it count as forty-nine.
    assert rate.wait_seconds(Limits(50, 10**6), 0, NOW) == 62
    late = NOW + seconds(61.2)
    assert rate.at(late).wait_seconds(Limits(50, 10**6), 0, late) == 0
    early = NOW + seconds(61.199999)
    assert rate.at(early).wait_seconds(Limits(50, 10**6), 0, early) == 1


def test_the_previous_window_counts_by_the_part_of_it_that_is_left() -> None:
    rate = Rate(NOW, previous_requests=60)
    half = NOW + seconds(30)
    assert rate.wait_seconds(Limits(31, 10**6), 0, half) == 0
    assert rate.wait_seconds(Limits(30, 10**6), 0, half) == 1


def test_after_two_minutes_nothing_counts() -> None:
    assert Rate(NOW, 50, 50, 50, 50).at(NOW + 2 * WINDOW) == Rate(NOW + 2 * WINDOW)


def test_tokens_are_limited_as_requests_are() -> None:
    rate = Rate(NOW, requests=1, tokens=900)
    assert rate.wait_seconds(Limits(50, 1_000), 100, NOW) == 0
    assert rate.wait_seconds(Limits(50, 1_000), 101, NOW) > 0


@pytest.mark.parametrize(("limits", "tokens"), [(Limits(0, 10), 0), (Limits(10, 0), 0), (Limits(10, 10), 11)])
def test_what_never_fits_is_told_to_wait_a_minute(limits: Limits, tokens: int) -> None:
    assert Rate(NOW).wait_seconds(limits, tokens, NOW) == 60


@given(st.builds(Rate, st.just(NOW), COUNT, COUNT, COUNT, COUNT), st.integers(1, 10**10), st.integers(1, 100))
def test_what_a_clock_ahead_counted_is_over_when_it_says_and_within_two_minutes(
    ahead: Rate, microseconds: int, limit: int
) -> None:
    now = NOW - timedelta(microseconds=microseconds)
    rate, limits = ahead.at(now), Limits(limit, 10**9)
    assert rate == ahead._replace(started_at=now)
    then = now + seconds(rate.wait_seconds(limits, 0, now))
    assert rate.at(then).wait_seconds(limits, 0, then) == 0
    assert rate.at(now + 2 * WINDOW) == Rate(now + 2 * WINDOW)


def counts(rate: Rate, now: datetime) -> Fraction:
    """The requests that count, by the definition and without a rounding."""
    rate = rate.at(now)
    share = 1 - Fraction((now - rate.started_at) // timedelta(microseconds=1), 60_000_000)
    return rate.requests + rate.previous_requests * share


@given(COUNT, COUNT, st.integers(1, 100), MOMENT)
def test_who_waits_as_told_is_let_in_and_who_comes_a_second_earlier_is_not(
    current: int, previous: int, limit: int, now: datetime
) -> None:
    rate, limits = Rate(NOW, current, 0, previous), Limits(limit, 1)
    wait = rate.wait_seconds(limits, 0, now)
    assert (wait == 0) == (counts(rate, now) + 1 <= limit)
    assume(wait)
    then = now + seconds(wait)
    assert rate.at(then).wait_seconds(limits, 0, then) == 0
    before = then - seconds(1)
    assert rate.at(before).wait_seconds(limits, 0, before) > 0


@given(st.lists(st.integers(0, 30_000_000), min_size=1, max_size=120), st.integers(1, 20))
def test_no_minute_long_window_is_granted_more_than_the_limit(gaps: list[int], limit: int) -> None:
    rate, now = Rate(NOW), NOW
    granted: dict[datetime, int] = {}
    for gap in gaps:
        now += timedelta(microseconds=gap)
        rate = rate.at(now)
        if not rate.wait_seconds(Limits(limit, 10), 0, now):
            rate = rate.plus(0)
            granted[rate.started_at] = granted.get(rate.started_at, 0) + 1
    assert max(granted.values()) <= limit
