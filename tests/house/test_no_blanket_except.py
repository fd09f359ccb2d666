"""No blanket `except` but where the list says why: what nobody expected should be seen, not swallowed."""

from __future__ import annotations

import ast

from tests.house.source import python_files, tree_of

BLANKET = {"Exception", "BaseException"}
# file: why it must go on, whatever happened.
ALLOWED: dict[str, str] = {
    "metering/jobs/running.py": "a job that fails is told in log, metric and table, and stops no other",
    "metering/services/group_commit.py": "what fails is handed to each caller who waits, and raised there",
}


def test_no_blanket_except() -> None:
    found = [
        f"{name}:{node.lineno}"
        for name in python_files("metering")
        if name not in ALLOWED
        for node in ast.walk(tree_of(name))
        if isinstance(node, ast.ExceptHandler) and _is_blanket(node) and not _reraises(node)
    ]
    assert not found


def test_the_list_names_files_that_need_it() -> None:
    for name in ALLOWED:
        handlers = [node for node in ast.walk(tree_of(name)) if isinstance(node, ast.ExceptHandler)]
        assert any(_is_blanket(handler) for handler in handlers), f"{name} needs no exception: take it off"


def _is_blanket(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(isinstance(name, ast.Name) and name.id in BLANKET for name in caught)


def _reraises(handler: ast.ExceptHandler) -> bool:
    """Cleaning up and letting it pass is no swallowing: the handler ends with a bare `raise`."""
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None
