"""Every number of a usage object is checked before anything is priced, and a bad one is named."""

from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.errors import InvalidUsage
from metering.usage.meters import Meter, Vocabulary, less, plus, times
from metering.usage.normalize import LIMIT, TokenCounts, count_tokens, normalize
from tests.rating.goldens import book, goldens
from tests.rating.usages import Usage, shapes, tokens

VOCABULARY = book().vocabulary
READ, WRITE = "cache_read_input_tokens", "cache_creation_input_tokens"
# What may not stand where a count belongs, and what the message says of it.
NO_COUNTS: list[tuple[object, str]] = [
    (-1, "must not be negative"),
    (Decimal(-1), "must not be negative"),
    (Decimal("-1E-18"), "must not be negative"),
    (Decimal("1.5"), "must be a whole number"),
    (Decimal("0.000000000000000001"), "must be a whole number"),
    (True, "must be a number"),
    (False, "must be a number"),
    ("7", "must be a number"),
    ("", "must be a number"),
    (1.0, "must be a number"),
    (Decimal("NaN"), "must be a finite number"),
    (Decimal("sNaN"), "must be a finite number"),
    (Decimal("Infinity"), "must be a finite number"),
    (Decimal("-Infinity"), "must be a finite number"),
    (Decimal("1E+400"), f"must be below {LIMIT}"),
    (Decimal("1E-400"), "has more than 18 decimal places"),
    (Decimal("1.0000000000000000000"), "has more than 18 decimal places"),
    (LIMIT, f"must be below {LIMIT}"),
    (10**4000, f"must be below {LIMIT}"),
]
NESTED: list[object] = [[], [1], {}, {"a": 1}, [[]], {"cached_tokens": 1}]
COUNTS = ["prompt_tokens", "completion_tokens", "input_tokens", "output_tokens", READ, "images", "num_gpus"]


def normalized(usage: Usage) -> dict[str, Any]:
    """The quantities in the real vocabulary."""
    return dict(normalize(usage, VOCABULARY))


def refusal(usage: Usage) -> tuple[str | None, str]:
    """The field that is named, and what is said of it."""
    with pytest.raises(InvalidUsage) as caught:
        normalize(usage, VOCABULARY)
    assert (caught.value.code, caught.value.http_status) == ("invalid_parameter", 400)
    return caught.value.param, caught.value.message


@pytest.mark.parametrize(("value", "message"), NO_COUNTS)
@pytest.mark.parametrize("field", COUNTS)
def test_what_is_no_count_is_refused_by_the_fields_name(field: str, value: object, message: str) -> None:
    assert refusal({"prompt_tokens": 5, field: value}) == (field, message)


@pytest.mark.parametrize("value", NESTED)
@pytest.mark.parametrize("field", [*COUNTS, "duration_seconds", "resolution", "audio"])
def test_a_list_or_an_object_is_refused_where_a_value_belongs(field: str, value: object) -> None:
    assert refusal({field: value}) == (field, "must be a single value, not a list or an object")


@pytest.mark.parametrize(("value", "message"), NO_COUNTS)
@pytest.mark.parametrize(
    "path",
    [
        "prompt_tokens_details.cached_tokens",
        "input_tokens_details.cached_tokens",
        "tool_usage.web_search",
        "tool_calls_details.web_search.invocation",
    ],
)
def test_a_bad_count_below_an_object_is_named_by_its_path(path: str, value: object, message: str) -> None:
    usage: Any = value
    for name in reversed(path.split(".")):
        usage = {name: usage}
    assert refusal({"prompt_tokens": 5, **usage}) == (path, message)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("resolution", 720, "must be a string"),
        ("resolution", True, "must be a string"),
        ("audio", "true", "must be a boolean"),
        ("audio", 1, "must be a boolean"),
        ("sound", Decimal(0), "must be a boolean"),
        ("duration_seconds", "5", "must be a number"),
        ("duration_seconds", True, "must be a number"),
        ("duration_seconds", Decimal("-0.1"), "must not be negative"),
        ("upstream_cost_usd", Decimal("-0.01"), "must not be negative"),
        ("seconds", Decimal("1E-19"), "has more than 18 decimal places"),
    ],
)
def test_a_field_of_another_type_is_refused(field: str, value: object, message: str) -> None:
    assert refusal({field: value}) == (field, message)


@pytest.mark.parametrize(
    ("usage", "field"),
    [
        ({"prompt_tokens": 5, READ: 6}, READ),
        ({"prompt_tokens": 5, WRITE: 6}, WRITE),
        ({"prompt_tokens": 5, READ: 3, WRITE: 3}, WRITE),
        ({READ: 1}, READ),
        ({"prompt_tokens": 5, "audio_input_tokens": 6}, "audio_input_tokens"),
        ({"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 6}},
         "prompt_tokens_details.cached_tokens"),
        ({"input_tokens": 5, "input_tokens_details": {"cached_tokens": 6}},
         "input_tokens_details.cached_tokens"),
        ({"input_tokens": 5, "input_tokens_details": {}, READ: 6}, READ),
        ({"input_tokens": 5, "input_tokens_details": {}, READ: 3, WRITE: 3}, WRITE),
        ({"input_tokens": 5, "audio_input_tokens": 6}, "audio_input_tokens"),
    ],
)  # fmt: skip
def test_a_part_above_its_whole_is_refused(usage: Usage, field: str) -> None:
    assert refusal(usage)[0] == field


@pytest.mark.parametrize(
    ("usage", "field"),
    [
        ({"prompt_tokens": 9, READ: 2, "prompt_tokens_details": {"cached_tokens": 3}},
         "prompt_tokens_details.cached_tokens"),
        ({"prompt_tokens": 9, "input_tokens": 8}, "input_tokens"),
        ({"prompt_tokens": 9, "input_tokens": 8, READ: 2}, "input_tokens"),
        ({"completion_tokens": 9, "output_tokens": 8}, "output_tokens"),
        ({"tool_usage": {"x": 1}, "tool_calls_details": {"x": {"invocation": 2}}}, "tool_usage.x"),
    ],
)  # fmt: skip
def test_two_fields_that_state_one_quantity_differently_are_refused(usage: Usage, field: str) -> None:
    param, message = refusal(usage)
    assert (param, "disagrees" in message) == (field, True)


def test_two_fields_may_state_one_quantity_the_same() -> None:
    said_twice = {
        "prompt_tokens": 9,
        "input_tokens": 9,
        "completion_tokens": 4,
        "output_tokens": Decimal("4.0"),
    }
    cached_twice = {READ: 2, "prompt_tokens_details": {"cached_tokens": 2}}
    tools = {"tool_usage": {"x": 1}, "tool_calls_details": {"x": {"invocation": 1}}}
    assert normalized(said_twice | cached_twice | tools) == {
        "prompt_tokens": 9,
        "completion_tokens": 4,
        READ: 2,
        "tools.x": 1,
    }
    assert normalized({"prompt_tokens": 9, READ: 2, "input_tokens": 7})["prompt_tokens"] == 9


@given(tokens())
def test_three_shapes_are_one_meaning(counts: tuple[int, int, int, int]) -> None:
    prompt, read, write, completion = counts
    for usage in shapes(prompt, read, write, completion):
        found = normalize(usage, VOCABULARY)
        expected = TokenCounts(prompt, completion, read, write, prompt + completion)
        assert count_tokens(found) == expected, usage


def test_an_empty_details_object_tells_responses_from_messages() -> None:
    cached = {"input_tokens": 10, READ: 4}
    assert normalized(cached)["prompt_tokens"] == 14
    assert normalized(cached | {"input_tokens_details": None})["prompt_tokens"] == 14
    assert normalized(cached | {"input_tokens_details": {}})["prompt_tokens"] == 10


def test_null_is_the_same_as_absent() -> None:
    for golden in goldens():
        nulls = dict.fromkeys([*VOCABULARY.meters, *VOCABULARY.fields, "input_tokens", "tool_usage", "x"])
        assert normalize({**nulls, **golden.usage}, VOCABULARY) == normalize(golden.usage, VOCABULARY), golden
    assert normalized({"tool_usage": {"x": None}, "prompt_tokens_details": {"cached_tokens": None}}) == {}


@pytest.mark.parametrize("value", [Decimal("7.0"), Decimal("7.000000000000000000"), Decimal("0.7E+1"), 7])
def test_a_whole_number_is_whole_however_it_is_spelt(value: object) -> None:
    found = normalized({"prompt_tokens": value, "images": value})
    assert found == {"prompt_tokens": 7, "images": 7}
    assert all(type(count) is int for count in found.values())


def test_numbers_that_no_meter_names_are_kept_by_their_path_and_other_leaves_are_not() -> None:
    assert normalized(
        {
            "frames": 3,
            "delta": Decimal("-0.5"),
            "note": "text",
            "flag": True,
            "gpu": {"model": "x", "hours": [1, {"idle": Decimal("0.25")}, "text", None]},
            "tool_usage": 5,
            "tool_calls_details": {"x": {"latency": 9}},
        }
    ) == {
        "frames": 3,
        "delta": Decimal("-0.5"),
        "gpu.hours[0]": 1,
        "gpu.hours[1].idle": Decimal("0.25"),
        "tool_usage": 5,
        "tool_calls_details.x.latency": 9,
    }


@pytest.mark.parametrize("value", [Decimal("NaN"), Decimal("1E+400"), 10**30, -(10**30), Decimal("1E-31")])
def test_a_number_that_no_meter_names_must_be_one_that_can_be_kept(value: object) -> None:
    assert refusal({"frames": value})[0] == "frames"
    assert refusal({"a": [{"b": value}]})[0] == "a[0].b"


def test_a_time_in_nanoseconds_does_not_cost_the_event() -> None:
    assert normalized({"started_ns": 1_777_777_777_123_456_789}) == {"started_ns": 1_777_777_777_123_456_789}


def test_input_that_nests_deeply_needs_no_deep_stack() -> None:
    bomb: object = 1
    for _ in range(20_000):
        bomb = [bomb]
    [(path, value)] = normalized({"bomb": bomb}).items()
    assert (path.count("[0]"), value) == (20_000, 1)


def test_a_tool_is_counted_by_either_shape_and_only_a_tool() -> None:
    assert normalized({"tool_usage": {"web_search": 2, "a.b": 1}}) == {"tools.web_search": 2, "tools.a.b": 1}
    assert normalized({"tool_calls_details": {"web_search": {"invocation": Decimal("2.0")}}}) == {
        "tools.web_search": 2
    }
    assert VOCABULARY.meter("tools.web_search") == Meter("tools.web_search", "integer", "call")
    assert VOCABULARY.meter("tools.") is None
    assert VOCABULARY.meter("tool") is None


def test_a_dotted_name_means_the_same_however_its_number_is_spelt() -> None:
    for count in (3, Decimal(3), Decimal("3.0")):
        assert normalized({"tool_usage.x": count}) == {"tools.x": 3}


def test_usage_is_never_changed() -> None:
    usage = {"input_tokens": 5, "input_tokens_details": {"cached_tokens": 2}, "tool_usage": {"x": 1}}
    before = repr(usage)
    normalize(usage, VOCABULARY)
    assert repr(usage) == before


def test_which_part_is_named_does_not_depend_on_the_order_of_fields() -> None:
    parts = ["audio_input_tokens", READ, WRITE]
    usage = {"prompt_tokens": 1, **dict.fromkeys(parts, 2)}
    assert {refusal(dict(order))[0] for order in (usage.items(), reversed(usage.items()))} == {READ}


quantities = st.one_of(
    st.integers(0, LIMIT - 1), st.decimals(0, LIMIT - 1, places=18, allow_nan=False, allow_infinity=False)
)


@given(quantities, quantities)
def test_arithmetic_of_quantities_is_exact_in_any_decimal_context(one: Any, other: Any) -> None:  # noqa: ANN401
    with localcontext(prec=3):
        assert Fraction(plus(one, other)) == Fraction(one) + Fraction(other)
        assert Fraction(less(one, other)) == Fraction(one) - Fraction(other)
        assert Fraction(times(one, other)) == Fraction(one) * Fraction(other)


def test_a_vocabulary_without_anything_counts_nothing_but_tokens() -> None:
    assert normalize({"input_tokens": 1, "images": 2}, Vocabulary()) == {"prompt_tokens": 1, "images": 2}
