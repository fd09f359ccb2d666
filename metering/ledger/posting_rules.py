"""Facts to transfers, one function for each row of the accounting table."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from metering.ledger.chart import LedgerAccount
from metering.ledger.grants import GrantKind
from metering.ledger.transfers import Transfer
from metering.usage.event import Source

_REVENUE: Final[dict[Source, LedgerAccount]] = {
    "api": LedgerAccount.REVENUE_USAGE,
    "playground": LedgerAccount.REVENUE_USAGE,
    "gpu_cloud": LedgerAccount.REVENUE_GPU_CLOUD,
    "hosted_agents": LedgerAccount.REVENUE_HOSTED_AGENTS,
}
_GRANTED_FROM: Final[dict[GrantKind, LedgerAccount]] = {
    "paid": LedgerAccount.CASH_MANUAL,
    "promotional": LedgerAccount.PROMO_EXPENSE,
}


def revenue_of(source: Source) -> LedgerAccount:
    """The income account that usage from `source` goes to."""
    return _REVENUE[source]


def post_usage(
    transfer_id: str, account_id: str, revenue: LedgerAccount, amount_pico: int, effective_at: datetime
) -> Transfer:
    """Usage: customer credit becomes revenue."""
    credit = LedgerAccount.CUSTOMER_CREDIT
    return Transfer(transfer_id, account_id, "usage", credit, revenue, amount_pico, effective_at)


def post_grant(
    transfer_id: str,
    account_id: str,
    kind: GrantKind,
    amount_pico: int,
    effective_at: datetime,
    *,
    reason: str,
    actor: str,
) -> Transfer:
    """Credit: paid outside the processor, or given away."""
    credit = LedgerAccount.CUSTOMER_CREDIT
    source = _GRANTED_FROM[kind]
    return Transfer(
        transfer_id,
        account_id,
        "grant",
        source,
        credit,
        amount_pico,
        effective_at,
        reason=reason,
        actor=actor,
    )
