"""A charge model is a file, a registry line and a golden example: these are the examples, worked by hand."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from metering.money import to_text
from metering.pricing.compiler import compile_book
from metering.pricing.schema import CHARGE_MODELS
from metering.rating import charge_models
from metering.rating.charge_models import REGISTRY
from metering.rating.engine import Rater
from metering.rating.rating import Rating, Unpriced
from tests.rating.goldens import MOMENT
from tests.rating.price_books import book_of
from tests.rating.usages import Usage

Line = dict[str, Any]

GPU: Line = {"charge": "C", "meter": "gpu_seconds", "per": "hour", "rate": "5.60"}
TOKENS: Line = {"charge": "C", "meter": "prompt_tokens", "per": "1M tokens", "accept": ["unusual_rate"]}
TIERS: list[Line] = [
    TOKENS | {"up_to": "32K", "rate": "1.08"},
    TOKENS | {"above": "32K", "up_to": "128K", "rate": "2.16"},
]
VOLUME = [line | {"model": "volume"} for line in TIERS]
GRADUATED = [line | {"model": "graduated"} for line in TIERS]
MESSAGE: Line = {"charge": "C", "model": "flat", "per": "message", "rate": "0.020"}
PERCENTAGE: Line = {"charge": "C", "model": "percentage", "per": "task", "percent": "7.5"}
LIMITED: Line = PERCENTAGE | {"minimum": "0.50", "maximum": "2.00"}
DYNAMIC: Line = {"charge": "C", "model": "dynamic", "per": "task", "minimum": "1.44", "maximum": "2.63"}
NO_COST: Line = {"charge": "C", "model": "dynamic", "per": "task", "default": "1.19"}

# Charge model: its lines, usage, and the cost or the meter without a price.
EXAMPLES: dict[str, list[tuple[list[Line], Usage, str]]] = {
    "per_unit": [
        ([TOKENS | {"rate": "1.08"}], {"prompt_tokens": 100_001}, "0.108001080000"),
        ([GPU], {"seconds": 1}, "0.001555555556"),
        ([GPU], {"seconds": Decimal("0.5"), "num_gpus": 8}, "0.006222222222"),
        ([GPU | {"per": "second", "rate": "0.0000000000005"}], {"seconds": 1}, "0.000000000000"),
        ([GPU | {"per": "second", "rate": "0.0000000000005"}], {"seconds": 3}, "0.000000000002"),
    ],
    "flat": [
        ([MESSAGE], {}, "0.020000000000"),
        ([MESSAGE], {"requests": 3}, "0.060000000000"),
        ([MESSAGE], {"requests": 0}, "0.000000000000"),
    ],
    "volume": [
        (VOLUME, {"prompt_tokens": 32_000}, "0.034560000000"),
        (VOLUME, {"prompt_tokens": 32_001}, "0.069122160000"),
        (VOLUME, {"prompt_tokens": 128_000}, "0.276480000000"),
        (VOLUME, {"prompt_tokens": 128_001}, "unpriced: prompt_tokens"),
    ],
    "graduated": [
        (GRADUATED, {"prompt_tokens": 32_000}, "0.034560000000"),
        (GRADUATED, {"prompt_tokens": 32_001}, "0.034562160000"),
        (GRADUATED, {"prompt_tokens": 128_000}, "0.241920000000"),
        (GRADUATED, {"prompt_tokens": 128_001}, "unpriced: prompt_tokens"),
    ],
    "package": [
        ([{"charge": "C", "model": "package", "meter": "images", "per": "5 URLs", "rate": "0.0096"}],
         {"images": quantity}, cost)
        for quantity, cost in (
            (0, "0.000000000000"), (1, "0.009600000000"), (5, "0.009600000000"), (6, "0.019200000000"))
    ] + [
        ([GPU | {"model": "package", "per": "10 minutes", "rate": "1"}], {"seconds": Decimal("600.001")},
         "2.000000000000"),
    ],
    "percentage": [
        ([PERCENTAGE], {"upstream_cost_usd": Decimal("0.10")}, "0.107500000000"),
        ([PERCENTAGE], {"upstream_cost_usd": Decimal("0.000000000001")}, "0.000000000001"),
        ([PERCENTAGE], {}, "unpriced: upstream_cost_usd"),
        ([LIMITED], {"upstream_cost_usd": Decimal("0.10")}, "0.500000000000"),
        ([LIMITED], {"upstream_cost_usd": 1}, "1.075000000000"),
        ([LIMITED], {"upstream_cost_usd": 2}, "2.000000000000"),
    ],
    "dynamic": [
        ([DYNAMIC], {"upstream_cost_usd": 0}, "1.440000000000"),
        ([DYNAMIC], {"upstream_cost_usd": Decimal("1.4400000000005")}, "1.440000000000"),
        ([DYNAMIC], {"upstream_cost_usd": Decimal(2)}, "2.000000000000"),
        ([DYNAMIC], {"upstream_cost_usd": 3}, "2.630000000000"),
        ([DYNAMIC], {}, "unpriced: upstream_cost_usd"),
        ([NO_COST], {}, "1.190000000000"),
        ([NO_COST], {"upstream_cost_usd": Decimal("0.5")}, "0.500000000000"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("model", sorted(REGISTRY))
def test_each_charge_model_prices_its_examples(model: str) -> None:
    for lines, usage, expected in EXAMPLES[model]:
        assert {line.get("model", "per_unit") for line in lines} == {model}
        result = Rater(compile_book(book_of(lines))).rate("m", usage, MOMENT)
        if isinstance(result, Unpriced):
            assert f"unpriced: {result.meter}" == expected, usage
        else:
            assert to_text(result.cost_pico) == expected, usage


def test_the_registry_the_grammar_and_the_examples_name_the_same_charge_models() -> None:
    assert set(REGISTRY) == set(CHARGE_MODELS) == set(EXAMPLES)


def test_each_file_of_the_room_is_a_registered_charge_model_or_what_all_compute_with() -> None:
    assert charge_models.__file__ is not None
    files = {path.stem for path in Path(charge_models.__file__).parent.glob("*.py")}
    assert files - {"__init__", "price"} == set(REGISTRY)
    for name, price in REGISTRY.items():
        assert price.__module__ == f"{charge_models.__name__}.{name}"


def test_each_charge_model_has_several_examples() -> None:
    assert all(len(examples) >= 3 for examples in EXAMPLES.values())


@pytest.mark.parametrize(("tokens", "slices"), [(1, [1]), (32_000, [32_000]), (32_001, [32_000, 1])])
def test_a_graduated_tier_that_is_not_reached_is_no_item(tokens: int, slices: list[int]) -> None:
    result = Rater(compile_book(book_of(GRADUATED))).rate("m", {"prompt_tokens": tokens}, MOMENT)
    assert isinstance(result, Rating)
    assert [item.quantity for item in result.line_items] == slices


@pytest.mark.parametrize("model", ["percentage", "dynamic"])
def test_our_own_cost_is_not_in_the_line_items(model: str) -> None:
    line = {"percentage": PERCENTAGE, "dynamic": DYNAMIC}[model]
    result = Rater(compile_book(book_of([line]))).rate("m", {"upstream_cost_usd": Decimal("2.5")}, MOMENT)
    assert isinstance(result, Rating)
    [item] = result.line_items
    assert item.quantity == 1
    assert "2.5," not in item.as_json() or model == "dynamic"
    assert "upstream_cost_usd" not in result.unbilled
