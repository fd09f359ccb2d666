"""What a rating says beside the cost: items, labels, tools, the unbilled; and what failed events cost."""

from __future__ import annotations

import json
from decimal import Decimal, localcontext
from typing import Any

import pytest

from metering.errors import InvalidUsage
from metering.money import to_text
from metering.pricing.compiler import compile_book
from metering.rating.engine import Rater
from metering.rating.rating import Rating, Unpriced
from metering.usage.normalize import LIMIT
from tests.rating.goldens import MOMENT, goldens, outcome, rater
from tests.rating.price_books import book_of
from tests.rating.usages import Usage

Line = dict[str, Any]

IMAGE: Line = {"charge": "Img", "meter": "images", "per": "image", "rate": "0.50"}
FEE: Line = {"charge": "Fee", "model": "flat", "per": "request", "rate": "0.10"}
INPUT: Line = {"charge": "In", "meter": "prompt_tokens", "per": "1M tokens", "rate": "1.00"}
OFF: Line = {"charge": "Off", "meter": "cache_read_input_tokens", "percent_off": "44", "spec": "off"}


def rate(charges: list[Line], usage: Usage, *, failed: bool = False, **facts: object) -> Rating | Unpriced:
    """Usage by a book of one model."""
    return Rater(compile_book(book_of(charges, **facts))).rate("m", usage, MOMENT, failed=failed)


def priced(model: str, usage: Usage) -> Rating:
    """Usage by the real book."""
    result = rater().rate(model, usage, MOMENT)
    assert isinstance(result, Rating), result
    return result


def cost(charges: list[Line], usage: Usage, *, failed: bool = False, **facts: object) -> str:
    """The cost, or the meter without a price."""
    return outcome(rate(charges, usage, failed=failed, **facts))


def test_a_line_item_names_charge_meter_quantity_rate_amount_and_tier() -> None:
    result = priced("qwen3-max", {"prompt_tokens": 100_001, "completion_tokens": 13})
    assert [json.loads(item.as_json(), parse_float=Decimal) for item in result.line_items] == [
        {
            "charge": "Input",
            "meter": "prompt_tokens",
            "quantity": 100_001,
            "amount": Decimal("0.21600216"),
            "rate": Decimal("2.16"),
            "per": "1M tokens",
            "label": "32K-128K",
        },
        {
            "charge": "Output",
            "meter": "completion_tokens",
            "quantity": 13,
            "amount": Decimal("0.00014352"),
            "rate": Decimal("11.04"),
            "per": "1M tokens",
            "label": "32K-128K",
        },
    ]
    assert result.pricing_tier_label == "32K-128K"


def test_no_line_item_of_any_golden_has_an_exponent_and_all_are_json() -> None:
    for golden in goldens():
        result = rater().rate(golden.model, golden.usage, MOMENT)
        for item in result.line_items if isinstance(result, Rating) else []:
            given = json.loads(item.as_json(), parse_float=str, parse_int=str)
            numbers = given["quantity"] + given["amount"] + given["rate"]
            assert set(numbers) <= set("0123456789."), given
            assert to_text(item.amount_pico).rstrip("0").rstrip(".") == given["amount"]


@pytest.mark.parametrize(
    ("model", "usage", "label"),
    [
        ("deepseek-v3-2", {"prompt_tokens": 1}, None),
        ("qwen3-max", {"prompt_tokens": 32_000}, "≤32K"),
        ("qwen3-max", {"completion_tokens": 1, "prompt_tokens": 32_001}, "32K-128K"),
        ("pixverse-v5", {"resolution": "720p", "duration_seconds": 5, "videos": 1}, "720p (5s)"),
        ("exa-search", {"num_searches": 1, "num_results": 26}, "25-100"),
    ],
)
def test_the_label_is_the_tier_or_the_variant(model: str, usage: Usage, label: str | None) -> None:
    assert priced(model, usage).pricing_tier_label == label


def test_a_line_may_have_a_label_of_its_own() -> None:
    result = rate([IMAGE | {"label": "mine", "when": {"quality": "low"}}], {"images": 1, "quality": "low"})
    assert isinstance(result, Rating)
    assert result.pricing_tier_label == "mine"


def test_the_label_of_an_event_is_the_first_that_an_item_has() -> None:
    lines = [INPUT, IMAGE | {"when": {"quality": "low"}}, FEE | {"label": "last"}]
    result = rate(lines, {"prompt_tokens": 1, "images": 1, "quality": "low"})
    assert isinstance(result, Rating)
    assert [item.term.label for item in result.line_items] == [None, "Img", "last"]
    assert result.pricing_tier_label == "Img"


@pytest.mark.parametrize(("off", "label"), [(OFF, "≤10"), (OFF | {"label": "mine"}, "mine")])
def test_a_discounted_part_has_the_label_of_its_whole_or_its_own(off: Line, label: str) -> None:
    whole = INPUT | {"model": "volume", "up_to": 10}
    result = rate([off, whole], {"prompt_tokens": 5, "cache_read_input_tokens": 5})
    assert isinstance(result, Rating)
    assert result.pricing_tier_label == label


def test_tools_are_broken_down_by_invocations_unit_cost_and_cost() -> None:
    usage = {"prompt_tokens": 10, "tool_usage": {"web_search": 2, "code_interpreter": 3}}
    assert priced("mistral-small-4", usage).tool_breakdown() == [
        ("web_search", 2, "0.084", 168 * 10**9),
        ("code_interpreter", 3, "0.084", 252 * 10**9),
    ]
    assert priced("mistral-small-4", {"prompt_tokens": 10}).tool_breakdown() == []


def test_numbers_that_no_charge_names_are_unbilled_and_zeros_are_not() -> None:
    usage = {
        "prompt_tokens": 10,
        "total_tokens": 10,
        "cache_read_input_tokens": 4,
        "reasoning_tokens": 3,
        "images": 0,
        "frames": 2,
        "tool_usage": {"other": 1},
        "mode": "x",
    }
    assert priced("deepseek-v3-2", usage).unbilled == {"reasoning_tokens": 3, "frames": 2, "tools.other": 1}


def test_what_charges_name_indirectly_is_billed() -> None:
    """Parts and sums of priced meters, factors, what picks a tier or a variant."""
    for model, usage in (
        ("gpu-cloud:h100-nvl", {"seconds": 1, "num_gpus": 2}),
        ("qwen3-rerank", {"prompt_tokens": 5, "cache_read_input_tokens": 2, "total_tokens": 5}),
        ("exa-search", {"num_searches": 1, "num_results": 26}),
        ("qwen3-5-omni-plus", {"prompt_tokens": 5, "audio_input_tokens": 5, "cache_read_input_tokens": 0}),
        ("pixverse-v5", {"resolution": "720p", "duration_seconds": 5, "videos": 1}),
        ("manus", {"mode": "max", "upstream_cost_usd": 7}),
    ):
        assert priced(model, usage).unbilled == {}, model


def test_an_unknown_model_is_unpriced_with_all_its_numbers_kept() -> None:
    result = rater().rate("gpt-99", {"input_tokens": 3, "cache_read_input_tokens": 1}, MOMENT)
    assert isinstance(result, Unpriced)
    assert (result.meter, result.reason) == (None, "unknown model 'gpt-99'")
    assert result.quantities == {"prompt_tokens": 4, "cache_read_input_tokens": 1} == result.unbilled


def test_bad_usage_is_refused_also_for_an_unknown_model() -> None:
    with pytest.raises(InvalidUsage):
        rater().rate("gpt-99", {"prompt_tokens": -1}, MOMENT)


def test_the_reason_names_what_would_have_picked_a_line() -> None:
    result = rater().rate("pixverse-v5", {"resolution": "1080p", "duration_seconds": 8, "videos": 1}, MOMENT)
    assert isinstance(result, Unpriced)
    assert result.reason == "no rate for videos=1 with duration_seconds=8, resolution=1080p"
    beyond = rater().rate("qwen3-max", {"prompt_tokens": 300_000}, MOMENT)
    assert isinstance(beyond, Unpriced)
    assert beyond.reason == "no rate for prompt_tokens=300000 with prompt_tokens=300000"


@pytest.mark.parametrize(
    ("charges", "usage", "expected"),
    [
        ([FEE], {}, "0.000000000000"),
        ([FEE], {"requests": 1}, "0.100000000000"),
        ([FEE, INPUT], {"prompt_tokens": 0}, "0.000000000000"),
        ([FEE, INPUT], {"prompt_tokens": 1}, "0.100001000000"),
        ([FEE, IMAGE], {"images": 1}, "0.600000000000"),
        ([IMAGE], {"images": 2}, "1.000000000000"),
        ([{"charge": "T", "model": "dynamic", "per": "task", "default": "2"}], {}, "0.000000000000"),
        ([{"charge": "T", "model": "dynamic", "per": "task", "default": "2"}], {"upstream_cost_usd": 1},
         "1.000000000000"),
    ],
)  # fmt: skip
def test_a_failed_event_costs_what_was_done_and_nothing_where_nothing_was(
    charges: list[Line], usage: Usage, expected: str
) -> None:
    assert cost(charges, usage, failed=True) == expected


def test_percent_off_takes_the_rate_of_the_wholes_variant_and_tier() -> None:
    """One line of the whole applies to the part: never another variant's rate, never two."""
    fields = [
        INPUT | {"when": {"quality": name}, "rate": text} for name, text in (("low", "1"), ("high", "3"))
    ]
    usage = {"prompt_tokens": 100, "cache_read_input_tokens": 100, "quality": "high"}
    for when in ("high", ["low", "high"]):
        assert cost([*fields, OFF | {"when": {"quality": when}}], usage) == "0.000168000000"
    assert cost([*fields, OFF], usage) == "0.000168000000"
    only_low = OFF | {"when": {"quality": "low"}}
    assert cost([*fields, only_low], usage) == "unpriced: cache_read_input_tokens"
    tiers = [INPUT | {"model": "volume", "up_to": 10}, INPUT | {"model": "volume", "above": 10, "rate": "3"}]
    assert cost([*tiers, OFF], {"prompt_tokens": 11, "cache_read_input_tokens": 1}) == "0.000031680000"
    assert cost([*tiers, OFF], {"prompt_tokens": 10, "cache_read_input_tokens": 1}) == "0.000009560000"


def test_a_minimum_and_a_maximum_hold_the_whole_request_by_an_item_of_its_own() -> None:
    for images, expected in ((0, "0"), (1, "1.00"), (3, "1.50"), (4, "2.00"), (9, "2.00")):
        result = rate([IMAGE], {"images": images}, minimum="1.00", maximum="2.00")
        assert isinstance(result, Rating)
        assert result.cost_pico == Decimal(expected) * 10**12
        assert result.cost_pico == sum(item.amount_pico for item in result.line_items)
        limit = {1: ["Minimum per request"], 9: ["Maximum per request"]}.get(images, [])
        assert [item.term.charge for item in result.line_items[1:]] == limit


@pytest.mark.parametrize(("usage", "expected"), [
    ({"quality": None, "images": 1}, "unpriced: images"),
    ({"mode": None, "images": 1}, "0.500000000000"),
    ({"images": 1}, "0.500000000000"),
    ({"mode": "fast", "images": 1}, "unpriced: images"),
])  # fmt: skip
def test_null_takes_a_fields_default_like_a_field_that_is_absent(usage: Usage, expected: str) -> None:
    field = "quality" if "quality" in usage else "mode"
    assert cost([IMAGE | {"when": {field: "plain"}}], usage) == expected


@pytest.mark.parametrize(("usage", "expected"), [
    ({"images": 1}, "0.500000000000"),
    ({"images": 1, "num_gpus": Decimal("1.0")}, "0.500000000000"),
    ({"images": 1, "num_gpus": 2}, "unpriced: images"),
])  # fmt: skip
def test_a_meter_can_pick_a_variant_by_its_quantity_and_default(usage: Usage, expected: str) -> None:
    assert cost([IMAGE | {"when": {"num_gpus": 1}}], usage) == expected


def test_a_variants_number_is_the_quantity_whatever_the_field_was_called() -> None:
    by_tokens = [IMAGE | {"when": {"prompt_tokens": 5}}]
    assert cost(by_tokens, {"images": 1, "input_tokens": 3, "cache_read_input_tokens": 2}) == "0.500000000000"
    by_product = [IMAGE | {"when": {"gpu_seconds": 6}}]
    assert cost(by_product, {"images": 1, "seconds": 3, "num_gpus": 2}) == "0.500000000000"


def test_quantities_keep_all_their_digits_in_any_decimal_context() -> None:
    gpu = {"charge": "G", "meter": "gpu_seconds", "per": "second", "rate": "100000000000"}
    with localcontext(prec=5):
        result = rate([gpu], {"seconds": Decimal("123456789.123456789012345678"), "num_gpus": 7})
    assert isinstance(result, Rating)
    assert result.line_items[0].quantity == Decimal("864197523.864197523086419746")
    assert to_text(result.cost_pico) == "86419752386419752308.641974600000"


def test_a_product_beyond_every_limit_is_bad_usage_and_no_overflow() -> None:
    with pytest.raises(InvalidUsage) as refusal:
        rater().rate("gpu-cloud:h100-nvl", {"seconds": LIMIT - 1, "num_gpus": LIMIT - 1}, MOMENT)
    assert refusal.value.param == "seconds"


def test_parts_that_exceed_the_rest_of_their_whole_are_bad_usage() -> None:
    charges = [INPUT, OFF, INPUT | {"charge": "A", "meter": "audio_input_tokens"}]
    usage = {"prompt_tokens": 10, "cache_read_input_tokens": 6, "audio_input_tokens": 5}
    with pytest.raises(InvalidUsage) as refusal:
        rate(charges, usage)
    assert refusal.value.param == "prompt_tokens"


def test_cached_tokens_without_a_rate_of_their_own_are_plain_input() -> None:
    usage = {"input_tokens": 60, "cache_read_input_tokens": 30, "cache_creation_input_tokens": 10}
    assert cost([INPUT], usage) == "0.000100000000"
    assert cost([INPUT, OFF], usage) == "0.000086800000"
