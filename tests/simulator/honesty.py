"""Holds a JSON object to the SDK's type annotations: neither a field more, nor one less, nor another type.

What the annotations call optional may be null or absent. Where they say "one of these words, or a word to
come", only the words of today are honest.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import sys
from decimal import Decimal
from types import NoneType
from typing import Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

from stripe import ListObject, StripeObject
from stripe._object_classes import OBJECT_CLASSES
from stripe._stripe_object import UntypedStripeObject

Json = Any


def lies_of(shown: Json) -> list[str]:
    """What is wrong with an object that names its kind in `object`, each as "path: what"."""
    return _lies_of_kind(shown, shown.get("object", "?"))


def _lies_of_kind(shown: Json, path: str) -> list[str]:
    found = OBJECT_CLASSES.get(shown.get("object", ""))
    if found is None:
        return [f"{path}: the SDK knows no {shown.get('object')}"]
    room, name = found
    return _lies_of_class(shown, getattr(importlib.import_module(room), name), path)


def _lies_of_class(shown: Json, kind: type, path: str) -> list[str]:
    if not isinstance(shown, dict):
        return [f"{path}: {shown!r} is no {kind.__name__}"]
    hints = _fields(kind)
    lies = [f"{path}.{name}: not Stripe's" for name in shown if name not in hints]
    for name, hint in hints.items():
        if name in shown:
            lies += _lies(shown[name], hint, f"{path}.{name}")
        elif not _is_optional(hint):
            lies.append(f"{path}.{name}: absent")
    return lies


def _lies(value: Json, hint: Any, path: str) -> list[str]:  # noqa: ANN401, PLR0911  (a type; one for each sort)
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return _lies_of_kind(value, path) if _names_its_kind(value) else []
    if origin is Union:
        return _lies_of_union(value, inner, path)
    if origin is Literal:
        return [] if value in inner else [f"{path}: {value!r} is none of {inner}"]
    if origin is list:
        return _lies_of_list(value, inner[0], path)
    if origin is dict or origin is UntypedStripeObject:
        return _lies_of_map(value, inner[-1], path)
    if origin is ListObject:
        return _lies_of_class(value, ListObject, path) + _lies_of_list(value["data"], inner[0], path)
    if inspect.isclass(hint) and issubclass(hint, StripeObject):
        return _lies_of_class(value, hint, path)
    # A bool is an int in Python, and not in JSON.
    return [] if type(value) is hint else [f"{path}: {value!r} is no {hint.__name__}"]


def _lies_of_union(value: Json, choices: tuple[Any, ...], path: str) -> list[str]:
    if value is None:
        return [] if NoneType in choices else [f"{path}: null"]
    words = [choice for choice in choices if get_origin(choice) is Literal]
    wanted = words if words and isinstance(value, str) else [one for one in choices if one is not NoneType]
    lies = [_lies(value, choice, path) for choice in wanted]
    return min(lies, key=len) if isinstance(value, dict) or all(lies) else []


def _lies_of_list(value: Json, item: Any, path: str) -> list[str]:  # noqa: ANN401  (a type)
    if not isinstance(value, list):
        return [f"{path}: {value!r} is no list"]
    return [lie for number, one in enumerate(value) for lie in _lies(one, item, f"{path}[{number}]")]


def _lies_of_map(value: Json, item: Any, path: str) -> list[str]:  # noqa: ANN401  (a type)
    if not isinstance(value, dict):
        return [f"{path}: {value!r} is no hash"]
    if item is Any and _names_its_kind(value):
        return _lies_of_kind(value, path)
    return [lie for name, one in value.items() for lie in _lies(one, item, f"{path}.{name}")]


def _names_its_kind(value: Json) -> bool:
    return isinstance(value, dict) and "object" in value


def _is_optional(hint: Any) -> bool:  # noqa: ANN401  (a type)
    return NoneType in get_args(hint)


@functools.cache
def _fields(kind: type) -> dict[str, Any]:
    """The annotated fields of a class and their types on the wire."""
    hints: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        if base.__module__.startswith("stripe") and "__annotations__" in vars(base):
            found = get_type_hints(base, _names_of(base.__module__), dict(vars(base)))
            hints |= {name: found[name] for name in vars(base)["__annotations__"]}
    encoded = getattr(kind, "_field_encodings", {})
    if kind is ListObject:
        hints |= {"object": Literal["list"], "data": list[Any]}
    return {
        name: _on_the_wire(hint) if name in encoded else hint
        for name, hint in hints.items()
        if get_origin(hint) is not ClassVar and not name.startswith("_")
    }


def _on_the_wire(hint: Any) -> Any:  # noqa: ANN401  (a type)
    """A decimal is text there."""
    if hint is Decimal:
        return str
    return Union[tuple(str if one is Decimal else one for one in get_args(hint))]  # noqa: UP007


@functools.cache
def _names_of(module: str) -> dict[str, Any]:
    """What a module of the SDK knows, also what it imports for type checkers alone."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    imports = [
        one
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for one in node.body
        if isinstance(one, ast.ImportFrom) and one.module and not one.module.startswith("stripe.params")
    ]
    for_types = {
        name.asname or name.name: getattr(importlib.import_module(str(one.module)), name.name)
        for one in imports
        for name in one.names
    }
    # Some forget to import StripeObject.
    return {"StripeObject": StripeObject, **vars(sys.modules[module]), **for_types}
