"""What clients were told, kept by all threads together: it must be true from then on."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple, TypeAlias, TypeVar

from tests.crash.service import Answer
from tests.crash.traffic import Event

CreditTable: TypeAlias = Literal["grants", "adjustments"]


class Credit(NamedTuple):
    """Credit that was asked for by its idempotency key, and the answer: 201, 200 or 409."""

    table: CreditTable
    account_id: str
    key: str
    amount: Decimal
    answer: Answer


class Sent(NamedTuple):
    """An event and its result."""

    event: Event
    result: Mapping[str, Any]


class Held(NamedTuple):
    """A hold that was asked for by its idempotency key, and the answer: 201, 200, 402 or 429.

    `lost` is how many attempts were in vain before. One of them may yet arrive, and be granted what was
    refused to a later one; then it is known by its key, and ends by its time.
    """

    account_id: str
    key: str
    answer: Answer
    lost: int


class Extended(NamedTuple):
    """An increment that was asked for by its idempotency key, and the answer: 200, 402 or 409."""

    account_id: str
    hold_id: str
    key: str
    amount: Decimal
    answer: Answer
    lost: int


class Voided(NamedTuple):
    """A hold that should end, and the answer: 200, or 409 where an event had captured it."""

    account_id: str
    hold_id: str
    answer: Answer


class Reversed(NamedTuple):
    """What should be reversed, by the name of its field, and the answer: 201, 200 or 409."""

    account_id: str
    field: Literal["transfer_id", "event_id"]
    id: str
    answer: Answer


Fact: TypeAlias = Credit | Sent | Held | Extended | Voided | Reversed
F = TypeVar("F", Credit, Sent, Held, Extended, Voided, Reversed)


class Told:
    """The facts; safe for threads."""

    def __init__(self, facts: Mapping[type[Fact], Sequence[Fact]] | None = None) -> None:
        self._lock: Final = threading.Lock()
        self._facts: defaultdict[type[Fact], list[Fact]] = defaultdict(list)
        for kind, some in (facts or {}).items():
            self._facts[kind] = list(some)

    def note(self, *facts: Fact) -> None:
        """A client was told so."""
        with self._lock:
            for fact in facts:
                self._facts[type(fact)].append(fact)

    def so_far(self) -> Told:
        """A copy that stands still."""
        with self._lock:
            return Told(self._facts)

    def of(self, kind: type[F]) -> list[F]:
        """The facts of a kind, in no particular order."""
        return self._facts[kind]  # type: ignore[return-value]  # by their own type, as `note` keeps them
