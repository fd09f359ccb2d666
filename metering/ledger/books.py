"""An account's books while its lock is held: the balance as it stands, and the transfers that move it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from metering.ledger.transfers import Transfer


class Posted(NamedTuple):
    """A transfer in its place: the `sequence`-th of its account, and the balance it left."""

    transfer: Transfer
    sequence: int
    balance_after_pico: int


@dataclass(slots=True)
class Books:
    """One account under its lock. Amounts are picodollars.

    `held_pico` counts every open hold, expired or not; `updated_at` is when the posted balance last moved;
    `next_expiry_at` is the soonest end of a credit, None where nothing ends. `posted` are the transfers of
    this transaction, in order.
    """

    account_id: str
    posted_pico: int
    held_pico: int
    event_count: int = 0
    transfer_count: int = 0
    updated_at: datetime | None = None
    next_expiry_at: datetime | None = None
    posted: list[Posted] = field(default_factory=list)

    def post(self, transfer: Transfer) -> None:
        """Move the balance by a transfer."""
        self.posted_pico += transfer.effect_pico
        self.transfer_count += 1
        self.posted.append(Posted(transfer, self.transfer_count, self.posted_pico))
