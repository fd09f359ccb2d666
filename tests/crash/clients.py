"""Clients that ask any of the services, and ask again until one answers, as a good gateway does."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple, Self

from tests.crash.service import LOST, Answer, Line

# A recovery of the database takes seconds; with others at work on the machine, many.
ANSWER_SECONDS: Final = 90
# Of so many requests one is hung up on before its answer is read, and sent again.
_HANG_UP_ONE_IN: Final = 25


class GaveUpError(Exception):
    """The run is over, whether or not an answer would have come."""


class Client:
    """One of the crowd, for one thread. What it asks is up to the caller; whom, and how often, is chance.

    `lost` are its attempts in vain, `lost_last` those before the last answer. Raises `GaveUpError` once
    `given_up` is set.
    """

    def __init__(self, ports: Sequence[int], token: str, seed: str, given_up: threading.Event) -> None:
        self._random = random.Random(seed)
        self._given_up = given_up
        self._lines = [Line(port, token) for port in ports]
        self.answers: Counter[str] = Counter()
        self.lost = 0
        self.lost_last = 0

    def close(self) -> None:
        """Close its connections."""
        for line in self._lines:
            line.__exit__()

    def get(self, path: str, *, secret: str | None = None) -> Answer:
        """The answer, when one came; with a customer's secret instead of the gateway's token."""
        return self._until_answered(lambda line: line.ask("GET", path, secret=secret))

    def post(self, path: str, body: object, verb: str) -> Answer:
        """The answer, when one came, to a body that is safe to be sent twice; counted under the verb."""

        def send(line: Line) -> Answer | None:
            if self._random.randrange(_HANG_UP_ONE_IN) == 0:
                line.hang_up_on(path, body, self._random.random() / 50)
                return None
            return line.post(path, body)

        answer = self._until_answered(send)
        self.answers[f"{verb} {answer.status}"] += 1
        return answer

    def _until_answered(self, send: Callable[[Line], Answer | None]) -> Answer:
        deadline = time.monotonic() + ANSWER_SECONDS
        before = self.lost
        while True:
            try:
                answer = send(self._random.choice(self._lines))
            except LOST:
                answer = None
            if answer is not None and answer.status != 503:
                assert answer.status < 500, f"a service answered {answer.status} {answer.body}"
                self.lost_last = self.lost - before
                return answer
            self.lost += 1
            if self._given_up.wait(self._random.uniform(0.02, 0.3)):
                raise GaveUpError
            assert time.monotonic() < deadline, f"no answer in {ANSWER_SECONDS} seconds"


class Turn(NamedTuple):
    """What a couple agrees on before each scene: its number (None: it is over) and the time."""

    number: int | None
    now: datetime


class Couple:
    """Two clients that begin every scene together, so that they do the same things at the same time."""

    def __init__(self, numbers: Iterator[int], is_over: Callable[[], bool]) -> None:
        self._numbers = numbers
        self._is_over = is_over
        self._turn = Turn(None, datetime.now(UTC))
        self._barrier = threading.Barrier(2, self._take_turn)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self._barrier.abort()  # the other would wait in vain

    def meet(self) -> Turn:
        """Wait for the other; the next turn of both."""
        self._barrier.wait(4 * ANSWER_SECONDS)
        return self._turn

    def _take_turn(self) -> None:
        self._turn = Turn(None if self._is_over() else next(self._numbers), datetime.now(UTC))
