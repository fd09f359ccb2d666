"""Money is Decimal or integer from text, rounded once, in one module: floats stay out of the core."""

from __future__ import annotations

import ast

import pytest

from tests.house.source import pure_files, tree_of


@pytest.mark.parametrize("name", pure_files())
def test_no_float_comes_near_money(name: str) -> None:
    tree = tree_of(name)
    refusals = _refusals(tree)
    for node in ast.walk(tree):
        where = f"{name}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Constant):
            assert not isinstance(node.value, float | complex), f"{where}: the literal {node.value}"
        elif isinstance(node, ast.Name) and node not in refusals:
            assert node.id not in {"float", "complex", "round"}, f"{where}: {node.id}"
        elif isinstance(node, ast.Attribute):
            assert node.attr not in {"__round__", "__float__", "from_float"}, f"{where}: {node.attr}"
        elif isinstance(node, ast.Import):
            names = {alias.name for alias in node.names}
            assert not names & {"math", "statistics", "cmath"}, f"{where}: imports {names}"


def _refusals(tree: ast.Module) -> set[ast.AST]:
    """`isinstance(given, float)` is how a float is refused: the one use of the name."""
    return {
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance"
        for name in ast.walk(node.args[1])
    }
