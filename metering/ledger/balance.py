"""An account's balance: posted, held, and what is available, which is the one less the other."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple


class Balance(NamedTuple):
    """Picodollars. `updated_at` is when the posted balance last moved, None if it never did."""

    posted_pico: int
    held_pico: int
    updated_at: datetime | None

    @property
    def available_pico(self) -> int:
        """What can still be promised."""
        return self.posted_pico - self.held_pico
