"""The project runs anywhere: no machine's paths, no registry's address, each dependency by its hash."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.house.source import ROOT, text_of, tracked_files

LOCKS = ("requirements.lock", "requirements-build.lock", "requirements-dev.lock", "requirements-peers.lock")
# In character classes, so that this file doesn't contain what it looks for.
REGISTRIES = re.compile(r"pypi[.]org|python[h]osted|index[-]url|find[-]links|trusted[-]host")
MACHINE_PATHS = re.compile(r"(?<![\w./-])/(?:home|Users|root|work)/\w")


def _texts() -> list[str]:
    return [name for name in tracked_files() if _is_text(name)]


def _is_text(name: str) -> bool:
    return b"\0" not in (ROOT / name).read_bytes()[:8192]


def test_no_file_names_a_registry() -> None:
    assert not [name for name in _texts() if REGISTRIES.search(text_of(name))]


def test_no_file_names_a_path_of_one_machine() -> None:
    assert not [name for name in _texts() if MACHINE_PATHS.search(text_of(name))]


def test_uv_lock_is_not_committed() -> None:
    assert "uv.lock" not in tracked_files()


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_each_package_by_version_and_hash(lock: str) -> None:
    requirements = text_of(lock).replace("\\\n", " ").splitlines()
    assert requirements
    for requirement in requirements:
        assert re.match(r"^[a-z0-9._-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", requirement), requirement


def test_the_development_lock_holds_what_the_service_runs_on() -> None:
    runtime, development = _pins("requirements.lock"), _pins("requirements-dev.lock")
    assert runtime.items() <= development.items()
    assert _pins("requirements-build.lock").items() <= development.items()


def test_the_locks_hold_what_the_project_declares() -> None:
    project = tomllib.loads(text_of("pyproject.toml"))
    groups = project["dependency-groups"]
    declared = {
        "requirements.lock": project["project"]["dependencies"],
        "requirements-build.lock": groups["build"],
        "requirements-dev.lock": [entry for entry in groups["dev"] if isinstance(entry, str)],
        "requirements-peers.lock": groups["peers"],
    }
    for lock, names in declared.items():
        missing = {re.split(r"[\[<>=; ]", name)[0] for name in names} - _pins(lock).keys()
        assert not missing, f"run `make lock`: {lock} lacks {missing}"


def _pins(lock: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", text_of(lock), re.MULTILINE))
