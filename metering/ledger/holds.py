"""A hold: money set aside for work that was let in, until the work's event captures it.

Open, then captured, voided or expired. Time alone brings expiry: a hold past its end counts for nothing,
whether or not anybody has closed it yet.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple

from metering.ledger.grants import MAX_GRANT_PICO

# No account has more; a larger estimate is a slip.
MAX_HOLD_PICO: Final = MAX_GRANT_PICO


class HoldState(StrEnum):
    """What became of a hold; all but the first are final."""

    OPEN = "open"
    CAPTURED = "captured"
    VOIDED = "voided"
    EXPIRED = "expired"


class Hold(NamedTuple):
    """Money set aside on an account. Amounts are picodollars.

    `authorized_pico` is what it began with, `amount_pico` that and its extensions. `captured_pico` and
    `event_id` say what the event that ended it cost, and which it was. `api_key_id` is the key whose budget
    it counts in, `tokens` what it counts in the account's tokens per minute.
    """

    id: str
    account_id: str
    state: HoldState
    authorized_pico: int
    amount_pico: int
    captured_pico: int | None
    event_id: str | None
    api_key_id: str | None
    model: str | None
    tokens: int
    created_at: datetime
    expires_at: datetime
    closed_at: datetime | None

    def state_at(self, now: datetime) -> HoldState:
        """The state at that moment: open past its end is expired."""
        if self.state is HoldState.OPEN and self.expires_at <= now:
            return HoldState.EXPIRED
        return self.state


class Closing(NamedTuple):
    """The end of an open hold; `captured_pico` and `event_id` where an event captured it."""

    account_id: str
    id: str
    state: HoldState
    captured_pico: int | None = None
    event_id: str | None = None


class Budget(NamedTuple):
    """What a key may spend in its period, and what it has spent and set aside in it. Picodollars."""

    amount_pico: int
    spent_pico: int
    held_pico: int

    @property
    def left_pico(self) -> int:
        """What the key may still set aside."""
        return self.amount_pico - self.spent_pico - self.held_pico


def may_hold(wanted_pico: int, left_pico: int) -> bool:
    """Whether so much may be set aside: what costs nothing always, also on an empty account."""
    return wanted_pico <= max(0, left_pico)


def may_extend(increment_pico: int, left_pico: int) -> bool:
    """Whether a running hold may grow: by a last increment beyond what is left, as long as something is.

    So a stream overspends by less than one increment.
    """
    return left_pico > 0 or may_hold(increment_pico, left_pico)


def overspend(increment_pico: int, left_pico: int) -> int:
    """By how much an increment goes beyond what was left."""
    return max(0, increment_pico - max(0, left_pico))
