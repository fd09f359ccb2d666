"""Three token shapes, one meaning; every number checked before anything is priced.

The shapes and their tell-tales are those of the usage vocabulary. After `normalize`, `prompt_tokens`
always includes the cached tokens, which are `cache_read_input_tokens` and
`cache_creation_input_tokens`, and `completion_tokens` is the output, whatever the worker called them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Final, NamedTuple

from metering.errors import InvalidUsage
from metering.usage.meters import (
    CACHE_READ,
    CACHE_WRITE,
    CACHED_DETAILS,
    COMPLETION,
    INPUT,
    INPUT_DETAILS,
    OUTPUT,
    PROMPT,
    TOKEN_ALIASES,
    TOOLS,
    TOTAL,
    Quantity,
    Vocabulary,
)

# A quantity beyond this is a mistake, not work: it keeps every product inside NUMERIC(38,12).
LIMIT: Final = 10**15
MAX_PLACES: Final = 18
# What no meter names is only kept: a time in nanoseconds must not cost the event.
UNNAMED_LIMIT: Final = 10**30
UNNAMED_PLACES: Final = 30
_TOOL_OBJECTS: Final = frozenset({"tool_calls_details", "tool_usage"})


class TokenCounts(NamedTuple):
    """The words of the account API; `total` is what the worker stated, else input + output."""

    input: int
    output: int
    cache_read: int
    cache_write: int
    total: int


def normalize(usage: Mapping[str, object], vocabulary: Vocabulary) -> dict[str, Quantity]:
    """Every number in `usage` by its meter's name; one that no meter names, by its dotted path.

    Raises `InvalidUsage` naming the field for a negative, fractional, non-finite or too large count, a
    text where a number belongs, a wrongly typed variant field, cached tokens beyond the prompt's, and two
    fields that state the same quantity differently. `null` is the same as absent.
    """
    quantities: dict[str, Quantity] = {}
    counted = vocabulary.counted
    nested = False
    for name, value in usage.items():
        if type(value) is int and name in counted and 0 <= value < LIMIT:
            quantities[name] = value
        elif isinstance(value, dict | list):
            if name in vocabulary.fields or name in vocabulary.meters or name in TOKEN_ALIASES:
                raise InvalidUsage("must be a single value, not a list or an object", param=name)
            nested = not _take_counts(name, value, quantities) or nested
        elif value is not None:
            _take(name, value, vocabulary, quantities)
    if nested:
        for path, value in _leaves(usage):
            _take(path, value, vocabulary, quantities)
    if not vocabulary.unified.isdisjoint(quantities):
        _unify_tokens(usage, quantities)
        _check_parts(usage, vocabulary, quantities)
    return quantities


def count_tokens(quantities: Mapping[str, Quantity]) -> TokenCounts:
    """The token counts of normalized usage, zero where a count is absent."""
    prompt = int(quantities.get(PROMPT, 0))
    completion = int(quantities.get(COMPLETION, 0))
    read, write = quantities.get(CACHE_READ, 0), quantities.get(CACHE_WRITE, 0)
    total = quantities.get(TOTAL, prompt + completion)
    return TokenCounts(prompt, completion, int(read), int(write), int(total))


def _take_counts(name: str, value: object, quantities: dict[str, Quantity]) -> bool:
    """Take an object of plain counts, as token details are; False where it needs `_take`."""
    if not isinstance(value, dict) or name in _TOOL_OBJECTS:
        return False
    for key, count in value.items():
        if type(count) is not int or not 0 <= count < LIMIT:
            return False
        path = f"{name}.{key}"
        _agree(quantities, path, count, path)
    return True


def _take(path: str, value: object, vocabulary: Vocabulary, quantities: dict[str, Quantity]) -> None:
    """Check one leaf and keep it if it is a number."""
    field = vocabulary.fields.get(path)
    name = _meter_name(path)
    meter = vocabulary.meter(name)
    if field is not None and field.kind != "number":
        if not isinstance(value, str if field.kind == "string" else bool):
            raise InvalidUsage(f"must be a {field.kind}", param=path)
    elif meter is not None or name in TOKEN_ALIASES:
        number = _number(path, value)
        if number < 0:
            raise InvalidUsage("must not be negative", param=path)
        if meter is None or meter.kind == "integer":
            if number != int(number):
                raise InvalidUsage("must be a whole number", param=path)
            number = int(number)
        _agree(quantities, name, number, path)
    elif field is not None:
        quantities[path] = _number(path, value)
    elif isinstance(value, int | Decimal) and not isinstance(value, bool):
        quantities[path] = _number(path, value, limit=UNNAMED_LIMIT, places=UNNAMED_PLACES)


def _meter_name(path: str) -> str:
    """`tool_calls_details.<tool>.invocation` and `tool_usage.<tool>` both count `tools.<tool>`."""
    if path.startswith("tool_calls_details.") and path.endswith(".invocation"):
        return TOOLS + path.removeprefix("tool_calls_details.").removesuffix(".invocation")
    if path.startswith("tool_usage."):
        return TOOLS + path.removeprefix("tool_usage.")
    return path


def _number(path: str, value: object, *, limit: int = LIMIT, places: int = MAX_PLACES) -> Quantity:
    """The value as a number that can be computed with exactly."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise InvalidUsage("must be a number", param=path)
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise InvalidUsage("must be a finite number", param=path)
        if -int(value.as_tuple().exponent) > places:
            raise InvalidUsage(f"has more than {places} decimal places", param=path)
    if not -limit < value < limit:
        raise InvalidUsage(f"must be below {limit}", param=path)
    return value


def _agree(quantities: dict[str, Quantity], name: str, quantity: Quantity, path: str) -> None:
    """Two fields may state the same quantity, but not two quantities."""
    if quantities.setdefault(name, quantity) != quantity:
        raise InvalidUsage(f"disagrees with another field that states {name}", param=path)


def _leaves(usage: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Every leaf below a list or an object, with its dotted path; a loop, for input may nest deeply."""
    stack: list[tuple[str, object]] = [
        (name, value) for name, value in usage.items() if isinstance(value, dict | list)
    ]
    while stack:
        path, value = stack.pop()
        if isinstance(value, dict):
            stack.extend((f"{path}.{key}", inner) for key, inner in value.items())
        elif isinstance(value, list):
            stack.extend((f"{path}[{index}]", inner) for index, inner in enumerate(value))
        elif value is not None:
            yield path, value


def _unify_tokens(usage: Mapping[str, object], quantities: dict[str, Quantity]) -> None:
    """Bring the responses and the messages shape into the words of chat completions."""
    for path in CACHED_DETAILS:
        if path in quantities:
            _agree(quantities, CACHE_READ, quantities.pop(path), path)
    if OUTPUT in quantities:
        _agree(quantities, COMPLETION, quantities.pop(OUTPUT), OUTPUT)
    stated = quantities.pop(INPUT, None)
    if stated is None:
        return
    cached = quantities.get(CACHE_READ, 0) + quantities.get(CACHE_WRITE, 0)
    if PROMPT in quantities:
        if stated not in (quantities[PROMPT], quantities[PROMPT] - cached):
            raise InvalidUsage(f"disagrees with {PROMPT}", param=INPUT)
    elif isinstance(usage.get(INPUT_DETAILS), dict):
        quantities[PROMPT] = stated
    else:
        quantities[PROMPT] = stated + cached


def _check_parts(
    usage: Mapping[str, object], vocabulary: Vocabulary, quantities: Mapping[str, Quantity]
) -> None:
    """A part never exceeds its whole, nor do the cached tokens together."""
    for name, whole in vocabulary.parts.items():
        if name in quantities and quantities[name] > quantities.get(whole, 0):
            raise InvalidUsage(
                f"is part of {whole} and must not exceed it", param=_field_stating(name, usage)
            )
    cached = quantities.get(CACHE_READ, 0) + quantities.get(CACHE_WRITE, 0)
    if cached > quantities.get(PROMPT, 0):
        raise InvalidUsage(f"with {CACHE_READ} exceeds {PROMPT}", param=CACHE_WRITE)


def _field_stating(name: str, usage: Mapping[str, object]) -> str:
    """The field of the usage that states the meter: cached tokens have three."""
    if name == CACHE_READ and usage.get(name) is None:
        for path in CACHED_DETAILS:
            details = usage.get(path.partition(".")[0])
            if isinstance(details, dict) and details.get("cached_tokens") is not None:
                return path
    return name
