"""What customers are told about their money, by webhook and, where it is marked so, by mail."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class NoticeType(StrEnum):
    """A notice's type, as a webhook names it."""

    BALANCE_LOW = "balance.low"
    TOP_UP_SUCCEEDED = "top_up.succeeded"
    TOP_UP_FAILED = "top_up.failed"
    TOP_UP_REFUNDED = "top_up.refunded"
    AUTO_TOPUP_PAUSED = "auto_topup.paused"
    AUTO_TOPUP_OFF = "auto_topup.off"
    CARD_EXPIRING = "card.expiring"
    HOLD_REFUSED = "hold.refused"


MAILED: Final = frozenset(NoticeType) - {NoticeType.HOLD_REFUSED}
