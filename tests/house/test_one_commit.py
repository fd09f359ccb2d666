"""One commit, in one place, so that a failed COMMIT can never be answered with success."""

from __future__ import annotations

from tests.house.source import calls, python_files

# `begin` commits as it closes, so it counts as one.
COMMITTING = {"commit", "begin", "autocommit"}
HOME = "metering/storage/database.py"


def test_commit_stands_in_one_file() -> None:
    found = [
        f"{name}:{line}"
        for name in python_files("metering")
        for called, line in calls(name)
        if called in COMMITTING and name != HOME
    ]
    assert not found, f"only {HOME} ends a transaction: {found}"


def test_the_one_commit_is_there() -> None:
    assert [called for called, _ in calls(HOME)].count("commit") == 1
