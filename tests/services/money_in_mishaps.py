"""What goes wrong in a use case of money in: its process dies, the processor fails it, others come between.

A use case has an effect outside only by a call to the processor or a commit: those are where it can die.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, Literal, NamedTuple, TypeAlias, cast

from hypothesis import strategies as st
from sqlalchemy import Connection

from metering.payments.gateway import PaymentGateway
from metering.payments.simulator.faults import Fault, Faults
from metering.storage.database import Database

When: TypeAlias = Literal["before", "after"]
ACTIONS: Final = (
    *("meanwhile", "meanwhile", "meanwhile", "dies", "dies", "timeout", "timeout"),
    *("error_500", "error_500_once", "rate_limit"),
)
# These reach no processor: what a message says needs no call.
_LOCAL: Final = frozenset({"is_live", "read_message", "parse_message", "close"})


class Crash(BaseException):
    """The process died: nothing that would have come after this did."""


class Mishap(NamedTuple):
    """What happens before or after the `place`-th call to the processor, or after the `place`-th commit.

    `meanwhile` something else happens, chosen by `other`. An "error_500" is kept under the idempotency key.
    """

    action: str
    when: When
    place: int
    other: int = 0


def _call(seed: int) -> Mishap:
    """Chosen evenly, which Hypothesis by itself would not do."""
    chance = random.Random(seed)
    when: When = chance.choice(["before", "after"])
    return Mishap(chance.choice(ACTIONS), when, chance.choice([1, 1, 2, 2, 3]), chance.randrange(100))


def _any(seed: int) -> Mishap | None:
    if seed % 6 == 0:
        return None
    return Mishap("commit", "after", 1 + seed // 6 % 3) if seed % 6 == 1 else _call(seed)


seeds = st.integers(0, 2**32)
calls = seeds.map(_call)
mishaps = seeds.map(_any)


class Fate:
    """What is to go wrong in the use case under way, once."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._mishap: Mishap | None = None
        self._meanwhile: Callable[[int], None] = lambda _: None
        self._seen = 0

    @contextmanager
    def awaits(self, mishap: Mishap | None, meanwhile: Callable[[int], None]) -> Iterator[None]:
        """Let the mishap happen in the block; `meanwhile` does what else happens."""
        self._mishap, self._meanwhile, self._seen = mishap, meanwhile, 0
        try:
            yield
        finally:
            self._mishap = None
            self._faults.clear()

    def call(self, ask: Callable[..., Any], *given: Any, **named: Any) -> Any:  # noqa: ANN401  (a gateway's method)
        """Ask the processor, if nothing prevents it."""
        mishap = self._strikes(of_commits=False)
        if mishap is None:
            return ask(*given, **named)
        if mishap.action in {"dies", "meanwhile"}:
            if mishap.when == "before":
                self._happen(mishap)
            answer = ask(*given, **named)
            if mishap.when == "after":
                self._happen(mishap)
            return answer
        action = mishap.action.removesuffix("_once")
        self._faults.add(Fault("model", action, mishap.when, kept=action == mishap.action))
        try:
            return ask(*given, **named)
        finally:
            self._faults.clear()

    def committed(self) -> None:
        """Die after a commit, if that is what is to happen."""
        if self._strikes(of_commits=True):
            raise Crash

    def _strikes(self, *, of_commits: bool) -> Mishap | None:
        """The mishap, if this is its moment."""
        mishap = self._mishap
        if mishap is None or (mishap.action == "commit") != of_commits:
            return None
        self._seen += 1
        if self._seen < mishap.place:
            return None
        self._mishap = None
        return mishap

    def _happen(self, mishap: Mishap) -> None:
        if mishap.action == "dies":
            raise Crash
        self._meanwhile(mishap.other)


class MortalGateway:
    """The product's gateway, each call of which is in the hands of fate."""

    def __init__(self, gateway: PaymentGateway, fate: Fate) -> None:
        self._gateway, self._fate = gateway, fate

    def __getattr__(self, name: str) -> object:
        asked = getattr(self._gateway, name)
        return asked if name in _LOCAL else partial(self._fate.call, asked)

    @classmethod
    def over(cls, gateway: PaymentGateway, fate: Fate) -> PaymentGateway:
        """As the protocol that it has by delegation."""
        return cast("PaymentGateway", cls(gateway, fate))


class MortalDatabase(Database):
    """The product's database, whose user may die right after a commit."""

    fate: Fate

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        with super().transaction() as connection:
            yield connection
        self.fate.committed()
