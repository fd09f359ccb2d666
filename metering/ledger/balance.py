"""An account's balance: posted, held, frozen, and what is available: the first less the other two."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple, Self

from metering.ledger.books import Books


class Balance(NamedTuple):
    """Picodollars; `frozen_pico` is credit under dispute.

    `updated_at` is when the posted balance last moved, None if it never did. `next_expiry_at` is when the
    next of its credit ends; once that has passed, the balance still counts credit that can't be used any
    more, until the lots are settled.
    """

    posted_pico: int
    held_pico: int
    updated_at: datetime | None
    next_expiry_at: datetime | None = None
    frozen_pico: int = 0

    @classmethod
    def of(cls, books: Books) -> Self:
        """The balance of locked books; what ends next is not told."""
        return cls(books.posted_pico, books.held_pico, books.updated_at, frozen_pico=books.frozen_pico)

    @property
    def available_pico(self) -> int:
        """What can still be promised."""
        return self.posted_pico - self.held_pico - self.frozen_pico

    def may_expire(self, now: datetime) -> bool:
        """Whether credit may have ended by `now` that the posted balance still counts."""
        return self.next_expiry_at is not None and self.next_expiry_at <= now
