"""Every golden event costs what it says, to the last digit."""

from __future__ import annotations

from collections import Counter

from metering.rating.rating import Rating, Unpriced
from tests.rating.goldens import MOMENT, Golden, book, goldens, outcome, rater


def _report(wrong: list[str]) -> str:
    return f"{len(wrong)} of {len(goldens())} goldens differ:\n" + "\n".join(wrong[:20])


def _rate(golden: Golden) -> Rating | Unpriced:
    return rater().rate(golden.model, golden.usage, MOMENT)


def test_every_golden_event_costs_what_it_says_to_the_last_digit() -> None:
    wrong = [
        f"line {golden.line}: {golden.model} {dict(golden.usage)}: {found}, not {golden.expected}"
        for golden in goldens()
        if (found := outcome(_rate(golden))) != golden.expected
    ]
    assert not wrong, _report(wrong)


def test_the_goldens_price_every_model_of_the_book_but_the_plans() -> None:
    priced = {golden.model for golden in goldens() if golden.cost_usd is not None}
    assert set(book().models) - priced == set(book().plans)


def test_line_items_add_up_to_the_cost_and_none_is_negative() -> None:
    for golden in goldens():
        result = _rate(golden)
        if isinstance(result, Rating):
            assert sum(item.amount_pico for item in result.line_items) == result.cost_pico, golden
            assert all(item.amount_pico >= 0 and item.quantity > 0 for item in result.line_items), golden


def test_each_meter_of_a_golden_is_priced_once_or_once_per_tier() -> None:
    for golden in goldens():
        result = _rate(golden)
        if isinstance(result, Rating):
            meters = Counter(item.term.meter for item in result.line_items)
            assert set(meters.values()) <= {1}, f"{golden}: {meters}"


def test_an_unpriced_golden_says_why_and_names_the_meter_in_the_reason() -> None:
    for golden in goldens():
        result = _rate(golden)
        if isinstance(result, Unpriced):
            assert result.meter is not None, golden
            assert result.meter in result.reason, f"{golden}: {result.reason}"


def test_the_three_token_shapes_of_a_golden_cost_the_same() -> None:
    """Chat completions, responses and messages say the same thing in other words."""
    tried = 0
    for golden in goldens():
        if "prompt_tokens" not in golden.usage or "input_tokens" in golden.usage:
            continue
        usage = dict(golden.usage)
        if isinstance(usage.get("prompt_tokens_details"), dict):
            continue
        prompt, completion = int(str(usage.pop("prompt_tokens"))), usage.pop("completion_tokens", None)
        read, write = (
            int(str(usage.get(name) or 0))
            for name in ("cache_read_input_tokens", "cache_creation_input_tokens")
        )
        rest = usage | ({} if completion is None else {"output_tokens": completion})
        messages = rest | {"input_tokens": prompt - read - write}
        responses = {name: value for name, value in rest.items() if name != "cache_read_input_tokens"}
        responses |= {"input_tokens": prompt, "input_tokens_details": {"cached_tokens": read}}
        for shape in (messages, responses):
            result = rater().rate(golden.model, shape, MOMENT)
            assert outcome(result) == golden.expected, f"line {golden.line} as {shape}"
        tried += 1
    assert tried > 300, f"only {tried} goldens have tokens"
