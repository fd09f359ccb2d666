"""The chart of ledger accounts (accounting.md), and what kind of account each is.

`cash:manual` and `tax:payable` are ours: paid credit that came outside the processor, such as a bank
transfer, and tax that was paid on top of a top-up, so that `cash:stripe` can be reconciled to the last cent.
"""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """What an account is on the books; `is_debit_normal` says on which side it grows."""

    ASSET = "asset"
    LIABILITY = "liability"
    INCOME = "income"
    CONTRA_INCOME = "contra-income"
    EXPENSE = "expense"

    @property
    def is_debit_normal(self) -> bool:
        """Whether what flows out of the account, `from` it, makes its balance larger."""
        return self in {Kind.ASSET, Kind.EXPENSE, Kind.CONTRA_INCOME}


class LedgerAccount(StrEnum):
    """An account of the double-entry books; customer_credit and receivable are one per customer account."""

    CUSTOMER_CREDIT = "customer_credit"
    RECEIVABLE = "receivable"
    CASH_STRIPE = "cash:stripe"
    CASH_MANUAL = "cash:manual"
    FEES_PAYMENTS = "fees:payments"
    REVENUE_USAGE = "revenue:usage"
    REVENUE_GPU_CLOUD = "revenue:gpu_cloud"
    REVENUE_HOSTED_AGENTS = "revenue:hosted_agents"
    PROMO_EXPENSE = "promo_expense"
    TAX_PAYABLE = "tax:payable"
    REFUNDS = "refunds"
    DISPUTES = "disputes"
    BREAKAGE = "breakage"

    @property
    def kind(self) -> Kind:
        """What the account is on the books."""
        return _KINDS[self]


_KINDS = {
    LedgerAccount.CUSTOMER_CREDIT: Kind.LIABILITY,
    LedgerAccount.RECEIVABLE: Kind.ASSET,
    LedgerAccount.CASH_STRIPE: Kind.ASSET,
    LedgerAccount.CASH_MANUAL: Kind.ASSET,
    LedgerAccount.FEES_PAYMENTS: Kind.EXPENSE,
    LedgerAccount.REVENUE_USAGE: Kind.INCOME,
    LedgerAccount.REVENUE_GPU_CLOUD: Kind.INCOME,
    LedgerAccount.REVENUE_HOSTED_AGENTS: Kind.INCOME,
    LedgerAccount.PROMO_EXPENSE: Kind.CONTRA_INCOME,
    LedgerAccount.TAX_PAYABLE: Kind.LIABILITY,
    LedgerAccount.REFUNDS: Kind.ASSET,
    LedgerAccount.DISPUTES: Kind.ASSET,
    LedgerAccount.BREAKAGE: Kind.INCOME,
}
