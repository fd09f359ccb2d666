"""Reads a price book, and the policy of top-ups beside it, from their directory: what opens files here."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Final

import yaml

from metering.errors import PriceBookError
from metering.pricing.book import PriceBook
from metering.pricing.compiler import compile_book
from metering.pricing.top_up_compiler import FILE as POLICY_FILE
from metering.pricing.top_up_compiler import compile_policy
from metering.pricing.top_ups import TopUpPolicy

_Base: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _StrictLoader(_Base):  # type: ignore[misc, valid-type]  # the C loader where libyaml is there
    """YAML as it is, but a key stands once: PyYAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:  # noqa: FBT001, FBT002  (PyYAML's signature)
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key must be a text", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"duplicate key `{key}`", key_node.start_mark
                )
            seen.add(key)
        mapping: dict[object, object] = super().construct_mapping(node, deep=deep)
        return mapping


def read_documents(root: Path) -> dict[str, object]:
    """The parsed YAML files below `root`, by their path; raises `PriceBookError` for what is no YAML."""
    documents, problems = _read(root)
    if problems:
        raise PriceBookError(list(problems.values()))
    return documents


def load(root: Path) -> PriceBook:
    """The compiled price book of a directory; raises `PriceBookError` with every problem found."""
    documents, unread = _read(root)
    if not unread:
        return compile_book(documents)
    problems = list(unread.values())
    if "meters.yml" in documents:  # without it, every meter is unknown
        try:
            compile_book(documents)
        except PriceBookError as error:
            problems += [problem for problem in error.problems if problem.split(":")[0] not in unread]
    raise PriceBookError(problems)


def load_policy(root: Path) -> TopUpPolicy:
    """The compiled policy of top-ups of a price book's directory; raises `PriceBookError` with every problem.

    It is no part of the price book: changing it changes no price.
    """
    document, problem = _read_file(root / POLICY_FILE, POLICY_FILE)
    if problem is not None:
        raise PriceBookError([problem])
    return compile_policy(document)


def _read(root: Path) -> tuple[dict[str, object], dict[str, str]]:
    """The documents, and the problem of each file that could not be read, by their path below `root`."""
    documents: dict[str, object] = {}
    problems: dict[str, str] = {}
    for path in sorted(root.rglob("*.y*ml")):
        name = path.relative_to(root).as_posix()
        if path.suffix != ".yml":
            problems[name] = f"{name}: a file of the price book is named .yml"
        elif name != POLICY_FILE:
            document, problem = _read_file(path, name)
            if problem is None:
                documents[name] = document
            else:
                problems[name] = problem
    if not documents and not problems:
        problems[""] = f"{root}: no .yml files here"
    return documents, problems


def _read_file(path: Path, name: str) -> tuple[object, str | None]:
    """The parsed file, or the problem with it, which begins with its `name`."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader), None  # noqa: S506  (a safe loader)
    except FileNotFoundError:
        return None, f"{name}: there is no such file in {path.parent}"
    except (yaml.YAMLError, ValueError) as error:  # ValueError: no text, or no such day
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        return None, f"{name}{line}: {getattr(error, 'problem', None) or error}"
