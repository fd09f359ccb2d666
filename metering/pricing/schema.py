"""The grammar of the price book, defined once: the compiler checks by it and the JSON Schema is made from it.

A table of `Key`s says which keys a mapping may have. `CHARGE_MODELS` says which of the charge's keys
belong to which charge model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Final

GRAMMAR: Final = 1
# No leading zeros: line items show a rate as the JSON number that it spells.
_AMOUNT: Final = re.compile(r"(0|[1-9][0-9]{0,11})(\.[0-9]{1,18})?")
_DOLLARS: Final = re.compile(r"(0|[1-9][0-9]{0,11})(\.[0-9]{1,12})?")
_COUNT: Final = re.compile(r"([0-9]{1,15})([KM]?)")
_SUFFIX: Final = {"": 1, "K": 1_000, "M": 1_000_000}
_CENTS: Final = re.compile(r"(0|[1-9][0-9]{0,11})(\.[0-9]{1,2})?")
_DURATION: Final = re.compile(r"([1-9][0-9]{0,3}) (minute|hour|day)s?")


def is_amount(value: object) -> bool:
    """A quoted decimal, such as "1.08": text, so that no binary float can stand in for it."""
    return isinstance(value, str) and _AMOUNT.fullmatch(value) is not None


def is_dollars(value: object) -> bool:
    """A quoted decimal that is charged as it stands, so with the 12 places that money has."""
    return isinstance(value, str) and _DOLLARS.fullmatch(value) is not None


def count(value: object) -> int | None:
    """A whole quantity: `32K` is 32,000, `1M` is 1,000,000, `25` is itself; None for anything else."""
    if isinstance(value, bool):
        return None
    match = _COUNT.fullmatch(str(value)) if isinstance(value, int | str) else None
    return int(match[1]) * _SUFFIX[match[2]] if match else None


def duration(value: object) -> timedelta | None:
    """A length of time, such as `30 minutes`, `1 hour` or `3 days`; None for anything else."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    return timedelta(**{f"{match[2]}s": int(match[1])}) if match else None


def _is_scalar(value: object) -> bool:
    return isinstance(value, str | bool | int) or is_amount(value)


@dataclass(frozen=True, slots=True)
class Kind:
    """A sort of value: how to recognise one, how to say it, and how JSON Schema says it."""

    says: str
    accepts: Callable[[object], bool]
    json: Mapping[str, object]


_SCALAR_JSON: Final = {"type": ["string", "boolean", "integer"]}
TEXT: Final = Kind("a text", lambda v: isinstance(v, str) and bool(v), {"type": "string", "minLength": 1})
TEXTS: Final = Kind(
    "a list of texts",
    lambda v: isinstance(v, list) and all(isinstance(item, str) for item in v),
    {"type": "array", "items": {"type": "string"}},
)
AMOUNT: Final = Kind("a quoted decimal", is_amount, {"type": "string", "pattern": f"^{_AMOUNT.pattern}$"})
DOLLARS: Final = Kind(
    "a quoted decimal with at most 12 places",
    is_dollars,
    {"type": "string", "pattern": f"^{_DOLLARS.pattern}$"},
)
COUNT: Final = Kind(
    "a whole number, such as 25, 32K or 1M",
    lambda v: count(v) is not None,
    {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": f"^{_COUNT.pattern}$"}]},
)
BOOLEAN: Final = Kind("true or false", lambda v: isinstance(v, bool), {"type": "boolean"})
SCALAR: Final = Kind("a text, true, false or a whole number", _is_scalar, _SCALAR_JSON)
DATE: Final = Kind(
    "a date, such as 2026-12-01, or a time with its zone",
    lambda v: parse_date(v) is not None,
    {"type": "string", "anyOf": [{"format": "date"}, {"format": "date-time"}]},
)
METERS: Final = Kind(
    "a meter or a list of meters",
    lambda v: (isinstance(v, str) or TEXTS.accepts(v)) and bool(v),
    {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]},
)
RATES: Final = Kind(
    "a quoted decimal for each meter",
    lambda v: isinstance(v, dict) and bool(v) and all(isinstance(m, str) and is_amount(v[m]) for m in v),
    {"type": "object", "minProperties": 1, "additionalProperties": AMOUNT.json},
)
WHEN: Final = Kind(
    "a value or a list of values for each field",
    lambda v: isinstance(v, dict) and bool(v) and all(_is_choice(choice) for choice in v.values()),
    {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": {
            "anyOf": [_SCALAR_JSON, {"type": "array", "items": _SCALAR_JSON, "minItems": 1}]
        },
    },
)
COUNTS: Final = Kind(
    "a whole number for each meter",
    lambda v: isinstance(v, dict) and all(count(item) is not None for item in v.values()),
    {"type": "object", "additionalProperties": COUNT.json},
)
CENTS: Final = Kind(
    "a quoted amount in whole cents",
    lambda v: isinstance(v, str) and _CENTS.fullmatch(v) is not None,
    {"type": "string", "pattern": f"^{_CENTS.pattern}$"},
)
DURATION: Final = Kind(
    "a length of time, such as 30 minutes, 1 hour or 3 days",
    lambda v: duration(v) is not None,
    {"type": "string", "pattern": f"^{_DURATION.pattern}$"},
)
DURATIONS: Final = Kind(
    "a list of lengths of time, such as 30 minutes, 1 hour or 3 days",
    lambda v: isinstance(v, list) and all(duration(item) is not None for item in v),
    {"type": "array", "items": DURATION.json},
)
SECTION: Final = Kind("a mapping", lambda v: isinstance(v, dict), {"type": "object"})
MAPPING: Final = Kind("a mapping", lambda v: isinstance(v, dict), {"type": "object"})
LIST: Final = Kind("a list", lambda v: isinstance(v, list), {"type": "array"})


def _is_choice(choice: object) -> bool:
    values = choice if isinstance(choice, list) else [choice]
    return bool(values) and all(_is_scalar(value) for value in values)


def one_of(*values: object) -> Kind:
    """Exactly one of the values."""
    texts = " or ".join(str(value) for value in values)
    return Kind(
        texts, lambda v: any(v == value and type(v) is type(value) for value in values), {"enum": [*values]}
    )


def some_of(*values: str) -> Kind:
    """A list whose items are all among the values."""
    return Kind(
        f"a list out of {', '.join(values)}",
        lambda v: isinstance(v, list) and all(item in values for item in v),
        {"type": "array", "items": {"enum": [*values]}},
    )


def parse_date(value: object) -> datetime | None:
    """A date is its first moment in UTC; a time must state its zone; None for anything else."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
        if value.tzinfo is None and value.time() == time.min:
            value = value.date()
    if isinstance(value, datetime):
        return value if value.tzinfo else None
    if isinstance(value, date):
        return datetime.fromisoformat(f"{value.isoformat()}T00:00:00+00:00")
    return None


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a mapping: its kind of value, what it means, and whether it must be there."""

    kind: Kind
    means: str
    required: bool = False
    of: Mapping[str, Key] | None = None


CHARGE_MODELS: Final[Mapping[str, frozenset[str]]] = {
    "per_unit": frozenset({"meter", "per", "rate", "rates", "percent_off", "list_rate"}),
    "flat": frozenset({"per", "rate", "list_rate"}),
    "volume": frozenset({"meter", "per", "rate", "list_rate", "above", "up_to", "tier_by"}),
    "graduated": frozenset({"meter", "per", "rate", "list_rate", "above", "up_to"}),
    "package": frozenset({"meter", "per", "rate", "list_rate"}),
    "percentage": frozenset({"meter", "per", "percent", "minimum", "maximum"}),
    "dynamic": frozenset({"meter", "per", "minimum", "maximum", "default"}),
}
COMMON_KEYS: Final = frozenset({"charge", "model", "when", "spec", "text", "label", "listed", "accept"})
NOTE_KEYS: Final = frozenset({"charge", "spec", "note"})

CHARGE: Final[Mapping[str, Key]] = {
    "charge": Key(TEXT, "what the line of the price list is called", required=True),
    "meter": Key(METERS, "what is counted; several meters may share one rate"),
    "model": Key(one_of(*CHARGE_MODELS), "how a quantity becomes money; per_unit unless it says otherwise"),
    "per": Key(TEXT, "the unit of the rate: `1M tokens`, `minute`, `5 URLs` for a package of five"),
    "rate": Key(AMOUNT, "US dollars per unit"),
    "rates": Key(RATES, "US dollars per unit, for each meter that the line prices"),
    "percent_off": Key(AMOUNT, "percent off the rate of the meter that this one is part of"),
    "list_rate": Key(AMOUNT, "the undiscounted rate, shown beside it"),
    "above": Key(COUNT, "the tier starts above this quantity"),
    "up_to": Key(COUNT, "the tier ends with this quantity, included"),
    "tier_by": Key(TEXT, "the meter whose whole quantity picks the tier; the charge's own unless stated"),
    "when": Key(WHEN, "the variant: the line applies where every field has one of these values"),
    "percent": Key(AMOUNT, "the mark-up on the upstream cost, in percent"),
    "minimum": Key(DOLLARS, "the least it costs"),
    "maximum": Key(DOLLARS, "the most it costs"),
    "default": Key(DOLLARS, "what it costs where the upstream cost is absent"),
    "spec": Key(TEXT, "shown in the price list; {tier}, {above}, {up_to} and {per} are filled in"),
    "text": Key(TEXT, "the rate as shown; {rate}, {minimum}, {maximum}, {default} and meters are filled in"),
    "label": Key(TEXT, "the pricing tier label stamped on usage priced by this line"),
    "listed": Key(BOOLEAN, "false keeps the line out of the public price list"),
    "note": Key(TEXT, "a line that is shown and prices nothing"),
    "accept": Key(
        some_of("cached_above_input", "unusual_rate"), "what the line means to do, against the lint"
    ),
}
EDITION: Final[Mapping[str, Key]] = {
    "effective": Key(DATE, "from when these charges hold; a date is its first moment in UTC", required=True),
    "charges": Key(LIST, "the lines of this edition", required=True, of=CHARGE),
    "minimum": Key(DOLLARS, "the least a request costs"),
    "maximum": Key(DOLLARS, "the most a request costs"),
}
MODEL: Final[Mapping[str, Key]] = {
    "name": Key(TEXT, "as customers see it", required=True),
    "category": Key(TEXT, "as in the catalogue", required=True),
    "endpoint": Key(TEXT, "where requests for the model are sent"),
    "context_window": Key(COUNT, "tokens"),
    "region": Key(TEXT, "where it runs"),
    "input_modalities": Key(TEXTS, "what goes in"),
    "output_modalities": Key(TEXTS, "what comes out"),
    "features": Key(TEXTS, "as in the catalogue"),
    "charges": Key(
        LIST, "the lines of the first edition, in the order of the price list", required=True, of=CHARGE
    ),
    "minimum": Key(DOLLARS, "the least a request costs"),
    "maximum": Key(DOLLARS, "the most a request costs"),
    "editions": Key(LIST, "later prices, appended and never edited", of=EDITION),
}
PROVIDER: Final[Mapping[str, Key]] = {
    "provider": Key(TEXT, "the provider's name", required=True),
    "models": Key(MAPPING, "rate cards by model id", required=True, of=MODEL),
}
PLAN: Final[Mapping[str, Key]] = {
    "name": Key(TEXT, "as customers see it", required=True),
    "category": Key(TEXT, "as in the catalogue", required=True),
    "monthly_fee": Key(DOLLARS, "US dollars a month", required=True),
    "included": Key(COUNTS, "quantities that the fee covers each month, by meter"),
}
PLANS: Final[Mapping[str, Key]] = {"plans": Key(MAPPING, "plans by slug", required=True, of=PLAN)}
METER: Final[Mapping[str, Key]] = {
    "type": Key(one_of("integer", "number"), "whole counts, or any number", required=True),
    "unit": Key(TEXT, "one of what is counted", required=True),
    "part_of": Key(TEXT, "the meter whose quantity includes this one"),
    "sum_of": Key(TEXTS, "the meters that add up to this one"),
    "product_of": Key(TEXTS, "the meters whose product this one is"),
    "default": Key(COUNT, "the quantity where usage does not state it"),
}
FIELD: Final[Mapping[str, Key]] = {
    "type": Key(one_of("string", "boolean", "number"), "what the field holds", required=True),
    "default": Key(SCALAR, "its value where usage does not state it"),
}
METERS_FILE: Final[Mapping[str, Key]] = {
    "meters": Key(MAPPING, "what can be counted", required=True, of=METER),
    "fields": Key(MAPPING, "what can pick a variant", required=True, of=FIELD),
}
BOOK: Final[Mapping[str, Key]] = {
    "currency": Key(one_of("USD"), "the currency of every amount", required=True),
    "grammar": Key(one_of(GRAMMAR), "the version of this grammar", required=True),
}
BONUS: Final[Mapping[str, Key]] = {
    "from": Key(CENTS, "the least that must be paid for it", required=True),
    "percent": Key(COUNT, "percent of the whole amount, given on top", required=True),
}
LIMITS: Final[Mapping[str, Key]] = {
    "minimum": Key(CENTS, "the least of one top-up", required=True),
    "maximum": Key(CENTS, "the most of one top-up", required=True),
    "bonuses": Key(LIST, "the volume bonus, from the least amount to the largest", of=BONUS),
    "statement_descriptor": Key(
        TEXT, "what a card's statement says: the Stripe account's own prefix, *, and ours", required=True
    ),
    "low_balance": Key(CENTS, "below it a new account's customer is told", required=True),
}
CEILING: Final[Mapping[str, Key]] = {
    "purchases": Key(COUNT, "how often may be bought", required=True),
    "amount": Key(CENTS, "how much may be bought together", required=True),
}
BRAKE: Final[Mapping[str, Key]] = {
    "purchases": Key(COUNT, "one more than this many purchases look like a runaway", required=True),
    "within": Key(DURATION, "if they are made in this time", required=True),
}
AUTO_TOP_UP: Final[Mapping[str, Key]] = {
    "minimum_threshold": Key(CENTS, "the least threshold", required=True),
    "minimum_amount_of_threshold": Key(
        COUNT, "the amount is at least so many times the threshold", required=True
    ),
    "per_day": Key(SECTION, "the ceiling of a day (UTC)", required=True, of=CEILING),
    "per_month": Key(SECTION, "the ceiling of a month (UTC)", required=True, of=CEILING),
    "retry_after": Key(
        DURATIONS, "the waits between tries of a card that declines; then it is off", required=True
    ),
    "brake": Key(SECTION, "when it is switched off because it looks like a runaway", required=True, of=BRAKE),
}
SELLER: Final[Mapping[str, Key]] = {
    "name": Key(TEXT, "who sells, as receipts say it", required=True),
    "address": Key(TEXTS, "the lines of the seller's address"),
    "email": Key(TEXT, "where customers may ask", required=True),
    "tax_id": Key(TEXT, "the seller's tax number, as receipts say it"),
}
TOP_UPS: Final[Mapping[str, Key]] = {
    "top_ups": Key(SECTION, "credit that customers buy", required=True, of=LIMITS),
    "auto_top_up": Key(SECTION, "credit that is bought by itself", required=True, of=AUTO_TOP_UP),
    "seller": Key(SECTION, "who sells it", required=True, of=SELLER),
}


def shape_problems(value: object, keys: Mapping[str, Key]) -> list[str]:
    """What is wrong with one mapping by its table of keys, a reason each; nested tables are the caller's."""
    if not isinstance(value, dict):
        return ["must be a mapping"]
    problems = [f"unknown key `{name}`" for name in value if name not in keys]
    problems += [f"`{name}` is missing" for name, key in keys.items() if key.required and name not in value]
    for name, key in keys.items():
        if name in value and not key.kind.accepts(value[name]):
            given = value[name]
            if (number := _binary_float(given)) is not None:
                problems.append(f"`{name}` is a binary float ({number}): write it in quotes")
            else:
                problems.append(f"`{name}` must be {key.kind.says}, not {given!r}")
    return problems


def _binary_float(given: object) -> object | None:
    """The number that YAML has read as a binary float, in the value or one level below; else None."""
    inner = given.values() if isinstance(given, dict) else given if isinstance(given, list) else [given]
    return next((value for value in inner if isinstance(value, float)), None)


def json_schema() -> dict[str, object]:
    """The JSON Schema of a price book's files, for editors; the compiler checks more than it can say."""
    files = (PROVIDER, PLANS, METERS_FILE, BOOK, TOP_UPS)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Price book",
        "anyOf": [_object(keys) for keys in files],
    }


def _object(keys: Mapping[str, Key]) -> dict[str, object]:
    properties: dict[str, object] = {}
    for name, key in keys.items():
        described = {**key.kind.json, "description": key.means}
        if key.of is not None and key.kind is SECTION:
            described |= _object(key.of)
        elif key.of is not None:
            described["items" if key.kind is LIST else "additionalProperties"] = _object(key.of)
        properties[name] = described
    required = [name for name, key in keys.items() if key.required]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
