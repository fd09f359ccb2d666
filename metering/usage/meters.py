"""The vocabulary: which fields of a usage object can be counted, and which pick a variant.

Its content is data (`pricing_rules/meters.yml`); the source of every meaning is the usage vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Context, Decimal, Inexact, InvalidOperation
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

Quantity: TypeAlias = int | Decimal
Scalar: TypeAlias = str | bool | int | Decimal

PROMPT: Final = "prompt_tokens"
COMPLETION: Final = "completion_tokens"
CACHE_READ: Final = "cache_read_input_tokens"
CACHE_WRITE: Final = "cache_creation_input_tokens"
TOTAL: Final = "total_tokens"
REQUESTS: Final = "requests"
UPSTREAM_COST: Final = "upstream_cost_usd"
TOOLS: Final = "tools."
INPUT: Final = "input_tokens"
OUTPUT: Final = "output_tokens"
INPUT_DETAILS: Final = "input_tokens_details"
CACHED_DETAILS: Final = ("prompt_tokens_details.cached_tokens", f"{INPUT_DETAILS}.cached_tokens")
# What the responses and the messages shape call the meters above.
TOKEN_ALIASES: Final = frozenset({INPUT, OUTPUT, *CACHED_DETAILS})

# Two quantities have at most 15 digits before the point and 18 after it each: nothing here is ever inexact.
_EXACT: Final = Context(prec=96, traps=[Inexact, InvalidOperation])


@dataclass(frozen=True, slots=True)
class Meter:
    """A countable thing in usage.

    `part_of` names the meter whose quantity includes this one; `sum_of` and `product_of` say how a
    meter follows from others where the usage does not state it; `default` is its quantity when absent.
    """

    name: str
    kind: Literal["integer", "number"]
    unit: str
    part_of: str | None = None
    sum_of: tuple[str, ...] = ()
    product_of: tuple[str, ...] = ()
    default: int = 0


@dataclass(frozen=True, slots=True)
class Field:
    """A field that picks a variant; `default` is its value when absent, None if it must be stated."""

    name: str
    kind: Literal["string", "boolean", "number"]
    default: Scalar | None = None


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """All meters and fields, by name. `tools.<tool>` is a meter for any tool and is not listed.

    `parts` has the whole of each meter that is part of another. `counted` are the names whose number stands
    for a quantity and picks no variant; `unified` those that call for a look at the token shapes.
    """

    meters: Mapping[str, Meter] = field(default_factory=lambda: MappingProxyType({}))
    fields: Mapping[str, Field] = field(default_factory=lambda: MappingProxyType({}))
    parts: Mapping[str, str] = field(init=False)
    counted: frozenset[str] = field(init=False)
    unified: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        """Derive what is asked for each event."""
        parts = {meter.name: meter.part_of for meter in self.meters.values() if meter.part_of}
        object.__setattr__(self, "parts", MappingProxyType(parts))
        object.__setattr__(self, "counted", TOKEN_ALIASES | (self.meters.keys() - self.fields.keys()))
        object.__setattr__(self, "unified", TOKEN_ALIASES | parts.keys())

    def meter(self, name: str) -> Meter | None:
        """The meter of that name, or None; a tool's meter is made on the spot."""
        if name.startswith(TOOLS) and len(name) > len(TOOLS):
            return Meter(name, "integer", "call")
        return self.meters.get(name)


def less(one: Quantity, other: Quantity) -> Quantity:
    """`one` - `other`, exactly, whatever the thread's decimal context."""
    if isinstance(one, int) and isinstance(other, int):
        return one - other
    return _EXACT.subtract(Decimal(one), Decimal(other))


def times(one: Quantity, other: Quantity) -> Quantity:
    """`one` x `other`, exactly, whatever the thread's decimal context."""
    if isinstance(one, int) and isinstance(other, int):
        return one * other
    return _EXACT.multiply(Decimal(one), Decimal(other))


def plus(one: Quantity, other: Quantity) -> Quantity:
    """`one` + `other`, exactly, whatever the thread's decimal context."""
    if isinstance(one, int) and isinstance(other, int):
        return one + other
    return _EXACT.add(Decimal(one), Decimal(other))
