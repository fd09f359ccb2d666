"""The compiled book: its identity, its editions, its JSON Schema."""

from __future__ import annotations

import json
from copy import deepcopy
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.errors import PriceBookError
from metering.pricing import schema
from metering.pricing.book import Tier
from metering.pricing.compiler import compile_book, digest
from metering.rating.engine import Rater
from metering.rating.rating import Rating
from tests.rating.goldens import RULES, book, documents
from tests.rating.price_books import book_of

FEE = {"charge": "Fee", "model": "flat", "per": "request", "rate": "1.00"}
MICROSECOND = timedelta(microseconds=1)


def _reversed(value: Any) -> Any:  # noqa: ANN401  (whatever YAML gives)
    """The same documents with the keys of every mapping the other way round."""
    if isinstance(value, dict):
        return {name: _reversed(value[name]) for name in reversed(value)}
    return [_reversed(item) for item in value] if isinstance(value, list) else value


def _texts(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:  # noqa: ANN401  (whatever YAML gives)
    """The path of every scalar."""
    inner = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    )
    if inner is None:
        return [path]
    return [found for name, item in inner for found in _texts(item, (*path, name))]


def test_the_digest_is_that_of_the_content_however_it_is_written() -> None:
    given = dict(documents())
    assert digest(_reversed(given)) == digest(given) == book().digest
    assert len(book().digest) == 32


def test_the_digest_changes_with_every_scalar_of_the_book() -> None:
    """Of one provider's file, each scalar is changed alone, to another text."""
    name = "providers/pixverse.yml"
    seen = {digest(documents())}
    paths = _texts(documents()[name])
    for path in paths:
        mutant: Any = deepcopy(documents()[name])
        place = mutant
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = f"{place[path[-1]]} "
        seen.add(digest({**documents(), name: mutant}))
    assert len(seen) == len(paths) + 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (date(2026, 12, 1), date(2026, 12, 2)),
        (date(2026, 12, 1), datetime(2026, 12, 1, 12, tzinfo=UTC)),
        (datetime(2026, 12, 1, 12, tzinfo=UTC), datetime(2026, 12, 1, 13, tzinfo=UTC)),
        ("1.0", "1.00"),
        ("5", 5),
    ],
)
def test_the_digest_tells_times_and_spellings_apart(one: object, other: object) -> None:
    assert digest({"x": one}) != digest({"x": other})


def _with_editions(*effective: object) -> dict[str, Any]:
    editions = [
        {"effective": day, "charges": [FEE | {"rate": f"{number}.00"}]}
        for number, day in enumerate(effective, 2)
    ]
    return book_of([FEE], editions=editions)


@pytest.mark.parametrize(
    ("effective", "moment"),
    [
        (date(2026, 7, 1), datetime(2026, 7, 1, tzinfo=UTC)),
        ("2026-07-01", datetime(2026, 7, 1, tzinfo=UTC)),
        ("2026-07-01T02:00:00+02:00", datetime(2026, 7, 1, tzinfo=UTC)),
        (datetime(2026, 7, 1, 9, 30, tzinfo=UTC), datetime(2026, 7, 1, 9, 30, tzinfo=UTC)),
    ],
)
def test_an_edition_holds_from_its_very_moment(effective: object, moment: datetime) -> None:
    rater = Rater(compile_book(_with_editions(effective)))
    elsewhere = moment.astimezone(timezone(timedelta(hours=-7)))
    costs = []
    for at in (moment - MICROSECOND, moment, elsewhere, moment + MICROSECOND):
        result = rater.rate("m", {}, at)
        assert isinstance(result, Rating)
        costs.append(result.cost_pico // 10**12)
    assert costs == [1, 2, 2, 2]


def test_each_edition_replaces_all_lines_of_the_one_before() -> None:
    given = _with_editions(date(2026, 7, 1), date(2026, 8, 1))
    prices = compile_book(given).models["m"]
    days = [datetime(2026, month, 15, tzinfo=UTC) for month in (1, 6, 7, 8, 12)]
    assert [prices.edition_at(day) for day in days] == [0, 0, 1, 2, 2]
    assert [[row.rate for row in prices.card_at(day).rows] for day in days[1:4]] == [
        ["$1.00"],
        ["$2.00"],
        ["$3.00"],
    ]


@pytest.mark.parametrize(
    ("effective", "problem"),
    [
        ((date(2026, 8, 1), date(2026, 7, 1)), "m: edition 2026-07-01 must come after the one before it"),
        ((date(2026, 8, 1), date(2026, 8, 1)), "m: edition 2026-08-01 must come after the one before it"),
        ((datetime(2026, 8, 1),), "m: editions: `effective` must be a date, such as 2026-12-01"),  # noqa: DTZ001
        (("next week",), "m: editions: `effective` must be a date"),
        ((2026,), "m: editions: `effective` must be a date"),
    ],
)
def test_an_edition_that_is_not_after_the_one_before_is_refused(
    effective: tuple[object], problem: str
) -> None:
    with pytest.raises(PriceBookError) as refusal:
        compile_book(_with_editions(*effective))
    assert any(problem in found for found in refusal.value.problems), refusal.value.problems


def test_a_problem_in_an_edition_names_the_edition() -> None:
    given = _with_editions(date(2026, 7, 1))
    given["providers/p.yml"]["models"]["m"]["editions"][0]["charges"].append(FEE | {"charge": "Other"})
    with pytest.raises(PriceBookError) as refusal:
        compile_book(given)
    [problem] = refusal.value.problems
    assert problem.startswith("providers/p.yml: m from 2026-07-01")
    assert problem.endswith("Other: matches the same usage as `Fee`")


@given(st.lists(st.one_of(st.none(), st.integers(0, 12)), min_size=4, max_size=4))
def test_tiers_overlap_exactly_where_a_quantity_lies_in_both(bounds: list[int | None]) -> None:
    one, other = Tier("q", bounds[0], bounds[1]), Tier("q", bounds[2], bounds[3])

    def holds(tier: Tier, quantity: int) -> bool:
        return (tier.above is None or quantity > tier.above) and (
            tier.up_to is None or quantity <= tier.up_to
        )

    shared = any(holds(one, quantity) and holds(other, quantity) for quantity in range(20))
    empty = any(tier.up_to is not None and tier.up_to <= (tier.above or -1) for tier in (one, other))
    assert one.overlaps(other) == other.overlaps(one)
    assert one.overlaps(other) == shared or empty, (
        "only an empty tier, refused as such, may be seen to overlap"
    )


def _as_json(document: object) -> Any:  # noqa: ANN401  (JSON)
    return json.loads(json.dumps(document, default=lambda moment: moment.isoformat()))


@pytest.mark.parametrize("name", sorted(documents()))
def test_the_json_schema_accepts_every_real_file_and_no_unknown_key_in_it(name: str) -> None:
    validator = jsonschema.Draft202012Validator(schema.json_schema())
    document = _as_json(documents()[name])
    validator.validate(document)
    tried = set()
    for *path, _ in _texts(document):
        mutant = deepcopy(document)
        place = mutant
        for step in path:
            place = place[step]
        kind = (len(path), *sorted(map(str, place)))
        if isinstance(place, dict) and not {"rates", "when", "included"} & set(path) and kind not in tried:
            tried.add(kind)
            place["planted"] = 1
            assert not validator.is_valid(mutant), f"{name}: {path}"
    assert tried


@pytest.mark.parametrize("spoilt", [1.08, "1e-5", "NaN", "-1", "01", "", 1, True, None])
def test_the_json_schema_refuses_what_is_no_quoted_decimal(spoilt: object) -> None:
    given = _as_json(book_of([FEE | {"rate": spoilt}])["providers/p.yml"])
    assert not jsonschema.Draft202012Validator(schema.json_schema()).is_valid(given)


def test_the_json_schema_is_one_and_stands_beside_the_book() -> None:
    jsonschema.Draft202012Validator.check_schema(schema.json_schema())
    expected = json.dumps(schema.json_schema(), indent=2, ensure_ascii=False) + "\n"
    assert (RULES / "schema.json").read_text(encoding="utf-8") == expected, (
        "run `metering prices schema > pricing_rules/schema.json`"
    )


def test_every_file_of_the_book_tells_editors_where_the_schema_is() -> None:
    for name in documents():
        first = (RULES / name).read_text(encoding="utf-8").splitlines()[0]
        above = "../" * name.count("/")
        assert first == f"# yaml-language-server: $schema={above}schema.json", name
