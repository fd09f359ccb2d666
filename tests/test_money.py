"""Money is whole picodollars: what goes in comes out, and the one rounding is half to even."""

from __future__ import annotations

import json
from decimal import ROUND_HALF_EVEN, Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.money import (
    MAX_EXPONENT,
    PICO_PER_USD,
    PLACES,
    AmountError,
    divide_half_even,
    plain,
    to_decimal,
    to_number,
    to_pico,
    to_text,
)

amounts = st.integers(1 - 10**37, 10**37 - 1)
decimals = st.decimals(
    allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20, places=12
)


@given(amounts)
def test_every_amount_survives_the_way_through_text_number_and_decimal(pico: int) -> None:
    assert to_pico(to_text(pico)) == pico
    assert to_pico(to_number(pico)) == pico
    assert to_pico(to_decimal(pico)) == pico
    with localcontext(prec=60):
        assert to_pico(Decimal(to_number(pico)).normalize()) == pico


@given(amounts)
def test_texts_have_twelve_places_and_numbers_are_the_shortest_json(pico: int) -> None:
    text, number = to_text(pico), to_number(pico)
    assert len(text.partition(".")[2]) == PLACES
    assert set(text + number) <= set("-0123456789.")
    assert json.loads(number, parse_float=Decimal) == Decimal(text)
    assert number == (text.rstrip("0").rstrip(".") or "0")
    assert to_decimal(pico) == Decimal(pico).scaleb(-PLACES) or abs(pico) >= 10**28


@given(decimals)
def test_reading_is_exact_in_any_decimal_context(value: Decimal) -> None:
    with localcontext(prec=4):
        pico = to_pico(value)
        assert to_pico(str(value)) == pico
        assert to_decimal(pico) == value
    numerator, denominator = value.as_integer_ratio()
    assert pico * denominator == numerator * PICO_PER_USD


@pytest.mark.parametrize(
    ("amount", "pico"),
    [
        ("1.08", 1_080_000_000_000),
        ("0", 0),
        ("-0", 0),
        ("0.000000000001", 1),
        ("1e-12", 1),
        ("1E+3", 1000 * PICO_PER_USD),
        (5, 5 * PICO_PER_USD),
        (Decimal("0.10"), 100_000_000_000),
        ("0.1000000000000000000000", 100_000_000_000),
        (f"1e{MAX_EXPONENT}", 10 ** (MAX_EXPONENT + PLACES)),
    ],
)
def test_an_amount_is_read_as_the_decimal_that_it_spells(amount: str | int | Decimal, pico: int) -> None:
    assert to_pico(amount) == pico


@pytest.mark.parametrize(
    ("amount", "reason"),
    [
        ("0.0000000000001", "has more than 12 decimal places"),
        (Decimal("1E-13"), "has more than 12 decimal places"),
        ("NaN", "is not a finite amount"),
        ("sNaN", "is not a finite amount"),
        ("Infinity", "is not a finite amount"),
        ("-inf", "is not a finite amount"),
        ("1e25", "is not a finite amount below 10^25"),
        ("1e400", "is not a finite amount"),
        (10**25, "is not a finite amount"),
        ("", "is not a decimal number"),
        ("$5", "is not a decimal number"),
        ("1,000", "is not a decimal number"),
    ],
)
def test_what_is_no_amount_is_refused(amount: str | int | Decimal, reason: str) -> None:
    with pytest.raises(AmountError) as refusal:
        to_pico(amount)
    assert reason in str(refusal.value)


@given(st.integers(-(10**30), 10**30), st.integers(1, 10**12))
def test_division_rounds_like_the_decimal_standard(numerator: int, denominator: int) -> None:
    quotient = divide_half_even(numerator, denominator)
    with localcontext(prec=100):
        # Exact to far more digits than a tie of these operands could hide behind.
        exact = Decimal(numerator) / Decimal(denominator)
        assert quotient == exact.quantize(Decimal(1), ROUND_HALF_EVEN)


@given(st.integers(-(10**30), 10**30), st.integers(1, 10**12))
def test_a_tie_goes_to_the_even_one(whole: int, half: int) -> None:
    """A half of an even denominator is exactly in the middle."""
    quotient = divide_half_even((2 * whole + 1) * half, 2 * half)
    assert quotient % 2 == 0
    assert abs(2 * quotient - (2 * whole + 1)) == 1


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9))
def test_plain_text_spells_the_same_number_without_an_exponent(value: Decimal) -> None:
    text = plain(value)
    assert Decimal(text) == value
    assert "e" not in text.lower()
    assert text == "0" or not text.endswith(".")
    assert "." not in text or not text.endswith("0")


@pytest.mark.parametrize(
    ("value", "text"),
    [("9e-8", "0.00000009"), ("9E+3", "9000"), ("100", "100"), ("1.50", "1.5"), ("0.00", "0"), ("-0.0", "0")],
)
def test_plain_texts(value: str, text: str) -> None:
    assert plain(Decimal(value)) == text
