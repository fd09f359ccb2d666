"""An account's books while its lock is held: the balance as it stands, and the transfers that move it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from metering.ledger.transfers import NEW_CREDIT, Transfer


class Posted(NamedTuple):
    """A transfer in its place: the `sequence`-th of its account, and the balance it left."""

    transfer: Transfer
    sequence: int
    balance_after_pico: int


@dataclass(slots=True)
class Books:
    """One account under its lock. Amounts are picodollars.

    `held_pico` counts every open hold, expired or not; `updated_at` is when the posted balance last moved;
    `next_expiry_at` is the soonest end of a credit, None where nothing ends; `ends_sooner` says whether that
    changed. `frozen_pico` is credit under dispute. `posted` are the transfers of this transaction, in order.
    The two thresholds are None where nobody wants to know of a fall below them.
    """

    account_id: str
    posted_pico: int
    held_pico: int
    event_count: int = 0
    transfer_count: int = 0
    updated_at: datetime | None = None
    next_expiry_at: datetime | None = None
    frozen_pico: int = 0
    auto_topup_below_pico: int | None = None
    low_balance_pico: int | None = None
    posted: list[Posted] = field(default_factory=list)
    ends_sooner: bool = False

    @property
    def available_pico(self) -> int:
        """What can still be promised; expired holds are to be closed before."""
        return self.posted_pico - self.held_pico - self.frozen_pico

    def fell_below(self, threshold_pico: int | None) -> bool:
        """Whether this transaction took the posted balance from the threshold, or above, to below it.

        So a fall is noticed once, by the transaction that made it.
        """
        if threshold_pico is None or self.posted_pico >= threshold_pico:
            return False
        return self.posted_pico - sum(one.transfer.effect_pico for one in self.posted) >= threshold_pico

    def moment(self, now: datetime) -> datetime:
        """`now`, and never before the balance last moved: an account's transfers are in order of time.

        Machines' clocks differ a little; a later one counts then, for this account and no other.
        """
        return now if self.updated_at is None or self.updated_at <= now else self.updated_at

    def post(self, transfer: Transfer) -> None:
        """Move the balance by a transfer."""
        effect_pico = transfer.effect_pico
        self.posted_pico += effect_pico
        self.transfer_count += 1
        self.posted.append(Posted(transfer, self.transfer_count, self.posted_pico))
        if effect_pico > 0 and transfer.kind not in NEW_CREDIT:
            # It may go back to a lot that has ended: whoever looks next shall let it expire.
            self.end_by(transfer.effective_at)

    def end_by(self, at: datetime) -> None:
        """Credit ends at that time, or may have ended by it."""
        if self.next_expiry_at is None or at < self.next_expiry_at:
            self.next_expiry_at = at
            self.ends_sooner = True
