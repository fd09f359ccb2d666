"""The README is short, begins with the two commands, and names only what exists."""

from __future__ import annotations

import re

import pytest

from tests.house.source import ROOT, text_of

LINES = 150
TEXTS = ["README.md", "CONTRIBUTING.md", "docker/README.md", "docs/gateway.md", "docs/books.md"]
COMMANDS = re.compile(r"^\s*(?:\$ )?(make [a-z-]+)", re.MULTILINE)


def test_the_readme_is_short_and_begins_with_the_two_commands() -> None:
    readme = text_of("README.md")
    assert len(readme.splitlines()) <= LINES
    assert COMMANDS.findall(readme)[:2] == ["make up", "make test"]


@pytest.mark.parametrize("name", TEXTS)
def test_the_commands_named_in_a_text_exist(name: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE))
    named = {
        found.removeprefix("make ") for found in re.findall(r"make [a-z]+(?:-[a-z]+)*", _code(text_of(name)))
    }
    assert named <= targets


@pytest.mark.parametrize("name", TEXTS)
def test_the_links_of_a_text_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text_of(name)):
        assert ((ROOT / name).parent / target).exists(), f"{name} links to {target}"


def test_a_room_with_invariants_explains_itself_in_sixty_lines() -> None:
    for readme in (ROOT / "metering").glob("*/README.md"):
        assert len(readme.read_text(encoding="utf-8").splitlines()) <= 60, readme


def _code(text: str) -> str:
    """The code of a Markdown text: fenced blocks and `spans`."""
    return "\n".join(re.findall(r"^```.*?^```|`[^`\n]+`", text, re.MULTILINE | re.DOTALL))
