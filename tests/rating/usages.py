"""Random usage in the three token shapes: good, and with one thing wrong."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from tests.rating.price_books import VALUES

Usage = dict[str, Any]
# The edges of the random books' tiers, and what lies beside them.
COUNTS = [0, 1, 5, 8, 9, 10, 11, 999, 1000, 1001, 32_000, 32_001, 1_000_000, 1_000_001]
PART_FIELDS = ("cache_read_input_tokens", "cache_creation_input_tokens", "audio_input_tokens")


def counts() -> st.SearchStrategy[int]:
    """Whole quantities, mostly at the edges."""
    return st.one_of(st.sampled_from(COUNTS), st.integers(0, 3_000_000))


def numbers() -> st.SearchStrategy[int | Decimal]:
    """Quantities with up to nine places, as JSON would give them."""
    decimals = st.decimals(0, 2_000_000, places=9, allow_nan=False, allow_infinity=False)
    edges = st.sampled_from([Decimal(text) for text in ("5", "5.0", "8.000", "10.5", "1E+3", "0.0000000005")])
    return st.one_of(counts(), decimals, edges)


def as_sent(count: int) -> st.SearchStrategy[int | Decimal]:
    """A whole number may be sent as 5, and as 5.0."""
    return st.sampled_from([count, count, count, Decimal(count), Decimal(f"{count}.0")])


@st.composite
def tokens(draw: st.DrawFn) -> tuple[int, int, int, int]:
    """Prompt, of which cache read, of which cache write; and completion."""
    prompt = draw(counts())
    read = draw(st.one_of(st.just(0), st.integers(0, prompt)))
    write = draw(st.one_of(st.just(0), st.integers(0, prompt - read)))
    return prompt, read, write, draw(counts())


def shapes(prompt: int, read: int, write: int, completion: int) -> list[Usage]:
    """The same tokens in each of the three shapes, and with all the words of two of them."""
    parts = {"cache_read_input_tokens": read, "cache_creation_input_tokens": write}
    parts = {name: count for name, count in parts.items() if count}
    chat: Usage = {"prompt_tokens": prompt, "completion_tokens": completion} | parts
    detailed = {name: count for name, count in chat.items() if name != "cache_read_input_tokens"}
    detailed["prompt_tokens_details"] = {"cached_tokens": read, "note": "text"}
    responses: Usage = {"input_tokens": prompt, "output_tokens": completion} | parts
    responses["input_tokens_details"] = {"cached_tokens": read} if read else {}
    messages = {"input_tokens": prompt - read - write, "output_tokens": completion} | parts
    both = chat | {"input_tokens": prompt, "output_tokens": completion}
    return [chat, detailed, responses, messages, both]


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """A good usage object: tokens in some shape, and a few of the other fields."""
    usage: Usage = {}
    if draw(st.integers(0, 3)):
        prompt, read, write, completion = draw(tokens())
        usage = dict(draw(st.sampled_from(shapes(prompt, read, write, completion))))
        if draw(st.booleans()):
            usage["audio_input_tokens"] = draw(st.integers(0, prompt))
        if draw(st.integers(0, 9)) == 0:
            usage["total_tokens"] = draw(counts())
    for field, values in VALUES.items():
        if field not in {"duration_seconds", "num_gpus"} and draw(st.integers(0, 3)):
            usage[field] = draw(st.sampled_from([*values, *values, *values, None]))
    for name in ("images", "videos", "num_gpus", "requests", "frames"):
        if draw(st.booleans()):
            usage[name] = draw(counts().flatmap(as_sent))
    if draw(st.booleans()):
        usage["duration_seconds"] = draw(numbers())
        usage["silent_seconds"] = draw(st.sampled_from([0, usage["duration_seconds"], None]))
    for name in ("seconds", "upstream_cost_usd"):
        if draw(st.integers(0, 2)):
            usage[name] = draw(numbers())
    return usage | draw(tools())


@st.composite
def tools(draw: st.DrawFn) -> Usage:
    """Calls of tools, said in one way, the other, or both."""
    calls = draw(st.dictionaries(st.sampled_from(["web_search", "fetch", "unknown"]), counts(), max_size=2))
    said: Usage = {}
    if draw(st.booleans()):
        said["tool_usage"] = dict(calls)
    if draw(st.booleans()):
        said["tool_calls_details"] = {tool: {"invocation": count} for tool, count in calls.items()}
    return said


@st.composite
def spoilt(draw: st.DrawFn) -> Usage:
    """A usage object with one field that may be bad; the oracle knows whether it is."""
    usage = draw(usages())
    names = [*usage, *PART_FIELDS, "prompt_tokens", "input_tokens", "images", "seconds", "frames", "draft"]
    name = draw(st.sampled_from(names))
    value = draw(
        st.sampled_from(
            [-1, Decimal("0.5"), Decimal("-0.1"), "7", True, None, [1], {"a": 1}, 10**15, 10**400]
            + [Decimal(text) for text in ("NaN", "-Infinity", "1E+400", "1E-19", "3.0", "-0")]
        )
    )
    return usage | {name: value}
