"""The project's own files, as the house tests read them."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PURE_ROOMS = ("usage", "pricing", "rating", "ledger")
_NOT_OURS = {".git", ".metering", ".venv", ".venv-peers", "__pycache__", "bench-results", "dist"}


@cache
def tracked_files() -> tuple[str, ...]:
    """Paths below the root of all that is or could be committed; without git, of all that is there."""
    if shutil.which("git") and (ROOT / ".git").exists():
        # A checkout may belong to another user than the one who runs the tests.
        command = [
            "git",
            "-c",
            "safe.directory=*",
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ]
        answer = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        names = {name for name in answer.stdout.split("\0") if name}
        return tuple(sorted(name for name in names if (ROOT / name).is_file()))
    return tuple(sorted(_walk()))


def _walk() -> Iterator[str]:
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in _NOT_OURS and not name.endswith("_cache")]
        for name in names:
            yield (Path(folder) / name).relative_to(ROOT).as_posix()


def python_files(*folders: str) -> list[str]:
    """Python files below the folders (all of the project's if none is named), sorted; a file names itself."""
    found = [name for name in tracked_files() if name.endswith(".py")]
    if not folders:
        return found
    return [
        name for name in found if any(name == folder or name.startswith(f"{folder}/") for folder in folders)
    ]


def pure_files() -> list[str]:
    """The files of the rooms where the same input gives the same output for ever."""
    return python_files("metering/money.py", *(f"metering/{room}" for room in PURE_ROOMS))


@cache
def text_of(name: str) -> str:
    """A file's text, by its path below the root."""
    return (ROOT / name).read_text(encoding="utf-8")


@cache
def tree_of(name: str) -> ast.Module:
    """A Python file's syntax tree, by its path below the root."""
    return ast.parse(text_of(name), filename=name)


def calls(name: str) -> Iterator[tuple[str, int]]:
    """Each call in a file as the called thing's last name and its line: `a.b.commit()` is `commit`."""
    for node in ast.walk(tree_of(name)):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute):
                yield node.func.attr, node.lineno
            elif isinstance(node.func, ast.Name):
                yield node.func.id, node.lineno
