"""The product and a naive oracle agree on random price books and random usage, to the last digit."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from fractions import Fraction
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering.errors import InvalidUsage
from metering.money import PICO_PER_USD
from metering.pricing.compiler import compile_book
from metering.rating.engine import Rater
from metering.rating.rating import Rating, Unpriced
from metering.usage.normalize import normalize
from tests.rating import oracle
from tests.rating.goldens import MOMENT, documents, goldens, rater
from tests.rating.price_books import PARTS, VOCABULARY, book_of, moments, price_books
from tests.rating.usages import Usage, shapes, spoilt, tokens, usages

Documents = dict[str, Any]
# What the product and the oracle say, in the same words.
Answer = tuple[str, object]
thorough = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
brief = settings(thorough, max_examples=60)


def _asked(rated: Rater, usage: Usage, moment: datetime, *, failed: bool = False) -> Answer:
    try:
        result = rated.rate("m", usage, moment, failed=failed)
    except InvalidUsage:
        return "invalid", None
    if isinstance(result, Unpriced):
        return "unpriced", result.meter
    return "priced", [(item.term.meter, item.amount_pico) for item in result.line_items]


def _expected(documents: Documents, usage: Usage, moment: datetime, *, failed: bool = False) -> Answer:
    try:
        items = oracle.price(documents, "m", usage, moment, failed=failed)
    except oracle.BadUsage:
        return "invalid", None
    except oracle.NoPrice as reason:
        return "unpriced", reason.meter
    return "priced", [(item.meter, item.amount) for item in items]


def test_the_oracle_knows_every_golden() -> None:
    for golden in goldens():
        assert _oracle_real(golden.model, golden.usage) == (
            ("priced", int(Fraction(golden.cost_usd) * PICO_PER_USD))
            if golden.cost_usd is not None
            else ("unpriced", golden.meter)
        ), golden


@thorough
@given(price_books(), st.lists(st.one_of(usages(), usages(), spoilt()), min_size=6, max_size=6), st.data())
def test_product_and_oracle_agree_on_every_book_and_usage(
    book: Documents, events: list[Usage], data: st.DataObject
) -> None:
    rated = Rater(compile_book(book))
    for usage in events:
        moment, failed = data.draw(moments()), data.draw(st.booleans())
        answer = _asked(rated, usage, moment, failed=failed)
        assert answer == _expected(book, usage, moment, failed=failed), (
            f"{usage} by {book['providers/p.yml']}"
        )


@brief
@given(price_books(), usages(), st.randoms(use_true_random=False), moments())
def test_rating_is_deterministic_and_blind_to_the_order_of_fields(
    book: Documents, usage: Usage, random: Random, moment: datetime
) -> None:
    names = list(usage)
    random.shuffle(names)
    shuffled = {name: usage[name] for name in names}
    before = dict(usage)
    first, again = Rater(compile_book(book)), Rater(compile_book(book))
    answer = _asked(first, usage, moment)
    assert answer == _asked(first, usage, moment) == _asked(again, shuffled, moment)
    assert usage == before, "rating changed the usage it was given"


@brief
@given(price_books(), usages(), moments())
def test_cost_is_the_sum_of_items_each_within_half_a_picodollar(
    book: Documents, usage: Usage, moment: datetime
) -> None:
    try:
        result = Rater(compile_book(book)).rate("m", usage, moment)
        exact = oracle.price(book, "m", usage, moment)
    except (InvalidUsage, oracle.BadUsage, oracle.NoPrice):
        return
    assert isinstance(result, Rating)
    assert result.cost_pico == sum(item.amount_pico for item in result.line_items)
    for item, expected in zip(result.line_items, exact, strict=True):
        apart = abs(expected.exact - item.amount_pico)
        assert apart <= Fraction(1, 2), item
        assert apart < Fraction(1, 2) or item.amount_pico % 2 == 0, f"a tie goes to the even one: {item}"


@brief
@given(tokens(), st.sets(st.sampled_from(sorted(PARTS["prompt_tokens"]))), st.data())
def test_the_priced_parts_of_the_input_add_up_to_the_prompt(
    counts: tuple[int, int, int, int], own_rates: set[str], data: st.DataObject
) -> None:
    """No cached or audio token is charged twice and none is lost, whichever parts have rates of their own."""
    prompt, read, write, _ = counts
    line = {"per": "token", "rate": "1", "accept": ["cached_above_input"]}
    charges = [line | {"charge": meter, "meter": meter} for meter in ("prompt_tokens", *sorted(own_rates))]
    rated = Rater(compile_book(book_of(charges)))
    audio = data.draw(st.integers(0, prompt - read - write))
    for usage in shapes(*counts):
        result = rated.rate("m", usage | {"audio_input_tokens": audio}, MOMENT)
        assert isinstance(result, Rating)
        assert sum(item.quantity for item in result.line_items) == prompt, (usage, result.line_items)
        assert result.cost_pico == prompt * PICO_PER_USD


@brief
@given(price_books(), tokens(), moments())
def test_three_shapes_are_one_usage(
    book: Documents, counts: tuple[int, int, int, int], moment: datetime
) -> None:
    rated = Rater(compile_book(book))
    answers = {str(_asked(rated, usage, moment)) for usage in shapes(*counts)}
    assert len(answers) == 1, answers
    vocabulary = compile_book(book).vocabulary
    words = ("prompt_tokens", "completion_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    for usage in shapes(*counts):
        quantities = normalize(usage, vocabulary)
        prompt, read, write, completion = counts
        assert tuple(quantities.get(word, 0) for word in words) == (prompt, completion, read, write), usage
    assert VOCABULARY["meters"].keys() == vocabulary.meters.keys()


@pytest.mark.parametrize("model", sorted({golden.model for golden in goldens()}))
def test_the_real_book_and_the_oracle_agree_on_spoilt_goldens(model: str) -> None:
    """Each golden with every number one more, one less, fractional, negative, a text, null."""
    for golden in goldens():
        if golden.model != model:
            continue
        for name, value in golden.usage.items():
            if isinstance(value, dict | list | str | bool):
                continue
            number = Fraction(str(value))
            for other in (int(number) + 1, max(int(number) - 1, 0), -1, "1", None, True):
                usage = {**golden.usage, name: other}
                assert _real(model, usage) == _oracle_real(model, usage), usage


def _real(model: str, usage: Mapping[str, object]) -> Answer:
    try:
        result = rater().rate(model, usage, MOMENT)
    except InvalidUsage:
        return "invalid", None
    if isinstance(result, Unpriced):
        return "unpriced", result.meter
    return "priced", result.cost_pico


def _oracle_real(model: str, usage: Mapping[str, object]) -> Answer:
    try:
        items = oracle.price(documents(), model, usage, MOMENT)
    except oracle.BadUsage:
        return "invalid", None
    except oracle.NoPrice as reason:
        return "unpriced", reason.meter
    return "priced", sum(item.amount for item in items)
