"""No number of the price book changes unnoticed: each is changed alone, and a golden or the compiler tells.

A mutant is compiled with its own model only, which makes trying all of them quick; alone in its book a model
has other neighbours, so that check is off.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from decimal import Decimal
from functools import cache
from typing import Any

import pytest

from metering.errors import InvalidUsage, PriceBookError
from metering.pricing.compiler import compile_book
from metering.pricing.listing import public_entry
from metering.pricing.schema import count
from metering.rating.engine import Rater
from tests.rating.goldens import GOLDEN, MOMENT, Golden, documents, goldens, outcome

Line = dict[str, Any]
Mutation = tuple[str, list[Line]]

PRICES = ("rate", "percent_off", "percent", "minimum", "maximum", "default")
OTHER_UNITS = {"second": "minute", "minute": "hour", "minute of audio": "hour of audio", "hour": "minute"}


@cache
def _models() -> Mapping[str, tuple[str, str, Line]]:
    """Each model's file, provider and body."""
    found: dict[str, tuple[str, str, Line]] = {}
    for file, document in documents().items():
        if isinstance(document, dict) and "provider" in document:
            for model, body in document["models"].items():
                found[model] = (file, document["provider"], body)
    return found


@cache
def _events() -> Mapping[str, Sequence[Golden]]:
    by_model: dict[str, list[Golden]] = {}
    for golden in goldens():
        by_model.setdefault(golden.model, []).append(golden)
    return by_model


@cache
def _catalogue() -> Mapping[str, Any]:
    return dict(json.loads((GOLDEN / "catalogue.json").read_text(encoding="utf-8")))


def _noticed_by(model: str, charges: list[Line]) -> str | None:
    """Who tells that these are not the model's charges: the compiler, an event, the catalogue or nobody."""
    file, provider, body = _models()[model]
    reduced = {name: documents()[name] for name in ("book.yml", "meters.yml")}
    alone = [line if "note" in line else line | {"accept": ["unusual_rate"]} for line in charges]
    reduced[file] = {"provider": provider, "models": {model: {**body, "charges": alone}}}
    try:
        book = compile_book(reduced)
    except PriceBookError:
        return "compiler"
    rater = Rater(book)
    for golden in _events()[model]:
        try:
            found = outcome(rater.rate(model, golden.usage, MOMENT))
        except InvalidUsage:
            found = "invalid"
        if found != golden.expected:
            return "event"
    listed = public_entry(book.models[model], book.models[model].cards[0])["pricing_rows"]
    return "catalogue" if model in _catalogue() and listed != _catalogue()[model]["rows"] else None


def _each_line(model: str, change: Callable[[Line], Iterator[str]]) -> Iterator[Mutation]:
    """The model's charges with one line changed, for each way that `change` knows."""
    charges: list[Line] = _models()[model][2]["charges"]
    for position, line in enumerate(charges):
        for number, _ in enumerate(change(deepcopy(line))):
            mutant = deepcopy(charges)
            steps = change(mutant[position])
            what = [next(steps) for _ in range(number + 1)][-1]
            yield f"{model}: {line['charge']} (line {position + 1}): {what}", mutant


def _one_up_and_down(text: str) -> Iterator[str]:
    """The last place that the text shows, one more and one less."""
    value = Decimal(text)
    step = Decimal(1).scaleb(int(value.as_tuple().exponent))
    yield format(value + step, "f")
    if value >= step:
        yield format(value - step, "f")


def _changed(line: Line, key: str, others: Iterator[Any]) -> Iterator[str]:
    """One mutation for each other value of a key; the line is put right again after each."""
    before = line[key]
    for other in others:
        line[key] = other
        yield f"{key} {before!r} is {other!r}"
    line[key] = before


def _prices(line: Line) -> Iterator[str]:
    for key in PRICES:
        if key in line:
            yield from _changed(line, key, _one_up_and_down(line[key]))
    for meter in line.get("rates", {}):
        yield from _changed(line["rates"], meter, _one_up_and_down(line["rates"][meter]))


def _edges(line: Line) -> Iterator[str]:
    for key in ("above", "up_to"):
        if key in line:
            edge = count(line[key]) or 0
            yield from _changed(line, key, iter([edge + 1, max(edge - 1, 0)] if edge else [edge + 1]))


def _sizes(line: Line) -> Iterator[str]:
    per = str(line.get("per", ""))
    number, _, unit = per.partition(" ")
    others = [f"{int(number) + 1} {unit}"] if number.isdigit() else []
    others += [
        per.replace(old, new, 1)
        for old, new in (("1M ", "1k "), ("1k ", "1M "), ("1K ", "1M "))
        if old in per
    ]
    others += ["10,000 words"] if per == "1,000 words" else []
    others += [OTHER_UNITS[per]] if per in OTHER_UNITS else []
    if per and Decimal(line.get("rate", "1")) and line.get("model") not in {"dynamic", "percentage"}:
        yield from _changed(line, "per", iter(others or [f"2 {per}"]))


def _variants(line: Line) -> Iterator[str]:
    for field, choice in line.get("when", {}).items():
        values = choice if isinstance(choice, list) else [choice]
        for value in values:
            other = (
                not value if isinstance(value, bool) else value + 1 if isinstance(value, int) else f"{value}x"
            )
            changed = [other if each == value else each for each in values]
            yield from _changed(line["when"], field, iter([changed]))


def _shifted_ladders(model: str) -> Iterator[Mutation]:
    """Both sides of an edge moved together, as one who means it would: only an event can tell."""
    charges: list[Line] = _models()[model][2]["charges"]
    edges = {(line["meter"], line["up_to"]) for line in charges if "up_to" in line}
    for meter, edge in sorted(edges):
        for step in (1, -1):
            mutant = deepcopy(charges)
            for line in mutant:
                for key in ("above", "up_to"):
                    if line.get("meter") == meter and line.get(key) == edge:
                        line[key] = (count(edge) or 0) + step
            yield f"{model}: {meter}: edge {edge} moves by {step}", mutant


def _all_mutations(model: str) -> Iterator[Mutation]:
    for change in (_prices, _edges, _sizes, _variants):
        yield from _each_line(model, change)
    yield from _shifted_ladders(model)


def _beyond_the_input(model: str) -> set[str]:
    """Where the output's last tier ends matters to no event: beyond it, the input has no price already."""
    moot = set()
    charges = _models()[model][2]["charges"]
    continued = {line["above"] for line in charges if "above" in line}
    for position, line in enumerate(charges, 1):
        if "tier_by" in line and line["up_to"] not in continued:
            edge = line["up_to"]
            moot.add(
                f"{model}: {line['charge']} (line {position}): up_to {edge!r} is {(count(edge) or 0) + 1}"
            )
            moot.add(f"{model}: {line['meter']}: edge {edge} moves by 1")
    return moot


@pytest.mark.parametrize("model", sorted(_models()))
def test_the_goldens_know_every_number_of(model: str) -> None:
    assert _noticed_by(model, _models()[model][2]["charges"]) is None, "the book as it is"
    mutations = list(_all_mutations(model))
    survivors = [what for what, mutant in mutations if _noticed_by(model, mutant) is None]
    assert not survivors, "nobody notices:\n" + "\n".join(survivors)
    touched = {what.split(")")[0] for what, _ in mutations}
    assert len(touched) >= sum("note" not in line for line in _models()[model][2]["charges"])


@pytest.mark.parametrize("model", sorted(_models()))
def test_an_event_and_not_only_the_price_list_knows_every_number_of(model: str) -> None:
    """The price list is made from the same numbers, so that it alone proves nothing of what is charged."""
    only_listed = {
        what for what, mutant in _all_mutations(model) if _noticed_by(model, mutant) == "catalogue"
    }
    unpriced = sorted(only_listed - _beyond_the_input(model))
    assert not unpriced, "no event notices:\n" + "\n".join(unpriced)


@pytest.mark.parametrize("model", sorted(_models()))
def test_the_catalogue_knows_every_list_rate_of(model: str) -> None:
    def list_rates(line: Line) -> Iterator[str]:
        if "list_rate" in line:
            yield from _changed(line, "list_rate", _one_up_and_down(line["list_rate"]))

    for what, mutant in _each_line(model, list_rates):
        assert _noticed_by(model, mutant) == "catalogue", what
