"""What the compiler refuses, always naming file, model, charge and reason, and all of it in one run."""

from __future__ import annotations

from typing import Any

import pytest

from metering.errors import PriceBookError
from metering.pricing.compiler import compile_book
from tests.rating.price_books import book_of

Line = dict[str, Any]

INPUT: Line = {"charge": "In", "meter": "prompt_tokens", "per": "1M tokens", "rate": "1.00"}
CACHED: Line = {"charge": "Hit", "meter": "cache_read_input_tokens", "per": "1M tokens", "rate": "0.50"}
IMAGE: Line = {"charge": "Img", "meter": "images", "per": "image", "rate": "0.50"}
FEE: Line = {"charge": "Fee", "model": "flat", "per": "request", "rate": "0.50"}
TASK: Line = {"charge": "Task", "model": "dynamic", "per": "task", "default": "1"}
LOW: Line = INPUT | {"charge": "Low", "model": "volume", "up_to": "32K"}
HIGH: Line = INPUT | {"charge": "High", "model": "volume", "above": "32K", "up_to": "64K"}


def problems_of(documents: dict[str, Any]) -> list[str]:
    """Every reason why the documents are no price book."""
    with pytest.raises(PriceBookError) as refusal:
        compile_book(documents)
    return refusal.value.problems


def without(line: Line, key: str) -> Line:
    """The line without a key."""
    return {name: value for name, value in line.items() if name != key}


REFUSED: dict[str, tuple[list[Any], str, str]] = {
    "a binary float": ([INPUT | {"rate": 1.08}], "In", "`rate` is a binary float (1.08): write it in quotes"),
    "a float among rates": (
        [{"charge": "In", "rates": {"images": 0.5}, "per": "x", "text": "t"}], "In",
        "is a binary float (0.5)"),
    "a whole number without quotes": ([INPUT | {"rate": 1}], "In", "`rate` must be a quoted decimal, not 1"),
    "not a number": ([INPUT | {"rate": "NaN"}], "In", "`rate` must be a quoted decimal, not 'NaN'"),
    "no end": ([INPUT | {"rate": "Infinity"}], "In", "`rate` must be a quoted decimal"),
    "a negative rate": ([INPUT | {"rate": "-1.00"}], "In", "`rate` must be a quoted decimal, not '-1.00'"),
    "an exponent": ([INPUT | {"rate": "9e-08"}], "In", "`rate` must be a quoted decimal, not '9e-08'"),
    "a dollar sign": ([INPUT | {"rate": "$1.08"}], "In", "`rate` must be a quoted decimal"),
    "an empty rate": ([INPUT | {"rate": ""}], "In", "`rate` must be a quoted decimal"),
    "leading zeros": ([INPUT | {"rate": "01.08"}], "In", "`rate` must be a quoted decimal"),
    "digits of another script": ([INPUT | {"rate": "١.٠"}], "In", "`rate` must be a quoted decimal"),
    "less than a picodollar": (
        [TASK | {"default": "0.0000000000005"}], "Task",
        "`default` must be a quoted decimal with at most 12 places"),
    "an unknown key": ([INPUT | {"rtae": "1"}], "In", "unknown key `rtae`"),
    "a key of another charge model": (
        [IMAGE | {"up_to": 5}], "Img", "`up_to` does not belong to a per_unit charge"),
    "a meter on a flat charge": (
        [FEE | {"meter": "images"}], "Fee", "`meter` does not belong to a flat charge"),
    "an unknown charge model": (
        [INPUT | {"model": "tiered"}], "In", "`model` must be per_unit or flat or volume"),
    "no name": ([without(INPUT, "charge")], "charge", "`charge` is missing"),
    "no rate": ([without(INPUT, "rate")], "In", "`rate` is missing"),
    "no unit": ([without(INPUT, "per")], "In", "`per` is missing"),
    "no meter": ([without(INPUT, "meter")], "In", "`meter` is missing"),
    "no tier": ([without(LOW, "up_to")], "Low", "`above` or `up_to` is missing"),
    "no mark-up": ([without(TASK, "default") | {"model": "percentage"}], "Task", "`percent` is missing"),
    "two rates": ([CACHED | {"percent_off": "5"}], "Hit", "only one of `rate` and `percent_off` can hold"),
    "rates beside a meter": (
        [{"charge": "C", "meter": "images", "rates": {"videos": "1"}, "per": "x", "text": "t"}], "C",
        "only one of `rates` and `meter` can hold"),
    "a charge that is no mapping": (["In"], "charge", "must be a mapping"),
    "an unknown meter": ([INPUT | {"meter": "promt_tokens"}], "In", "unknown meter `promt_tokens`"),
    "an unknown meter in a list": ([IMAGE | {"meter": ["images", "imgs"]}], "Img", "unknown meter `imgs`"),
    "a meter twice": ([IMAGE | {"meter": ["images", "images"]}], "Img", "`meter` lists one twice"),
    "two meters of one task": ([TASK | {"meter": ["images", "videos"]}], "Task", "`meter` must be one"),
    "the upstream cost by the unit": (
        [IMAGE | {"meter": "upstream_cost_usd"}], "Img",
        "`upstream_cost_usd` is priced by percentage and dynamic"),
    "a tier by an unknown meter": ([LOW | {"tier_by": "context"}], "Low", "unknown meter `context`"),
    "a tier of several meters": (
        [LOW | {"meter": ["prompt_tokens", "completion_tokens"]}], "Low", "`tier_by` is missing"),
    "a gap between tiers": ([LOW, HIGH | {"above": "33K"}], "High", "nothing prices 32001 to 33000"),
    "a ladder without its first step": ([HIGH], "High", "gap between tiers: nothing prices 1 to 32000"),
    "a gap in a graduated ladder": (
        [LOW | {"model": "graduated"}, HIGH | {"model": "graduated", "above": "40K"}], "High",
        "nothing prices 32001 to 40000"),
    "a gap in one variant only": (
        [LOW | {"when": {"quality": "low"}}, HIGH | {"when": {"quality": ["low", "high"]}}], "High",
        "gap between tiers: nothing prices 1 to 32000"),
    "overlapping tiers": ([LOW, HIGH | {"above": "31K"}], "High", "its tier overlaps that of `Low`"),
    "two tiers without a start": (
        [LOW, LOW | {"charge": "High", "up_to": "64K"}], "High", "overlaps that of `Low`"),
    "an empty tier": ([LOW, HIGH | {"up_to": "32K"}], "High", "can't be reached: its tier is empty"),
    "a graduated tier beside a volume tier": (
        [LOW, HIGH | {"model": "graduated"}], "High", "matches the same usage as `Low`"),
    "tiers by different meters": (
        [LOW, HIGH | {"tier_by": "total_tokens"}], "High", "matches the same usage as `Low`"),
    "a tier beside a rate for all": ([LOW, INPUT], "In", "matches the same usage as `Low`"),
    "two charges for the same usage": (
        [IMAGE, IMAGE | {"charge": "Other"}], "Other", "matches the same usage as `Img`"),
    "a variant beside a rate for all": (
        [IMAGE, IMAGE | {"charge": "Other", "when": {"quality": "low"}}], "Other", "matches the same usage"),
    "variants of different fields": (
        [IMAGE | {"when": {"mode": "fast"}}, IMAGE | {"charge": "Other", "when": {"quality": "low"}}],
        "Other",
        "matches the same usage"),
    "a value in two variants": (
        [IMAGE | {"when": {"quality": ["low", "high"]}},
         IMAGE | {"charge": "Other", "when": {"quality": ["high", "best"]}}], "Other",
         "matches the same usage"),
    "one meter in two lists": (
        [IMAGE | {"meter": ["images", "videos"]}, IMAGE | {"charge": "Other", "meter": "videos"}], "Other",
        "matches the same usage"),
    "a variant of an unknown field": (
        [IMAGE | {"when": {"colour": "red"}}], "Img", "can't be reached: unknown field `colour`"),
    "a text for a boolean": (
        [IMAGE | {"when": {"sound": "true"}}], "Img", "can't be reached: `sound` is a boolean, not 'true'"),
    "a number for a text": ([IMAGE | {"when": {"quality": 1}}], "Img", "`quality` is a string, not 1"),
    "a text for a number": ([IMAGE | {"when": {"fps": "30"}}], "Img", "`fps` is a number, not '30'"),
    "a boolean for a number": ([IMAGE | {"when": {"fps": True}}], "Img", "`fps` is a number, not True"),
    "a value twice": ([IMAGE | {"when": {"fps": [30, 30]}}], "Img", "`fps` lists a value twice"),
    "no value": ([IMAGE | {"when": {"fps": []}}], "Img", "`when` must be a value or a list of values"),
    "a tier above the context window": ([LOW, HIGH | {"up_to": "2M"}, HIGH | {"charge": "Top", "above": "2M",
        "up_to": "3M"}], "Top", "can't be reached: the context window ends at 1000000"),
    "a tier that starts where the context window ends": (
        [LOW, HIGH | {"up_to": "1M"}, HIGH | {"charge": "Top", "above": "1M", "up_to": "3M"}], "Top",
        "can't be reached: the context window ends at 1000000"),
    "a cached rate above the input's": (
        [INPUT, CACHED | {"rate": "1.01"}], "Hit", "cached rate 1.01 is above the input rate 1.00 of `In`"),
    "a cached rate above the cheapest tier's": (
        [LOW, HIGH | {"rate": "3.00"}, CACHED | {"rate": "2.00"}], "Hit",
        "above the input rate 1.00 of `Low`"),
    "a rate a thousand times its neighbour's": (
        [INPUT, INPUT | {"charge": "Out", "meter": "completion_tokens", "per": "1k tokens"}], "Out",
        "rate 1.00 is a thousand times off its neighbours'"),
    "percent off what is no part": (
        [IMAGE | {"charge": "Off", "percent_off": "5", "spec": "s"}], "Off", "only one of"),
    "percent off a meter of its own": (
        [{"charge": "Off", "meter": "images", "percent_off": "5", "spec": "s"}], "Off",
        "`percent_off` needs a meter that is part of another, which `images` is not"),
    "percent off a whole without a rate": (
        [{"charge": "Off", "meter": "cache_read_input_tokens", "percent_off": "5", "spec": "s"}], "Off",
        "`percent_off` needs a rate of `prompt_tokens`"),
    "percent off a graduated whole": (
        [LOW | {"model": "graduated"},
         {"charge": "Off", "meter": "cache_read_input_tokens", "percent_off": "5", "spec": "s"}], "Off",
        "needs a rate of `prompt_tokens` that is the same for each unit"),
    "more than all off": (
        [INPUT, {"charge": "Off", "meter": "cache_read_input_tokens", "percent_off": "100.1", "spec": "s"}],
        "Off",
        "`percent_off` is above 100"),
    "a minimum above the maximum": (
        [TASK | {"minimum": "2", "maximum": "1"}], "Task", "`minimum` is above `maximum`"),
    "a package without a size": (
        [IMAGE | {"model": "package"}], "Img", "a package's `per` begins with its size"),
    "a unit of nothing": ([IMAGE | {"per": "0 images"}], "Img", "`per: 0 images` is no unit"),
    "a size without a unit": ([INPUT | {"per": "1M"}], "In", "`per: 1M` is no unit"),
    "a size that can't be read": ([INPUT | {"per": "1m tokens"}], "In", "`per: 1m tokens` is no unit"),
    "a billion": ([INPUT | {"per": "1B tokens"}], "In", "`per: 1B tokens` is no unit"),
    "a fraction of a unit": ([INPUT | {"per": "0.5 tokens"}], "In", "is no unit"),
    "badly grouped thousands": ([INPUT | {"per": "1,00 tokens"}], "In", "is no unit"),
    "a minute of tokens": ([INPUT | {"per": "minute"}], "In", "`per: minute` needs a meter in seconds"),
    "seconds by the video": (
        [IMAGE | {"meter": "seconds", "per": "video"}], "Img",
        "`per: video` is no time, but the meter is in seconds"),
    "an unknown placeholder": (
        [INPUT | {"spec": "per {unit}"}], "In", "'per {unit}' asks for {unit}, which the line does not have"),
    "a placeholder without a value": ([INPUT | {"text": "{minimum}"}], "In", "asks for {minimum}"),
    "a placeholder into an object": (
        [INPUT | {"text": "{rate.__class__}"}], "In", "asks for {rate.__class__}"),
    "an open brace": ([INPUT | {"text": "{rate"}], "In", "'{rate' can't be filled in"),
    "rates without a text": (
        [{"charge": "C", "rates": {"images": "1", "videos": "2"}, "per": "x"}], "C", "asks for {rate}"),
    "a row without a spec": ([without(TASK, "per")], "Task", "asks for {per}"),
    "a note with a rate": ([{"charge": "N", "note": "n", "rate": "1"}], "N", "`rate` does not belong"),
    "an unknown override": ([INPUT | {"accept": ["anything"]}], "In", "`accept` must be a list out of"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_the_compiler_refuses(what: str) -> None:
    charges, charge, reason = REFUSED[what]
    found = problems_of(book_of(charges, context_window="1M"))
    named = [problem for problem in found if problem.startswith(f"providers/p.yml: m: {charge}")]
    assert any(reason in problem for problem in named), found


ACCEPTED: dict[str, list[Line]] = {
    "a cached rate above the input's, explicitly": [
        INPUT, CACHED | {"rate": "1.01", "accept": ["cached_above_input"]}],
    "a cached rate equal to the input's": [INPUT, CACHED | {"rate": "1.00"}],
    "an unusual rate, explicitly": [
        INPUT, INPUT | {"charge": "Out", "meter": "completion_tokens", "per": "1k tokens",
        "accept": ["unusual_rate"]}],
    "a rate 999 times its neighbour's": [
        INPUT, INPUT | {"charge": "Out", "meter": "completion_tokens", "rate": "999.99"}],
    "tiers that follow one another": [LOW, HIGH],
    "tiers in another order": [HIGH, LOW],
    "a ladder that splits a variant": [
        LOW | {"when": {"quality": ["low", "high"]}}, HIGH | {"when": {"quality": "low"}},
        HIGH | {"charge": "Best", "when": {"quality": "high"}}],
    "variants that share no value": [
        IMAGE | {"when": {"fps": 24}}, IMAGE | {"charge": "O", "when": {"fps": [30, 60]}}],
    "a time a number of times": [IMAGE | {"meter": "seconds", "per": "30 minutes"}],
    "all off": [
        INPUT, {"charge": "Off", "meter": "cache_read_input_tokens", "percent_off": "100", "spec": "s"}],
    "percent off tiers": [
        LOW, HIGH, {"charge": "Off", "meter": "cache_read_input_tokens", "percent_off": "44", "spec": "off"}],
}  # fmt: skip


@pytest.mark.parametrize("what", ACCEPTED)
def test_the_compiler_accepts(what: str) -> None:
    assert len(compile_book(book_of(ACCEPTED[what])).models["m"].cards[0].charges) == len(ACCEPTED[what])


def _body(charges: list[Line], **facts: object) -> Line:
    body: Line = book_of(charges, **facts)["providers/p.yml"]["models"]["m"]
    return body


def _with(**files: object) -> dict[str, Any]:
    renamed = {name.replace("__", "/") + ".yml": document for name, document in files.items()}
    return book_of([IMAGE]) | renamed


PLAN: Line = {"name": "P", "category": "plan", "monthly_fee": "1"}
PART: Line = {"type": "integer", "unit": "image"}
OTHER_FILES: dict[str, tuple[dict[str, Any], str]] = {
    "a model in two files": (
        _with(gpu={"provider": "Q", "models": {"m": _body([IMAGE])}}),
        "gpu.yml: m: this model has prices already, in providers/p.yml",
    ),
    "a plan with a model's name": (
        _with(plans={"plans": {"m": PLAN}}),
        "plans.yml: m: this model has prices already, in providers/p.yml",
    ),
    "a plan with a float": (
        _with(plans={"plans": {"p": PLAN | {"monthly_fee": 1.5}}}),
        "plans.yml: p: `monthly_fee` is a binary float (1.5)",
    ),
    "a plan of an unknown meter": (
        _with(plans={"plans": {"p": PLAN | {"included": {"mails": 1}}}}),
        "plans.yml: p: included: unknown meter `mails`",
    ),
    "a model whose name is a number": (
        _with(q={"provider": "Q", "models": {4: _body([IMAGE])}}),
        "q.yml: the name 4 must be a text: write it in quotes",
    ),
    "an unknown key of a model": (
        _with(q={"provider": "Q", "models": {"x": _body([IMAGE], modality="text")}}),
        "q.yml: x: unknown key `modality`",
    ),
    "a model without charges": (
        _with(q={"provider": "Q", "models": {"x": {"name": "X", "category": "c"}}}),
        "q.yml: x: `charges` is missing",
    ),
    "a limit upside down": (
        _with(q={"provider": "Q", "models": {"x": _body([IMAGE], minimum="2", maximum="1")}}),
        "q.yml: x: `minimum` is above `maximum`",
    ),
    "an empty file": (_with(q=None), "q.yml: must be a mapping"),
    "another currency": (
        _with(book={"currency": "EUR", "grammar": 1}),
        "book.yml: `currency` must be USD, not 'EUR'",
    ),
    "another grammar": (
        _with(book={"currency": "USD", "grammar": 2}),
        "book.yml: `grammar` must be 1, not 2",
    ),
    "a part of an unknown meter": (
        _with(meters={"fields": {}, "meters": {"images": PART | {"part_of": "all"}}}),
        "meters.yml: images: unknown meter `all`",
    ),
    "a part of itself": (
        _with(meters={"fields": {}, "meters": {"images": PART | {"part_of": "images"}}}),
        "meters.yml: images: `images` is itself part of another",
    ),
    "a meter of another type": (
        _with(meters={"fields": {}, "meters": {"images": PART | {"type": "float"}}}),
        "meters.yml: images: `type` must be integer or number, not 'float'",
    ),
    "a default of another type": (
        _with(meters={"meters": {}, "fields": {"sound": {"type": "boolean", "default": "no"}}}),
        "meters.yml: sound: `default` must be a boolean, not 'no'",
    ),
}


@pytest.mark.parametrize("what", OTHER_FILES)
def test_the_compiler_refuses_elsewhere(what: str) -> None:
    given, problem = OTHER_FILES[what]
    assert any(found.startswith(problem) for found in problems_of(given)), problems_of(given)


def test_every_problem_of_every_file_is_reported_in_one_run() -> None:
    given = _with(
        q={"provider": "Q", "models": {"x": _body([INPUT | {"rate": 0.1}, IMAGE | {"rtae": "1", "per": 3}])}},
        plans={"plans": {"p": {"name": "P"}}},
        book={"currency": "EUR", "grammar": 1},
    )
    assert problems_of(given) == [
        "book.yml: `currency` must be USD, not 'EUR'",
        "q.yml: x: In (line 1): `rate` is a binary float (0.1): write it in quotes",
        "q.yml: x: Img (line 2): unknown key `rtae`",
        "q.yml: x: Img (line 2): `per` must be a text, not 3",
        "plans.yml: p: `category` is missing",
        "plans.yml: p: `monthly_fee` is missing",
    ]


@pytest.mark.parametrize(
    ("per", "is_usual"), [("1k images", False), ("999 images", True), ("500 images", True), ("image", True)]
)
def test_a_rate_a_thousand_times_below_that_of_other_models_is_refused(per: str, is_usual: bool) -> None:
    """Alone in its card, a rate has the same meter's in the other cards for neighbours."""
    cards = {name: _body([IMAGE]) for name in ("a", "b", "c")} | {"x": _body([IMAGE | {"per": per}])}
    given = _with(q={"provider": "Q", "models": cards})
    if is_usual:
        compile_book(given)
    else:
        assert problems_of(given) == ["q.yml: x: Img: rate 0.50 is a thousand times off its neighbours'"]


@pytest.mark.parametrize(("rate", "is_usual"), [("500.00", False), ("499.99", True)])
def test_a_rate_a_thousand_times_above_that_of_other_models_is_refused(rate: str, is_usual: bool) -> None:
    cards = {name: _body([IMAGE]) for name in ("a", "b", "c")} | {"x": _body([IMAGE | {"rate": rate}])}
    given = _with(q={"provider": "Q", "models": cards})
    if is_usual:
        compile_book(given)
    else:
        assert problems_of(given) == [f"q.yml: x: Img: rate {rate} is a thousand times off its neighbours'"]


def test_a_plans_fee_is_no_neighbour_of_a_fee_per_request() -> None:
    plan = PLAN | {"monthly_fee": "5000.00"}
    given = _with(plans={"plans": {"p": plan}}, q={"provider": "Q", "models": {"x": _body([FEE])}})
    assert compile_book(given).plans["p"].monthly_fee_pico == 5000 * 10**12
