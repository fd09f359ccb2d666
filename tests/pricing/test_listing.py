"""The public price list, made from the lines that price usage, is the catalogue's to the letter."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from metering.pricing.book import RateCard
from metering.pricing.compiler import compile_book
from metering.pricing.listing import discount, pricing, public_entry
from tests.rating.goldens import GOLDEN, book, documents
from tests.rating.price_books import book_of

Entry = dict[str, Any]
CATALOGUE: dict[str, Entry] = json.loads((GOLDEN / "catalogue.json").read_text(encoding="utf-8"))
# Sold beside the catalogue's tables.
BESIDE = {"gpu-cloud:h100-nvl", "gpu-cloud:rtx-4090", "hosted-agent-basic", "qwen3-5-9b", "qwen3-rerank"}
WORDS = ["prompt", "completion", "image", "request", "input_cache_read"]
PER_TOKENS = {"per 1M tokens": 10**6, "per 1k tokens": 1000, "per 1K tokens": 1000}


def _entry(model: str) -> Entry:
    prices = book().models[model]
    return public_entry(prices, prices.cards[0])


def _card(charges: list[dict[str, Any]]) -> RateCard:
    return compile_book(book_of(charges)).models["m"].cards[0]


def _of_body(model: str) -> Entry:
    """The model's body in the documents."""
    for document in documents().values():
        if isinstance(document, dict) and model in document.get("models", {}):
            return dict(document["models"][model])
    raise AssertionError(model)


def test_the_book_has_the_whole_catalogue_and_what_is_sold_beside_it() -> None:
    assert set(book().models) == set(CATALOGUE) | BESIDE
    assert len(CATALOGUE) == 79


@pytest.mark.parametrize("model", sorted(CATALOGUE))
def test_every_row_stands_in_the_catalogues_order_and_words(model: str) -> None:
    assert _entry(model)["pricing_rows"] == CATALOGUE[model]["rows"]


@pytest.mark.parametrize("model", sorted(CATALOGUE))
def test_every_fact_is_the_catalogues(model: str) -> None:
    entry = _entry(model)
    facts = {name: entry.get(name) for name in ("name", "category", "endpoint", "context_window")}
    assert facts | {"provider": entry["owned_by"]} == {
        name: fact for name, fact in CATALOGUE[model].items() if name != "rows"
    }


@pytest.mark.parametrize("model", sorted(CATALOGUE))
def test_the_discount_is_the_largest_saving_of_the_rows(model: str) -> None:
    """Computed again from the texts of the rows, as a customer would."""
    savings = [
        1 - Fraction(row["rate"].removeprefix("$")) / Fraction(row["list_rate"].removeprefix("$"))
        for row in CATALOGUE[model]["rows"]
        if "list_rate" in row
    ]
    percent = round(max(savings, default=Fraction(0)) * 100)
    expected = {"label": f"Save up to {percent}%", "percent": percent} if percent else None
    assert _entry(model).get("discount") == expected


def test_some_models_are_discounted_by_different_percentages() -> None:
    found = {entry["discount"]["percent"] for model in CATALOGUE if "discount" in (entry := _entry(model))}
    assert len(found) >= 3, found


@pytest.mark.parametrize("model", sorted(book().models))
def test_unit_prices_are_plain_decimal_strings_in_the_words_of_the_list(model: str) -> None:
    given = _entry(model)["pricing"]
    tiers = given if isinstance(given, list) else [given]
    assert list(tiers[0]) == WORDS
    for tier in tiers:
        for word, text in tier.items():
            if word != "min_context":
                assert re.fullmatch(r"0|[1-9]\d*|\d+\.\d*[1-9]", text), f"{word}: {text!r}"


@pytest.mark.parametrize("model", sorted(CATALOGUE))
def test_unit_prices_are_those_of_the_rows(model: str) -> None:
    """Of the catalogue's texts: the first row and the last of a tiered model, per token."""
    rows = [
        row
        for row in CATALOGUE[model]["rows"]
        if re.fullmatch(r"(Standard )?(In|Out)put( Tokens)?( \(text.*\))?", row["charge"])
        and any(row["spec"].endswith(per) for per in PER_TOKENS)
    ]
    given = _entry(model)["pricing"]
    tiers = given if isinstance(given, list) else [given]
    for word, side in (("prompt", "Input"), ("completion", "Output")):
        texts = [row for row in rows if side in row["charge"]]
        if texts:
            for tier, row in zip(tiers, (texts[0], texts[-1]), strict=False):
                size = next(units for per, units in PER_TOKENS.items() if row["spec"].endswith(per))
                assert Fraction(tier[word]) == Fraction(row["rate"].removeprefix("$")) / size, row


@pytest.mark.parametrize("model", sorted(CATALOGUE))
def test_a_context_tiered_model_lists_its_cheapest_and_its_highest_tier(model: str) -> None:
    edges = {
        str(line.get("above", 0))
        for line in _of_body(model)["charges"]
        if line.get("model") == "volume" and line.get("tier_by", line["meter"]) == "prompt_tokens"
    }
    given = _entry(model)["pricing"]
    assert isinstance(given, list) == (len(edges) > 1)
    if isinstance(given, list):
        cheapest, highest = given
        starts = {int(edge.replace("K", "000").replace("M", "000000")) for edge in edges}
        assert highest["min_context"] == max(starts)
        assert "min_context" not in cheapest
        for word in ("prompt", "completion"):
            assert Decimal(cheapest[word]) < Decimal(highest[word])


def test_the_prices_that_the_rules_spell_out() -> None:
    assert _entry("qwen3-5-flash")["pricing"] == {
        "prompt": "0.00000009",
        "completion": "0.000000368",
        "image": "0",
        "request": "0",
        "input_cache_read": "0",
    }
    assert _entry("qwen3-max")["pricing"] == [
        {
            "prompt": "0.00000108",
            "completion": "0.00000552",
            "image": "0",
            "request": "0",
            "input_cache_read": "0",
        },
        {"prompt": "0.0000027", "completion": "0.0000138", "input_cache_read": "0", "min_context": 128000},
    ]
    assert _entry("nova-lite-1-0")["pricing"]["input_cache_read"] == "0.00000003864", "44% off 0.069"
    assert _entry("qwen3-5-9b")["pricing"]["input_cache_read"] == "0.000000045"
    assert _entry("hunyuan-image-3")["pricing"]["image"] == "0.13"
    assert _entry("deepseek-prover-v2")["pricing"]["request"] == "0.02"
    assert _entry("qwen3-max-preview")["discount"] == {"label": "Save up to 20%", "percent": 20}
    assert "discount" not in _entry("deepseek-v3-2")


def test_a_plan_is_listed_with_its_fee_and_what_it_includes() -> None:
    assert _entry("hosted-agent-basic")["pricing_rows"] == [
        {"charge": "Monthly fee", "spec": "per month", "rate": "$15.00"},
        {"charge": "Included", "spec": "messages per month", "rate": "10,000"},
    ]
    plan = book().plans["hosted-agent-basic"]
    assert (plan.monthly_fee_pico, plan.included) == (15 * 10**12, {"messages": 10_000})


LINE: Entry = {"charge": "C", "meter": "images", "per": "image", "rate": "0.50"}


@pytest.mark.parametrize(
    ("line", "spec", "rate"),
    [
        (LINE, "per image", "$0.50"),
        (LINE | {"spec": "fixed"}, "fixed", "$0.50"),
        (LINE | {"spec": "about {per}s", "text": "only ${rate}!"}, "about images", "only $0.50!"),
        (LINE | {"model": "volume", "up_to": "32K"}, "≤32K, per image", "$0.50"),
        (LINE | {"model": "volume", "above": 0, "up_to": 25}, "≤25, per image", "$0.50"),
        (LINE | {"model": "volume", "up_to": "1M", "spec": "to {up_to}: {tier}"}, "to 1M: ≤1M", "$0.50"),
        ({"charge": "C", "rates": {"images": "1", "videos": "2.0"}, "per": "x", "text": "{images}/{videos}"},
         "per x", "1/2.0"),
        ({"charge": "C", "model": "dynamic", "per": "task", "minimum": "1.0", "maximum": "2"},
         "per task", "$1.0 - $2"),
        ({"charge": "C", "model": "dynamic", "per": "task", "default": "1.19"}, "per task", "~$1.19"),
        ({"charge": "C", "model": "percentage", "per": "task", "percent": "5.5"}, "per task", "cost + 5.5%"),
        ({"charge": "C", "spec": "limits", "note": "5s {at most}"}, "limits", "5s {at most}"),
    ],
)  # fmt: skip
def test_the_texts_of_a_row(line: Entry, spec: str, rate: str) -> None:
    [row] = _card([line]).rows
    assert (row.charge, row.spec, row.rate) == ("C", spec, rate)


def test_an_open_tier_says_what_it_is_above() -> None:
    tiers = [LINE | {"model": "volume", "up_to": "32K"}, LINE | {"model": "volume", "above": "32K"}]
    assert [row.spec for row in _card(tiers).rows] == ["≤32K, per image", ">32K, per image"]


def test_an_unlisted_line_prices_and_is_not_shown() -> None:
    card = _card([LINE | {"listed": False}])
    assert (len(card.charges), card.rows) == (1, ())


def test_a_discount_too_small_to_name_is_none() -> None:
    assert discount(_card([LINE | {"list_rate": "0.50"}])) is None
    assert discount(_card([LINE | {"list_rate": "0.501"}])) is None
    assert discount(_card([LINE | {"list_rate": "1.00"}])) == {"label": "Save up to 50%", "percent": 50}


def test_a_third_of_a_cent_is_listed_without_an_exponent() -> None:
    tiny = {"charge": "C", "meter": "prompt_tokens", "per": "3M tokens", "rate": "0.000000001"}
    given = pricing(_card([tiny]))
    assert isinstance(given, dict)
    assert str(given["prompt"]).startswith("0.0000000000000003333")
