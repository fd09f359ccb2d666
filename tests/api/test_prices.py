"""`GET /v1/prices`: the public price list, row by row as the catalogue has it; no key needed."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from functools import cache
from typing import Any

import pytest

from metering.pricing.book import PriceBook
from tests.api.live import Live, error_of, running
from tests.rating.goldens import GOLDEN

PLAIN = re.compile(r"(0|[1-9][0-9]*)(\.[0-9]*[1-9])?")


@cache
def catalogue() -> dict[str, dict[str, Any]]:
    models: dict[str, dict[str, Any]] = json.loads((GOLDEN / "catalogue.json").read_text(encoding="utf-8"))
    return models


def saving(rows: list[dict[str, str]]) -> int:
    """The largest saving of the rows against their list rates, in whole percent."""
    pairs = [(row["rate"], row["list_rate"]) for row in rows if "list_rate" in row]
    amounts = [(Decimal(rate.strip("$")), Decimal(listed.strip("$"))) for rate, listed in pairs]
    return round(max(((listed - rate) * 100 / listed for rate, listed in amounts), default=Decimal(0)))


@pytest.mark.parametrize("model", catalogue())
def test_a_model_s_rows_facts_and_discount_are_the_catalogue_s(live: Live, model: str) -> None:
    wanted = catalogue()[model]
    answer = live.http.get(f"/v1/prices/{model}")
    assert answer.status_code == 200
    entry = answer.json()
    assert entry["pricing_rows"] == wanted["rows"]
    assert (entry["id"], entry["object"], entry["owned_by"]) == (model, "model", wanted["provider"])
    facts = {name: entry.get(name) for name in ("name", "category", "endpoint", "context_window")}
    assert facts == {name: wanted[name] for name in facts}
    percent = saving(wanted["rows"])
    if percent:
        assert entry["discount"] == {"label": f"Save up to {percent}%", "percent": percent}
    else:
        assert "discount" not in entry


@pytest.mark.parametrize("model", [*catalogue(), "qwen3-rerank", "qwen3-5-9b", "gpu-cloud:rtx-4090"])
def test_pricing_has_plain_strings_in_one_object_or_two(live: Live, model: str) -> None:
    pricing = live.http.get(f"/v1/prices/{model}").json()["pricing"]
    base, *rest = pricing if isinstance(pricing, list) else [pricing]
    assert list(base) == ["prompt", "completion", "image", "request", "input_cache_read"]
    assert all(PLAIN.fullmatch(price) for price in base.values()), base
    if isinstance(pricing, list):
        (highest,) = rest
        assert list(highest) == ["prompt", "completion", "input_cache_read", "min_context"]
        assert isinstance(highest.pop("min_context"), int)
        assert all(PLAIN.fullmatch(price) for price in highest.values()), highest
        assert Decimal(highest["prompt"]) > Decimal(base["prompt"])


@pytest.mark.parametrize(
    ("model", "wanted"),
    [
        (
            "qwen3-max",
            [
                {
                    "prompt": "0.00000108",
                    "completion": "0.00000552",
                    "image": "0",
                    "request": "0",
                    "input_cache_read": "0",
                },
                {
                    "prompt": "0.0000027",
                    "completion": "0.0000138",
                    "input_cache_read": "0",
                    "min_context": 128_000,
                },
            ],
        ),
        (
            "qwen3-5-9b",
            {
                "prompt": "0.00000009",
                "completion": "0.00000013",
                "image": "0",
                "request": "0",
                "input_cache_read": "0.000000045",
            },
        ),
    ],
)
def test_pricing_of_a_tiered_and_of_a_cached_model(live: Live, model: str, wanted: object) -> None:
    assert live.http.get(f"/v1/prices/{model}").json()["pricing"] == wanted


def test_the_list_has_every_model_as_it_is_alone(live: Live) -> None:
    listed = live.http.get("/v1/prices").json()
    assert listed["object"] == "list"
    models = {entry["id"]: entry for entry in listed["data"]}
    assert list(models) == sorted(models)
    assert models.keys() > catalogue().keys()
    assert models.keys() > {"qwen3-rerank", "qwen3-5-9b", "gpu-cloud:rtx-4090", "gpu-cloud:h100-nvl"}
    for name in ("qwen3-max", "gpu-cloud:h100-nvl", "hosted-agent-basic"):
        assert live.http.get(f"/v1/prices/{name}").json() == models[name]


@pytest.mark.parametrize("model", ["nobody-s-model", "QWEN3-MAX", "qwen3-max ", "%00", "%F0%9F%98%80", ".."])
def test_a_model_that_is_not_there(live: Live, model: str) -> None:
    answer = live.http.get(f"/v1/prices/{model}")
    assert answer.status_code == 404
    error = error_of(answer)
    assert (error["code"], error["param"]) in {("model_not_found", "model"), ("not_found", "")}
    assert error["code"] == "model_not_found" or model == ".."


@pytest.mark.parametrize("path", ["/v1/prices", "/v1/prices/qwen3-max"])
def test_what_has_not_changed_is_not_sent_again(live: Live, path: str, example_book: PriceBook) -> None:
    first = live.http.get(path)
    tag = first.headers["etag"]
    assert re.fullmatch(r'"[0-9a-f]+"', tag)
    for asked in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = live.http.get(path, headers={"If-None-Match": asked})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    for asked in ('"other"', "", tag.strip('"')):
        again = live.http.get(path, headers={"If-None-Match": asked})
        assert (again.status_code, again.content) == (200, first.content)
    with running(live.database_url, example_book) as elsewhere:
        changed = elsewhere.http.get(path, headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != tag


def test_a_key_changes_nothing(live: Live) -> None:
    answers = [
        live.http.get("/v1/prices/manus", headers=headers)
        for headers in ({}, dict(live.service), {"x-api-key": "wrong"})
    ]
    assert len({answer.content for answer in answers}) == 1
    assert {answer.status_code for answer in answers} == {200}
