"""`metering serve` as a process of its own, to be talked to, stopped and killed."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

REPOSITORY: Final = Path(__file__).parents[2]
PATIENCE_SECONDS: Final = 60
# What a client meets while a service dies, is away, or comes back.
LOST: Final = (OSError, http.client.HTTPException)


class Answer(NamedTuple):
    """A response: its status, its JSON with numbers as int or Decimal, its headers."""

    status: int
    body: Any
    headers: Mapping[str, str]


class Service:
    """One service on one port; `start` it again after it was killed.

    `environment` has the METERING_ variables; nothing else of the test's own environment reaches it.
    """

    def __init__(self, log: Path, environment: Mapping[str, str], *command: str) -> None:
        self.port = free_port()
        self.log = log
        self._command = command or ("serve",)
        self._environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "PYTHONPATH": str(REPOSITORY),
            "METERING_PORT": str(self.port),
            "METERING_LOG_LEVEL": "WARNING",
            **environment,
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process that was started last."""
        assert self._process is not None
        return self._process

    @property
    def is_running(self) -> bool:
        """Whether there is a process that has not ended."""
        return self._process is not None and self._process.poll() is None

    def launch(self) -> None:
        """Start it."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "metering", *self._command],
                cwd="/",
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def start(self) -> None:
        """Start it and wait until it is ready."""
        self.launch()
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Wait until it answers, and its database as well."""
        self._wait_until(self._is_ready)

    def wait_until_said(self, text: str) -> None:
        """Wait until this stands in its log."""
        self._wait_until(lambda: text in self.said())

    def kill(self) -> None:
        """What a power cut or the kernel's OOM killer does."""
        self.process.kill()
        self.process.wait()

    def tell(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def ended(self) -> int:
        """Its exit code, when it has ended."""
        return self.process.wait(timeout=PATIENCE_SECONDS)

    def said(self) -> str:
        """What it wrote so far, of all its lives."""
        return self.log.read_text()

    def _wait_until(self, is_so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not is_so():
            assert self.is_running, f"it ended with {self.process.returncode}:\n{self.said()}"
            assert time.monotonic() < deadline, f"not ready:\n{self.said()}"
            time.sleep(0.02)

    def _is_ready(self) -> bool:
        try:
            with Line(self.port) as line:
                return line.get("/readyz").status == 200
        except LOST:
            return False


class Line:
    """A client's keep-alive connection to a service, to be closed; not for several threads."""

    def __init__(self, port: int, secret: str | None = None) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
        self._headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def get(self, path: str) -> Answer:
        """Ask once; raises one of `LOST` where no answer came."""
        return self.ask("GET", path)

    def post(self, path: str, body: object) -> Answer:
        """Send once; raises one of `LOST` where no answer came."""
        return self.ask("POST", path, body)

    def post_until_answered(self, path: str, body: object) -> tuple[Answer, int]:
        """Send the same until there is an answer that is not 503; also, how many attempts were in vain."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        lost = 0
        while True:
            try:
                answer = self.post(path, body)
            except LOST:
                answer = None
            if answer is not None and answer.status != 503:
                return answer, lost
            lost += 1
            assert time.monotonic() < deadline, answer
            time.sleep(0.1)

    def hang_up_on(self, path: str, body: object, after_seconds: float) -> None:
        """Send, and close the connection so soon after, whatever is on its way back."""
        try:
            self._connection.request("POST", path, json.dumps(body).encode(), self._headers)
            time.sleep(after_seconds)
        finally:
            self._connection.close()

    def ask(self, method: str, path: str, body: object = None, secret: str | None = None) -> Answer:
        """Send once, as whoever has the secret; raises one of `LOST` where no answer came."""
        given = {} if secret is None else {"Authorization": f"Bearer {secret}"}
        content = None if body is None else json.dumps(body).encode()
        try:
            self._connection.request(method, path, content, {**self._headers, **given})
            response = self._connection.getresponse()
            found = json.loads(response.read(), parse_float=Decimal)
        except BaseException:
            self._connection.close()
            raise
        return Answer(response.status, found, dict(response.headers))


class Crowd:
    """Threads that do one thing each, once; what any of them raised is raised by `join`."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self._errors: list[BaseException] = []

    def add(self, work: Any, *arguments: Any) -> None:  # noqa: ANN401  (any callable)
        """Start a thread that calls `work`."""
        self._threads.append(threading.Thread(target=self._run, args=(work, arguments), daemon=True))
        self._threads[-1].start()

    def join(self) -> None:
        """Wait for all of them."""
        for thread in self._threads:
            thread.join(2 * PATIENCE_SECONDS)
            assert not thread.is_alive()
        if self._errors:
            raise self._errors[0]

    def _run(self, work: Any, arguments: tuple[Any, ...]) -> None:  # noqa: ANN401
        try:
            work(*arguments)
        except BaseException as error:  # noqa: BLE001  (raised again by join)
            self._errors.append(error)


class Background:
    """Something that goes on in a thread of its own from `start` until `stop`."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._crowd = Crowd()

    def start(self) -> None:
        """Begin."""
        self._crowd.add(self._run)

    def stop(self) -> None:
        """Begin nothing any more, and wait for what was begun."""
        self._over.set()
        self._crowd.join()

    def _run(self) -> None:
        raise NotImplementedError


def free_port() -> int:
    """A port of the loopback that nobody listens on now.

    Below those that Linux gives to outgoing connections: a client that tries a service which is away would
    now and then be given that very port, be connected to itself, and keep the service from coming back.
    """
    while True:
        with socket.socket() as probe, suppress(OSError):
            port = random.randrange(20_000, 32_000)
            probe.bind(("127.0.0.1", port))
            return port
