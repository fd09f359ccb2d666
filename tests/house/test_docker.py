"""The image and the compose file, as far as they can be checked without a container engine."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from dockerfile_parse import DockerfileParser

from tests.house.source import ROOT, text_of

DOCKERFILE = "docker/Dockerfile"
COMPOSE = "docker/compose.yml"


@pytest.fixture
def steps() -> list[tuple[str, str]]:
    """Instruction and value of each step of the Dockerfile, in order."""
    parser = DockerfileParser(path=str(ROOT / DOCKERFILE))
    return [(step["instruction"], step["value"]) for step in parser.structure]


@pytest.fixture
def services() -> dict[str, dict[str, Any]]:
    """The services of the compose file by name, its YAML merges resolved."""
    loaded: dict[str, dict[str, Any]] = yaml.safe_load(text_of(COMPOSE))["services"]
    return loaded


def test_hadolint_finds_nothing() -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if hadolint is None:
        pytest.skip("hadolint has no wheel for this platform")
    answer = subprocess.run([hadolint, DOCKERFILE], cwd=ROOT, check=False, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout


def test_the_last_stage_runs_as_nobody_special(steps: list[tuple[str, str]]) -> None:
    last_stage = max(index for index, (name, _) in enumerate(steps) if name == "FROM")
    users = [value for name, value in steps[last_stage:] if name == "USER"]
    assert users
    user, _, _ = users[-1].partition(":")
    assert int(user) >= 1000  # by number, so that an orchestrator can see that it isn't root


def test_the_image_says_whether_it_is_well(steps: list[tuple[str, str]]) -> None:
    assert [value for name, value in steps if name == "HEALTHCHECK" and "/healthz" in value]


def test_everything_is_installed_by_its_hash(steps: list[tuple[str, str]]) -> None:
    runs = [command.strip() for name, value in steps if name == "RUN" for command in value.split("&&")]
    installs = [run for run in runs if " install " in run]
    assert installs
    for run in installs:
        assert "--require-hashes" in run or "/dist/" in run, run


def test_what_is_copied_exists_and_is_let_through(steps: list[tuple[str, str]]) -> None:
    let_through = {line[1:] for line in text_of(".dockerignore").splitlines() if line.startswith("!")}
    copied = {
        source
        for name, value in steps
        if name == "COPY" and "--from=" not in value
        for source in value.split()[:-1]
    }
    assert copied == let_through
    for source in copied:
        assert (ROOT / source).exists(), source


@pytest.mark.parametrize("name", [DOCKERFILE, COMPOSE])
def test_no_address_but_the_loopback(name: str) -> None:
    for place, rest in enumerate(text_of(name).split("://")[1:]):
        host = rest.replace("metering:${METERING_DATABASE_PASSWORD:?choose one}@", "")
        assert host.startswith(("127.0.0.1:", "database:")), f"{name}, address {place + 1}: {rest[:40]}"


def test_the_database_is_well_before_the_service_starts(services: dict[str, dict[str, Any]]) -> None:
    assert services["database"]["image"].startswith("postgres:")
    assert services["database"]["healthcheck"]["test"]
    assert services["migrate"]["depends_on"]["database"]["condition"] == "service_healthy"
    assert services["service"]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    assert services["service"]["healthcheck"]["test"]


def test_no_service_is_given_more_than_it_needs(services: dict[str, dict[str, Any]]) -> None:
    for name in ("migrate", "service"):
        assert services[name]["read_only"] is True
        assert services[name]["cap_drop"] == ["ALL"]
        assert "privileged" not in services[name]
    assert all("127.0.0.1:" in port for port in services["service"]["ports"])


def test_the_wheel_holds_the_price_book_and_the_migrations(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    for folder, packaged in (("migrations", "_migrations"), ("pricing_rules", "_pricing_rules")):
        for file in (ROOT / folder).rglob("*.*"):
            if file.suffix in {".py", ".yml", ".mako"}:
                assert f"metering/{packaged}/{file.relative_to(ROOT / folder).as_posix()}" in held
