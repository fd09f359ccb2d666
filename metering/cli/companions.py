"""Commands that run beside another one, and end with it, however it ends: each hangs on a pipe from it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from threading import Event, Thread
from types import TracebackType
from typing import Final, Self

import click

from metering.errors import ConfigurationError

# What is under way may end in this time; then it is killed.
_STOP_SECONDS: Final = 15


class Companion:
    """A `metering` command as a child process; leaving the block stops it, as does this process's end."""

    def __init__(self, *arguments: str, environment: Mapping[str, str], is_heard: bool = False) -> None:
        self._name = f"metering {arguments[0]}"
        self._is_stopping = Event()
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, *arguments],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if is_heard else subprocess.DEVNULL,
            start_new_session=True,  # a terminal's Ctrl-C is for us, who tell it in our turn
            text=True,
        )
        self._watch = Thread(target=self._wait, name=self._name, daemon=True)
        self._watch.start()

    def first_line(self) -> str:
        """What it says first, without the end of the line; raises `ConfigurationError` if it says nothing."""
        out = self._process.stdout
        line = out.readline().strip() if out is not None else ""
        if not line:
            raise ConfigurationError(f"`{self._name}` did not start; what it said above says why")
        return line

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._is_stopping.set()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._watch.join(_STOP_SECONDS)
        if self._watch.is_alive():
            self._process.kill()
            self._watch.join()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _wait(self) -> None:
        code = self._process.wait()
        if not self._is_stopping.is_set():
            ended = f"`{self._name}` has ended by itself, with exit code {code}"
            click.echo(f"{ended}: what needs it waits until all is started again", err=True)


def main() -> None:
    """The command of the arguments, until standard input ends: it does when the one who holds it does."""
    from metering.cli import main as command

    Thread(target=_stop_at_the_end, daemon=True).start()
    command(sys.argv[1:], prog_name="metering")


def _stop_at_the_end() -> None:
    while os.read(sys.stdin.fileno(), 1_024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
