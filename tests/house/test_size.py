"""A size ratchet: functions of at most 50 lines, files of at most 400. The lists below only shrink."""

from __future__ import annotations

import ast

from tests.house.source import python_files, text_of, tree_of

FUNCTION_LINES = 50
FILE_LINES = 400

# "metering/room/file.py": lines today. Lower a number when a file gets shorter; add none.
LARGE_FILES: dict[str, int] = {}
# "metering/room/file.py::function": lines today.
LONG_FUNCTIONS: dict[str, int] = {}


def test_files_are_short() -> None:
    sizes = {name: len(text_of(name).splitlines()) for name in python_files()}
    _check({name: lines for name, lines in sizes.items() if lines > FILE_LINES}, LARGE_FILES)


def test_functions_are_short() -> None:
    sizes = {}
    for name in python_files():
        for node in ast.walk(tree_of(name)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                sizes[f"{name}::{node.name}"] = node.end_lineno - node.lineno + 1
    _check({name: lines for name, lines in sizes.items() if lines > FUNCTION_LINES}, LONG_FUNCTIONS)


def _check(too_large: dict[str, int], allowed: dict[str, int]) -> None:
    grown = {name: lines for name, lines in too_large.items() if lines > allowed.get(name, 0)}
    assert not grown, f"too long: {grown}"
    slack = {name: lines for name, lines in allowed.items() if too_large.get(name, 0) < lines}
    assert not slack, f"shorter than the list says, which only shrinks: {slack}"
