"""When money may be set aside, and by how much a stream may overspend."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.ledger.holds import Budget, Hold, HoldState, may_extend, may_hold, overspend

NOW = datetime(2026, 10, 1, tzinfo=UTC)
LEFT = st.integers(-(10**15), 10**15)
WANTED = st.integers(0, 10**15)


def a_hold(state: HoldState = HoldState.OPEN) -> Hold:
    end = NOW + timedelta(minutes=10)
    return Hold("h", "a", state, 5, 5, None, None, None, None, 0, NOW, end, None)


def test_an_open_hold_is_expired_from_its_end_on() -> None:
    hold = a_hold()
    assert hold.state_at(hold.expires_at - timedelta(microseconds=1)) is HoldState.OPEN
    assert hold.state_at(hold.expires_at) is HoldState.EXPIRED


@pytest.mark.parametrize("state", [HoldState.CAPTURED, HoldState.VOIDED, HoldState.EXPIRED])
def test_what_has_ended_stays_as_it_ended(state: HoldState) -> None:
    hold = a_hold(state)
    assert hold.state_at(hold.expires_at + timedelta(days=1)) is state


@pytest.mark.parametrize(
    ("wanted", "left", "is_granted"),
    [(1, 1, True), (2, 1, False), (0, 0, True), (0, -5, True), (1, 0, False), (1, -5, False)],
)
def test_a_hold_is_granted_up_to_the_last_picodollar(wanted: int, left: int, is_granted: bool) -> None:
    assert may_hold(wanted, left) is is_granted


@given(WANTED, LEFT)
def test_what_is_held_never_takes_the_balance_below_zero(wanted: int, left: int) -> None:
    if may_hold(wanted, left) and wanted:
        assert left - wanted >= 0


@given(st.lists(WANTED, max_size=20), LEFT)
def test_a_stream_overspends_by_less_than_one_increment_and_says_so(increments: list[int], left: int) -> None:
    for increment in increments:
        if not may_extend(increment, left):
            assert left <= 0 < increment
            continue
        beyond = overspend(increment, left)
        assert beyond == 0 or (beyond < increment and beyond == -(left - increment))
        left -= increment


def test_a_budget_has_left_what_is_neither_spent_nor_held() -> None:
    assert Budget(100, 70, 45).left_pico == -15
