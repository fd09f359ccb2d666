"""Tables: nothing is cut off, on a narrow terminal or in a pipe."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from metering import ids
from metering.cli.tables import show_table

SHOWN = """
from metering.cli.tables import show_table
row = {0!r}, "2026-05-01T00:00:00.123456+00:00", "why " * 30
show_table(("id", "at", "reason"), [row], texts={{"reason"}})
"""


def test_in_a_pipe_a_row_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    row = (ids.new_id(), "x" * 200, "[red]a word[/red] " * 20)
    show_table(("id", "one", "two"), [row], texts={"two"})
    _, line = capsys.readouterr().out.splitlines()
    assert line.split() == " ".join(row).split()


def test_on_a_narrow_terminal_only_texts_are_broken() -> None:
    name = ids.new_id()
    leader, follower = pty.openpty()
    subprocess.run(
        [sys.executable, "-c", SHOWN.format(name)],
        env={**os.environ, "COLUMNS": "80", "TERM": "dumb"},
        stdin=follower,
        stdout=follower,
        check=True,
    )
    os.close(follower)
    lines = os.read(leader, 100_000).decode().splitlines()
    os.close(leader)
    assert len(lines) > 2
    assert f"{name}  2026-05-01T00:00:00.123456+00:00  why" in lines[1]


def test_a_table_without_rows_has_its_head(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(("id", "name"), [])
    assert capsys.readouterr().out.split() == ["id", "name"]
