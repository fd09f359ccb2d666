"""The floors of the house, guarded by a machine: who may import whom is in pyproject.toml."""

from __future__ import annotations

import ast
import sys

from importlinter.cli import lint_imports

from tests.house.source import ROOT, pure_files, python_files, tree_of

# Standard library, but not pure: a clock, chance, the world outside, or a thread.
IMPURE = {
    "asyncio", "io", "logging", "multiprocessing", "os", "pathlib", "random", "secrets", "select", "shutil",
    "signal", "socket", "sqlite3", "subprocess", "tempfile", "threading", "time", "urllib",
}  # fmt: skip
IMPURE_CALLS = {"now", "utcnow", "today", "uuid1", "uuid4", "open", "print", "input", "getenv"}
# The one file that opens files.
LOADER = "metering/pricing/loader.py"


def test_every_contract_of_the_house_is_kept() -> None:
    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == 0


def test_the_pure_rooms_import_the_standard_library_alone() -> None:
    for name in pure_files():
        allowed = {"metering", "yaml", "pathlib"} if name == LOADER else {"metering"}
        for imported, line in _imports(name):
            pure = imported in sys.stdlib_module_names and imported not in IMPURE
            assert pure or imported in allowed, f"{name}:{line} imports {imported}"


def test_the_pure_rooms_ask_nothing_of_the_world() -> None:
    for name in pure_files():
        for node in ast.walk(tree_of(name)):
            if isinstance(node, ast.Call) and name != LOADER:
                called = getattr(node.func, "attr", None) or getattr(node.func, "id", None)
                assert called not in IMPURE_CALLS, f"{name}:{node.lineno} calls {called}"


def test_the_environment_is_read_in_one_file() -> None:
    readers = {
        name
        for name in python_files("metering")
        for node in ast.walk(tree_of(name))
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"}
    }
    assert readers <= {"metering/config.py"}


def _imports(name: str) -> list[tuple[str, int]]:
    found = []
    for node in ast.walk(tree_of(name)):
        if isinstance(node, ast.Import):
            found += [(alias.name.partition(".")[0], node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}:{node.lineno}: absolute imports show the floor"
            found.append(((node.module or "").partition(".")[0], node.lineno))
    return found
