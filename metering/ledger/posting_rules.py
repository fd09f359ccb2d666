"""Facts to transfers, one function for each row of the accounting table."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal, TypeAlias

from metering.ledger.chart import LedgerAccount
from metering.ledger.grants import GrantKind
from metering.ledger.transfers import Transfer, TransferKind
from metering.usage.event import Source

_REVENUE: Final[dict[Source, LedgerAccount]] = {
    "api": LedgerAccount.REVENUE_USAGE,
    "playground": LedgerAccount.REVENUE_USAGE,
    "gpu_cloud": LedgerAccount.REVENUE_GPU_CLOUD,
    "hosted_agents": LedgerAccount.REVENUE_HOSTED_AGENTS,
}
_CLEARING: Final = {
    TransferKind.REFUND: LedgerAccount.REFUNDS,
    TransferKind.DISPUTE: LedgerAccount.DISPUTES,
}
_GRANTED_FROM: Final[dict[GrantKind, LedgerAccount]] = {
    "paid": LedgerAccount.CASH_MANUAL,
    "promotional": LedgerAccount.PROMO_EXPENSE,
}
# A part of a payment: credit that was bought, the bonus on it, or tax.
Part: TypeAlias = Literal["credit", "bonus", "tax"]


def revenue_of(source: Source) -> LedgerAccount:
    """The income account that usage from `source` goes to."""
    return _REVENUE[source]


def post_usage(
    transfer_id: str, account_id: str, revenue: LedgerAccount, amount_pico: int, effective_at: datetime
) -> Transfer:
    """Usage: customer credit becomes revenue."""
    credit = LedgerAccount.CUSTOMER_CREDIT
    return Transfer(transfer_id, account_id, TransferKind.USAGE, credit, revenue, amount_pico, effective_at)


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
        TransferKind.GRANT,
        source,
        credit,
        amount_pico,
        effective_at,
        reason=reason,
        actor=actor,
    )


def post_cost_change(
    transfer_id: str,
    account_id: str,
    kind: TransferKind,
    revenue: LedgerAccount,
    delta_pico: int,
    effective_at: datetime,
    *,
    reason: str,
    actor: str,
) -> Transfer:
    """The difference when usage turned out to cost more (credit becomes revenue) or less (the other way)."""
    credit = LedgerAccount.CUSTOMER_CREDIT
    source, target = (credit, revenue) if delta_pico > 0 else (revenue, credit)
    amount_pico = abs(delta_pico)
    return Transfer(
        transfer_id, account_id, kind, source, target, amount_pico, effective_at, reason=reason, actor=actor
    )


def post_adjustment(
    transfer_id: str,
    account_id: str,
    kind: TransferKind,
    amount_pico: int,
    effective_at: datetime,
    *,
    reason: str,
    actor: str,
) -> Transfer:
    """Goodwill or a correction by hand: given away, or taken back where the amount is negative."""
    credit, given = LedgerAccount.CUSTOMER_CREDIT, LedgerAccount.PROMO_EXPENSE
    source, target = (given, credit) if amount_pico > 0 else (credit, given)
    amount_pico = abs(amount_pico)
    return Transfer(
        transfer_id, account_id, kind, source, target, amount_pico, effective_at, reason=reason, actor=actor
    )


def post_top_up(transfer_id: str, account_id: str, amount_pico: int, effective_at: datetime) -> Transfer:
    """Credit that was paid through the processor; it opens a paid lot."""
    cash, credit = LedgerAccount.CASH_STRIPE, LedgerAccount.CUSTOMER_CREDIT
    return Transfer(transfer_id, account_id, TransferKind.TOP_UP, cash, credit, amount_pico, effective_at)


def post_bonus(transfer_id: str, account_id: str, amount_pico: int, effective_at: datetime) -> Transfer:
    """What was given on top of a top-up; it opens a promotional lot."""
    given, credit = LedgerAccount.PROMO_EXPENSE, LedgerAccount.CUSTOMER_CREDIT
    return Transfer(transfer_id, account_id, TransferKind.BONUS, given, credit, amount_pico, effective_at)


def post_tax(transfer_id: str, account_id: str, amount_pico: int, effective_at: datetime) -> Transfer:
    """Tax that was paid on top of a top-up: ours to hand on."""
    cash, tax = LedgerAccount.CASH_STRIPE, LedgerAccount.TAX_PAYABLE
    return Transfer(transfer_id, account_id, TransferKind.TAX, cash, tax, amount_pico, effective_at)


def post_taken_back(
    transfer_id: str,
    account_id: str,
    kind: TransferKind,
    part: Part,
    amount_pico: int,
    effective_at: datetime,
    *,
    reason: str,
    actor: str,
) -> Transfer:
    """A part of what a refund or a lost dispute takes: all but the bonus, which was never paid, goes back."""
    source, target = LedgerAccount.CUSTOMER_CREDIT, _CLEARING[kind]
    if part == "tax":
        kind, source = TransferKind.TAX, LedgerAccount.TAX_PAYABLE
    elif part == "bonus":
        target = LedgerAccount.PROMO_EXPENSE
    return Transfer(
        transfer_id, account_id, kind, source, target, amount_pico, effective_at, reason=reason, actor=actor
    )


def post_fee(transfer_id: str, account_id: str, fee_pico: int, effective_at: datetime) -> Transfer:
    """What the processor kept for itself; a negative fee was given back."""
    fees, cash = LedgerAccount.FEES_PAYMENTS, LedgerAccount.CASH_STRIPE
    source, target = (fees, cash) if fee_pico > 0 else (cash, fees)
    return Transfer(transfer_id, account_id, TransferKind.FEE, source, target, abs(fee_pico), effective_at)


def post_settlement(
    transfer_id: str,
    account_id: str,
    clearing: LedgerAccount,
    amount_pico: int,
    effective_at: datetime,
) -> Transfer:
    """Money that the processor paid out, negative, or took in again, for a refund or a dispute."""
    cash = LedgerAccount.CASH_STRIPE
    source, target = (cash, clearing) if amount_pico > 0 else (clearing, cash)
    amount_pico = abs(amount_pico)
    return Transfer(
        transfer_id, account_id, TransferKind.SETTLEMENT, source, target, amount_pico, effective_at
    )


def post_expiry(transfer_id: str, account_id: str, amount_pico: int, effective_at: datetime) -> Transfer:
    """Credit that nobody used in time."""
    credit, breakage = LedgerAccount.CUSTOMER_CREDIT, LedgerAccount.BREAKAGE
    return Transfer(transfer_id, account_id, TransferKind.EXPIRY, credit, breakage, amount_pico, effective_at)


def post_reversal(
    transfer_id: str, reversed_one: Transfer, effective_at: datetime, *, reason: str, actor: str
) -> Transfer:
    """The mirror image of a transfer: the same amount back."""
    return Transfer(
        transfer_id,
        reversed_one.account_id,
        TransferKind.REVERSAL,
        reversed_one.target,
        reversed_one.source,
        reversed_one.amount_pico,
        effective_at,
        reason=reason,
        actor=actor,
        reverses_id=reversed_one.id,
    )
