"""Credit given or taken by hand, beside grants: a correction of the balance, or goodwill."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from metering.ledger.transfers import TransferKind

AdjustmentKind: TypeAlias = Literal["adjustment", "goodwill"]
ADJUSTMENT_KINDS: Final[tuple[AdjustmentKind, ...]] = ("adjustment", "goodwill")

TRANSFER_KINDS: Final[dict[AdjustmentKind, TransferKind]] = {
    "adjustment": TransferKind.ADJUSTMENT,
    "goodwill": TransferKind.GOODWILL,
}
