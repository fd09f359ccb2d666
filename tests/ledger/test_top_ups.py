"""The arithmetic of money back, by golden numbers and by its properties."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.ledger.disputes import Stage, stage_of
from metering.ledger.top_ups import (
    CENT_PICO,
    NOTHING,
    Parts,
    bonus_of,
    part_of,
    refundable_credit,
    refundable_payment,
)
from metering.money import PICO_PER_USD, to_pico

DOLLAR = PICO_PER_USD
CENT = CENT_PICO


@pytest.mark.parametrize(
    ("percent", "rest", "bonus_rest", "credit"),
    [
        (5, "420", "0", "400"),
        (5, "1000", "50", "1000"),
        (5, "1000", "0", "952.38"),
        (5, "0", "50", "0"),
        (0, "12.349", "0", "12.34"),
        (10, "100", "-100", "0"),
        (10, "100", "-45", "50"),
    ],
)
def test_credit_goes_back_with_its_bonus_or_pays_for_it(
    percent: int, rest: str, bonus_rest: str, credit: str
) -> None:
    assert refundable_credit(percent, to_pico(rest), to_pico(bonus_rest)) == to_pico(credit)


def test_the_parts_of_a_payment_are_the_whole() -> None:
    whole = Parts(1000 * DOLLAR, 50 * DOLLAR, to_pico("82.51"))
    gone = NOTHING
    for more in ("0.01", "333.33", "0.07", "700", "49.10"):
        parts = part_of(whole, 5, gone, to_pico(more))
        assert parts.paid_pico == to_pico(more)
        gone = gone.plus(parts)
    assert gone == whole


@pytest.mark.parametrize("credit", ["0", "0.01", "99.99", "333.33", "1000"])
def test_all_that_can_go_back_is_no_more_credit_than_is_left(credit: str) -> None:
    whole = Parts(1000 * DOLLAR, 0, to_pico("82.51"))
    most = refundable_payment(whole, 0, NOTHING, to_pico(credit))
    assert part_of(whole, 0, NOTHING, most).credit_pico == to_pico(credit)
    assert most == whole.paid_pico or part_of(whole, 0, NOTHING, most + CENT).credit_pico > to_pico(credit)


@given(
    cents=st.integers(500, 250_000),
    tax_cents=st.integers(0, 50_000),
    percent=st.sampled_from([0, 5, 10]),
    shares=st.lists(st.integers(1, 100_000), max_size=20),
)
def test_whatever_goes_back_in_parts_is_the_whole_at_the_end(
    cents: int, tax_cents: int, percent: int, shares: list[int]
) -> None:
    whole = Parts(cents * CENT, bonus_of(cents * CENT, percent), tax_cents * CENT)
    gone = NOTHING
    for share in shares:
        more_pico = min(share * CENT, whole.paid_pico - gone.paid_pico)
        gone = gone.plus(part_of(whole, percent, gone, more_pico))
    gone = gone.plus(part_of(whole, percent, gone, whole.paid_pico - gone.paid_pico))
    assert gone == whole


@pytest.mark.parametrize(
    ("status", "before", "stage"),
    [
        ("warning_needs_response", None, "inquiry"),
        ("warning_under_review", "inquiry", "inquiry"),
        ("warning_closed", "inquiry", "released"),
        ("needs_response", "inquiry", "frozen"),
        ("under_review", "frozen", "frozen"),
        ("something_new", None, "frozen"),
        ("won", "frozen", "released"),
        ("prevented", None, "released"),
        ("lost", "released", "lost"),
        ("under_review", "lost", "lost"),
        ("won", "lost", "released"),
    ],
)
def test_a_dispute_is_at_the_stage_that_its_status_says(
    status: str, before: Stage | None, stage: Stage
) -> None:
    assert stage_of(status, before) == stage
