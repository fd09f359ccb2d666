"""The command as a user runs it: a process of its own, its settings in the environment."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Start = Callable[..., "subprocess.Popen[str]"]
SECONDS = 60


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def environment(database_url: str, tmp_path: Path) -> Mapping[str, str]:
    """The settings: a fresh database at head, a home and a port of its own."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("METERING_")},
        "METERING_DATABASE_URL": database_url,
        "METERING_HOME": str(tmp_path / "home"),
        "METERING_PORT": str(free_port()),
    }


@pytest.fixture
def run(environment: Mapping[str, str]) -> Run:
    """Run a command to its end: `run("accounts", "list", METERING_PORT="0")`."""

    def run(*arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "metering", *arguments],
            env={**environment, **changes},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    return run


@pytest.fixture
def start(environment: Mapping[str, str], tmp_path: Path) -> Iterator[Start]:
    """Start a command and let it run; what still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **changes: str) -> subprocess.Popen[str]:
        output = tmp_path / f"output-{len(started)}"
        with output.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "metering", *arguments],
                env={**environment, **changes},
                stdout=file,
                stderr=subprocess.STDOUT,
                text=True,
            )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
