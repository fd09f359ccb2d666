"""Stripe's form encoding with brackets, and the shapes that a call's parameters must have.

A `Form` names what is simulated of a call. Whatever else is sent is refused: as unknown, or, where the
SDK's own parameter types know it, as Stripe's but not simulated.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import parse_qsl

from metering.payments.simulator.refusals import Json, Refusal

Raw = str | dict[str, Any]
Reader = Callable[[Raw, str], Any]
Fields = Mapping[str, Reader]

_EXTRA: Final = frozenset({"expand"})


def parse(text: str) -> dict[str, Any]:
    """`a[b]=1&c[]=2&c[]=3` as {"a": {"b": "1"}, "c": {"0": "2", "1": "3"}}: all leaves are text."""
    parsed: dict[str, Any] = {}
    for key, value in parse_qsl(text, keep_blank_values=True):
        head, *rest = key.replace("]", "").split("[")
        node, name = parsed, head
        for part in rest:
            node = _below(node, name, key)
            name = part or str(len(node))
        if name in node and isinstance(node[name], dict):
            raise Refusal(f"Invalid parameters: {key} is both a value and a hash", param=key)
        node[name] = value
    return parsed


def _below(node: dict[str, Any], name: str, key: str) -> dict[str, Any]:
    below = node.setdefault(name, {})
    if not isinstance(below, dict):
        raise Refusal(f"Invalid parameters: {key} is both a value and a hash", param=key)
    return below


@dataclass(frozen=True)
class Form:
    """The parameters of a call: readers by name, those it needs, and the SDK's type of all there are."""

    fields: Fields = field(default_factory=dict)
    needed: tuple[str, ...] = ()
    sdk: str = ""

    def read(self, raw: Raw, param: str = "", sdk: str | None = None) -> Json:
        """What was sent, typed; what wasn't is absent, and what was unset by "" is None."""
        if not isinstance(raw, dict):
            raise Refusal("Invalid object", param=param)
        sdk = self.sdk if sdk is None else sdk
        self._refuse_others(raw, param, sdk)
        for name in self.needed:
            path = _inside(param, name)
            if raw.get(name) == "":
                raise Refusal(
                    f"You passed an empty string for '{path}'. We assume empty values are an attempt to "
                    f"unset a parameter; however '{path}' cannot be unset. You should remove '{path}' from "
                    "your request or supply a non-empty value.",
                    code="parameter_invalid_empty",
                    param=path,
                )
            if name not in raw:
                raise Refusal(f"Missing required param: {path}.", code="parameter_missing", param=path)
        return {
            name: None if raw[name] == "" else _read(reader, raw[name], _inside(param, name), f"{sdk}/{name}")
            for name, reader in self.fields.items()
            if name in raw
        }

    def _refuse_others(self, raw: Mapping[str, Any], param: str, sdk: str) -> None:
        others = [name for name in raw if name not in self.fields and (param or name not in _EXTRA)]
        if not others:
            return
        known = stripes_own(sdk)
        paths = [_inside(param, name) for name in others]
        if others[0] in known:
            raise Refusal(
                f"{paths[0]} is a parameter of Stripe's that is not simulated.",
                code="parameter_unknown",
                param=paths[0],
            )
        plural = "s" if len(paths) > 1 else ""
        raise Refusal(
            f"Received unknown parameter{plural}: {', '.join(paths)}",
            code="parameter_unknown",
            param=paths[0],
        )


NOTHING: Final = Form()


def stripes_own(sdk: str) -> frozenset[str]:
    """The parameters that the SDK knows of a type such as `PaymentIntentCreateParams`, if it knows it.

    `PaymentIntentCreateParams/transfer_data` is the type of that hash's own. The SDK is loaded only now.
    """
    base = importlib.import_module("stripe._request_options").RequestOptions.__annotations__
    name, *below = sdk.split("/")
    for field_name in below:
        # ForwardRef("Literal['']|CustomerCreateParamsAddress"), perhaps in a List
        found = re.search(r"\w+Params\w+", repr(_annotations(name).get(field_name, "")))
        name = ".".join(filter(None, (name.rpartition(".")[0], found[0]))) if found else ""
    return frozenset(_annotations(name)) - frozenset(base)


def _annotations(sdk: str) -> Mapping[str, Any]:
    *rooms, name = sdk.split(".")
    head, params, nested = name.partition("Params")
    module = importlib.import_module(".".join(["stripe.params", *rooms]))
    found = getattr(module, head + params, None)
    if found is not None and nested:
        found = vars(importlib.import_module(found.__module__)).get(name)
    return getattr(found, "__annotations__", {})


def _read(reader: Reader, raw: Raw, param: str, sdk: str) -> object:
    if isinstance(reader, Nested):
        return reader.form.read(raw, param, sdk)
    if isinstance(reader, Items) and isinstance(reader.reader, Nested):
        return [_read(reader.reader, item, at, sdk) for item, at in reader.split(raw, param)]
    return reader(raw, param)


def _inside(param: str, name: str) -> str:
    return f"{param}[{name}]" if param else name


@dataclass(frozen=True)
class Nested:
    """A hash of its own parameters."""

    form: Form

    def __call__(self, raw: Raw, param: str) -> Json:
        return self.form.read(raw, param)


@dataclass(frozen=True)
class Items:
    """A list; `maximum` items at most."""

    reader: Reader
    maximum: int = 100

    def __call__(self, raw: Raw, param: str) -> list[Any]:
        return [self.reader(item, at) for item, at in self.split(raw, param)]

    def split(self, raw: Raw, param: str) -> list[tuple[Raw, str]]:
        """The items and the paths they stand at."""
        if not isinstance(raw, dict) or not all(name.isdigit() for name in raw):
            raise Refusal("Invalid array", param=param)
        if len(raw) > self.maximum:
            raise Refusal(f"Array {param} exceeded maximum {self.maximum} elements", param=param)
        return [(raw[name], f"{param}[{name}]") for name in sorted(raw, key=int)]


def nested(fields: Fields, *needed: str) -> Nested:
    """A hash with these parameters."""
    return Nested(Form(fields, needed))


def text(raw: Raw, param: str) -> str:
    """Text of at most 5,000 characters."""
    return str(text_of(5_000)(raw, param))


def text_of(maximum: int) -> Reader:
    """Text of at most so many characters."""

    def read(raw: Raw, param: str) -> str:
        if not isinstance(raw, str):
            raise Refusal("Invalid string: a hash was given", param=param)
        if len(raw) > maximum:
            raise Refusal(
                f"Invalid string: {raw[:8]}…; must be at most {maximum} characters",
                code="parameter_invalid_string_length",
                param=param,
            )
        return raw

    return read


def integer(raw: Raw, param: str) -> int:
    """A whole number, with a sign perhaps."""
    if isinstance(raw, str) and raw.removeprefix("-").isdecimal() and raw.isascii():
        return int(raw)
    raise Refusal(f"Invalid integer: {raw}", code="parameter_invalid_integer", param=param)


def between(minimum: int, maximum: int) -> Reader:
    """A whole number within these bounds."""

    def read(raw: Raw, param: str) -> int:
        number = integer(raw, param)
        if number < minimum:
            raise Refusal(f"This value must be greater than or equal to {minimum}.", param=param)
        if number > maximum:
            raise Refusal(f"This value must be less than or equal to {maximum}.", param=param)
        return number

    return read


def flag(raw: Raw, param: str) -> bool:
    """`true` or `false`."""
    if not isinstance(raw, str) or raw not in {"true", "false"}:
        raise Refusal(f"Invalid boolean: {raw}", param=param)
    return raw == "true"


def choice(*values: str) -> Reader:
    """One of these words."""

    def read(raw: Raw, param: str) -> str:
        if isinstance(raw, str) and raw in values:
            return raw
        raise Refusal(f"Invalid {param}: must be one of {', '.join(values)}", param=param)

    return read


def currency(raw: Raw, param: str) -> str:
    """US dollars: the only currency that is simulated."""
    code = text(raw, param).lower()
    if code != "usd":
        raise Refusal(f"Invalid currency: {code} (only usd is simulated).", param=param)
    return code


def metadata(raw: Raw, param: str) -> dict[str, str]:
    """Up to 50 pairs; a value of "" takes its key away."""
    if not isinstance(raw, dict):
        raise Refusal("Invalid object", param=param)
    if len(raw) > 50:
        raise Refusal("Metadata can have up to 50 keys", param=param)
    for key, value in raw.items():
        if not isinstance(value, str):
            raise Refusal(f"Metadata values must be strings: {key}", param=f"{param}[{key}]")
        if len(key) > 40 or len(value) > 500:
            raise Refusal(
                "Metadata keys have at most 40 characters, values at most 500", param=f"{param}[{key}]"
            )
    return dict(raw)


def moments(raw: Raw, param: str) -> dict[str, int]:
    """A time, or bounds of it: {"gte": seconds, …}."""
    if isinstance(raw, str):
        return {"gte": integer(raw, param), "lte": integer(raw, param)}
    return Form(dict.fromkeys(("gt", "gte", "lt", "lte"), integer)).read(raw, param, "RangeQueryParam")


PAGING: Final[Fields] = MappingProxyType(
    {"limit": between(1, 100), "starting_after": text, "ending_before": text}
)


def listing(sdk: str, **filters: Reader) -> Form:
    """The parameters of a list: its cursors and these filters."""
    return Form({**PAGING, **filters}, sdk=sdk)


def expansions(raw: Mapping[str, Any]) -> list[str]:
    """The paths that a call wants expanded, four levels deep at most."""
    paths: list[str] = Items(text)(raw["expand"], "expand") if "expand" in raw else []
    for path in paths:
        if path.count(".") > 3:
            raise Refusal("You cannot expand more than 4 levels of a property", param="expand")
    return paths
