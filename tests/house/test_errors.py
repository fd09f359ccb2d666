"""One error tree, on one screen; each error has a code, an HTTP row, a docstring and a use."""

from __future__ import annotations

import ast
import inspect
import re

import pytest

from metering import errors
from metering.errors import MeteringError
from tests.house.source import python_files, text_of, tree_of

HOME = "metering/errors.py"
# Rows of the error table whose use case is still to be built; it only shrinks.
AWAITED: set[str] = set()
TREE: list[type[MeteringError]] = [
    error
    for _, error in inspect.getmembers(errors, inspect.isclass)
    if issubclass(error, MeteringError) and error is not MeteringError
]


@pytest.mark.parametrize("error", TREE)
def test_an_error_says_what_the_caller_can_do(error: type[MeteringError]) -> None:
    assert error.__doc__
    assert error.__doc__.strip().endswith(".")
    assert error.code == error.code.lower()
    assert error.http_status in range(400, 600)


def test_a_code_means_one_thing() -> None:
    owners: dict[str, type[MeteringError]] = {}
    errors_and_root: list[type[MeteringError]] = [MeteringError, *TREE]
    for error in errors_and_root:
        # One that has none of its own is its parent, to those who call; narrower only to those who catch.
        if "code" in vars(error):
            assert error.code not in owners, f"{error} and {owners[error.code]} share {error.code}"
            owners[error.code] = error


@pytest.mark.parametrize("error", TREE)
def test_an_error_is_used(error: type[MeteringError]) -> None:
    assert _is_used(error) != (error.__name__ in AWAITED), "nothing raises it, or the list is out of date"


def test_errors_are_born_in_one_file() -> None:
    elsewhere = [
        f"{name}:{node.lineno} {node.name}"
        for name in python_files("metering")
        if name != HOME and not name.startswith("metering/client/")
        for node in ast.walk(tree_of(name))
        if isinstance(node, ast.ClassDef) and any(_is_error(base) for base in node.bases)
        # A ValueError is for the code beside it, which knows the field's name and raises one of the tree.
        if not node.name.startswith("_") and "ValueError" not in {ast.unparse(base) for base in node.bases}
    ]
    assert not elsewhere


def _is_used(error: type[MeteringError]) -> bool:
    word = re.compile(rf"\b{error.__name__}\b")
    return any(word.search(text_of(name)) for name in python_files("metering") if name != HOME)


def _is_error(base: ast.expr) -> bool:
    name = ast.unparse(base).rpartition(".")[2]
    return name.endswith(("Error", "Exception")) or hasattr(errors, name)
