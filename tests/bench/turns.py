"""Take turns: a child process that runs a workload once whenever it is told to.

Standard library only, for the peers run it in an environment of their own. The parent writes one line of
JSON with the workload, then a line for each turn; the child answers each with one line: first what it is
(`{"version", "events"}`), then the seconds that the turn took. They are the thread's processor seconds, so
that a neighbour on the same core doesn't count.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
Turn = Callable[[], None]


def answer_turns(prepare: Callable[[Any], tuple[str, int, Turn]]) -> None:
    """Be the child; `prepare` makes of the workload the version, the number of events and one pass over them.

    A turn is as many passes as the command line says first.
    """
    out, sys.stdout = sys.stdout, sys.stderr  # whatever a library prints is no answer
    passes = int(sys.argv[1])
    version, events, once = prepare(json.loads(sys.stdin.readline(), parse_float=Decimal))

    def turn() -> None:
        for _ in range(passes):
            once()

    once()  # caches filled, code paths warm
    print(json.dumps({"version": version, "events": events * passes}), file=out, flush=True)
    for _ in sys.stdin:
        started = time.thread_time()
        turn()
        print(json.dumps(time.thread_time() - started), file=out, flush=True)


class Contestant:
    """The parent's end; raises `RuntimeError` with the child's last words where it can't start."""

    def __init__(
        self, name: str, python: str | Path, command: Sequence[str], passes: int, workload: object
    ) -> None:
        self.name = name
        module, *arguments = command
        self._child = subprocess.Popen(
            [str(python), "-m", module, str(passes), *arguments], cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            hello = self._ask(json.dumps(workload))
        except (BrokenPipeError, json.JSONDecodeError) as error:
            self._child.kill()
            said = self._child.communicate()[1].strip().splitlines()
            raise RuntimeError(f"{name}: {said[-1] if said else 'no answer'}") from error
        self.version: str = hello["version"]
        self.events: int = hello["events"]
        self.rates: list[float] = []

    def turn(self) -> None:
        """Run the workload once and note its events per second."""
        self.rates.append(self.events / self._ask(""))

    def close(self) -> None:
        """End the child."""
        self._child.communicate()

    def _ask(self, line: str) -> Any:  # noqa: ANN401  (JSON)
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(line + "\n")
        self._child.stdin.flush()
        return json.loads(self._child.stdout.readline())
