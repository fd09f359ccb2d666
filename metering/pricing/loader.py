"""Reads a price book from its directory: the one file of the pure rooms that opens files."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import yaml

from metering.errors import PriceBookError
from metering.pricing.book import PriceBook
from metering.pricing.compiler import compile_book

_Base: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _StrictLoader(_Base):  # type: ignore[misc, valid-type]  # the C loader where libyaml is there
    """YAML as it is, but a key stands once: PyYAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:  # noqa: FBT001, FBT002  (PyYAML's signature)
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"duplicate key `{key}`", key_node.start_mark
                )
            seen.add(key)
        mapping: dict[object, object] = super().construct_mapping(node, deep=deep)
        return mapping


def read_documents(root: Path) -> dict[str, object]:
    """The parsed YAML files below `root`, by their path in it; raises `PriceBookError` for what is no YAML."""
    documents: dict[str, object] = {}
    problems: list[str] = []
    for path in sorted(root.rglob("*.yml")):
        name = path.relative_to(root).as_posix()
        try:
            documents[name] = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)  # noqa: S506  (a safe loader)
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            mark = getattr(error, "problem_mark", None)
            line = f":{mark.line + 1}" if mark else ""
            problems.append(f"{name}{line}: {getattr(error, 'problem', None) or error}")
    if not documents and not problems:
        problems.append(f"{root}: no .yml files here")
    if problems:
        raise PriceBookError(problems)
    return documents


def load(root: Path) -> PriceBook:
    """The compiled price book of a directory; raises `PriceBookError` with every problem found."""
    return compile_book(read_documents(root))
