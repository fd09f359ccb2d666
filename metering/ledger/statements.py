"""What moved an account's balance, as its owner reads it."""

from __future__ import annotations

from datetime import datetime
from typing import Final, NamedTuple

from metering.ledger.chart import LedgerAccount
from metering.ledger.transfers import TransferKind

_WORDS: Final[dict[TransferKind, str]] = {
    TransferKind.USAGE: "Usage",
    TransferKind.AMENDMENT: "Usage amended",
    TransferKind.RATING: "Usage priced later",
    TransferKind.RERATING: "Usage priced anew",
    TransferKind.EVENT_REVERSAL: "Usage reversed",
    TransferKind.REVERSAL: "Reversal",
    TransferKind.GRANT: "Credit",
    TransferKind.ADJUSTMENT: "Adjustment",
    TransferKind.GOODWILL: "Goodwill credit",
    TransferKind.EXPIRY: "Credit expired",
    TransferKind.TOP_UP: "Top-up",
    TransferKind.BONUS: "Top-up bonus",
    TransferKind.REFUND: "Refund",
    TransferKind.DISPUTE: "Chargeback",
    TransferKind.TAX: "Tax",
    TransferKind.FEE: "Payment processor's fee",
    TransferKind.SETTLEMENT: "Settlement with the payment processor",
}
# What the other side of the transfer adds to the words.
_PRODUCTS: Final[dict[LedgerAccount, str]] = {
    LedgerAccount.REVENUE_GPU_CLOUD: "GPU Cloud",
    LedgerAccount.REVENUE_HOSTED_AGENTS: "Hosted agents",
}
# Where the other side says more than the kind.
_TOGETHER: Final[dict[tuple[TransferKind, LedgerAccount], str]] = {
    (TransferKind.GRANT, LedgerAccount.CASH_MANUAL): "Paid credit",
    (TransferKind.GRANT, LedgerAccount.CASH_STRIPE): "Paid credit",
    (TransferKind.GRANT, LedgerAccount.PROMO_EXPENSE): "Promotional credit",
    (TransferKind.REFUND, LedgerAccount.PROMO_EXPENSE): "Bonus taken back with a refund",
    (TransferKind.DISPUTE, LedgerAccount.PROMO_EXPENSE): "Bonus taken back with a chargeback",
    (TransferKind.REVERSAL, LedgerAccount.REFUNDS): "Refund undone",
    (TransferKind.REVERSAL, LedgerAccount.DISPUTES): "Chargeback undone",
}
# A grant is reversed from the same side, the other way round.
_BONUS_BACK: Final = TransferKind.REVERSAL, LedgerAccount.PROMO_EXPENSE
# Their reasons are written for the customer; those of the others for the books.
_EXPLAINED: Final = frozenset(
    {
        TransferKind.GRANT,
        TransferKind.ADJUSTMENT,
        TransferKind.GOODWILL,
        TransferKind.REVERSAL,
        TransferKind.EVENT_REVERSAL,
        TransferKind.REFUND,
    }
)


class Window(NamedTuple):
    """Which lines: `since` and `until` are inclusive; None leaves a side or the kind open."""

    since: datetime | None = None
    until: datetime | None = None
    kind: TransferKind | None = None


class Line(NamedTuple):
    """A transfer of the customer's credit: what it added, negative where it took, and the balance it left.

    `other` is the ledger account on its other side. Amounts are picodollars.
    """

    id: str
    sequence: int
    recorded_at: datetime
    kind: TransferKind
    other: LedgerAccount
    amount_pico: int
    balance_after_pico: int
    reason: str | None
    actor: str | None
    reverses_id: str | None

    @property
    def description(self) -> str:
        """What happened, in words."""
        if (self.kind, self.other) == _BONUS_BACK and self.amount_pico > 0:
            return "Bonus given back"
        words = _TOGETHER.get((self.kind, self.other)) or _WORDS[self.kind]
        product = _PRODUCTS.get(self.other)
        return words if product is None else f"{product}: {words[0].lower()}{words[1:]}"

    @property
    def customer_reason(self) -> str | None:
        """Why, as far as it was written for the customer."""
        return self.reason if self.kind in _EXPLAINED else None
