"""What a statement says of a transfer, and the days that count in a budget."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from metering.ledger.budgets import BudgetPeriod
from metering.ledger.chart import LedgerAccount
from metering.ledger.statements import Line
from metering.ledger.transfers import TransferKind

NOW = datetime(2026, 3, 1, 0, 30, tzinfo=UTC)


def a_line(kind: TransferKind, other: LedgerAccount) -> Line:
    return Line("t", 1, NOW, kind, other, -1, -1, "why", "who", None)


@pytest.mark.parametrize("kind", TransferKind)
def test_every_kind_has_words_of_its_own(kind: TransferKind) -> None:
    others = [
        a_line(other, LedgerAccount.REVENUE_USAGE).description for other in TransferKind if other != kind
    ]
    described = a_line(kind, LedgerAccount.REVENUE_USAGE).description
    assert described
    assert described not in others


@pytest.mark.parametrize(
    ("kind", "other", "description"),
    [
        (TransferKind.USAGE, LedgerAccount.REVENUE_USAGE, "Usage"),
        (TransferKind.USAGE, LedgerAccount.REVENUE_GPU_CLOUD, "GPU Cloud: usage"),
        (TransferKind.AMENDMENT, LedgerAccount.REVENUE_HOSTED_AGENTS, "Hosted agents: usage amended"),
        (TransferKind.GRANT, LedgerAccount.CASH_MANUAL, "Paid credit"),
        (TransferKind.GRANT, LedgerAccount.PROMO_EXPENSE, "Promotional credit"),
        (TransferKind.EXPIRY, LedgerAccount.BREAKAGE, "Credit expired"),
        (TransferKind.TOP_UP, LedgerAccount.CASH_STRIPE, "Top-up"),
        (TransferKind.BONUS, LedgerAccount.PROMO_EXPENSE, "Top-up bonus"),
        (TransferKind.REFUND, LedgerAccount.REFUNDS, "Refund"),
        (TransferKind.REFUND, LedgerAccount.PROMO_EXPENSE, "Bonus taken back with a refund"),
        (TransferKind.DISPUTE, LedgerAccount.DISPUTES, "Chargeback"),
        (TransferKind.DISPUTE, LedgerAccount.PROMO_EXPENSE, "Bonus taken back with a chargeback"),
        (TransferKind.REVERSAL, LedgerAccount.REFUNDS, "Refund undone"),
        (TransferKind.REVERSAL, LedgerAccount.DISPUTES, "Chargeback undone"),
        (TransferKind.REVERSAL, LedgerAccount.PROMO_EXPENSE, "Reversal"),
    ],
)
def test_the_other_side_of_a_transfer_is_in_its_words(
    kind: TransferKind, other: LedgerAccount, description: str
) -> None:
    assert a_line(kind, other).description == description


def test_a_bonus_that_comes_back_is_not_called_as_a_grant_that_goes() -> None:
    gone = a_line(TransferKind.REVERSAL, LedgerAccount.PROMO_EXPENSE)
    assert (gone.description, gone._replace(amount_pico=1).description) == ("Reversal", "Bonus given back")


def test_reasons_for_the_books_are_not_the_customer_s() -> None:
    told = {kind for kind in TransferKind if a_line(kind, LedgerAccount.PROMO_EXPENSE).customer_reason}
    assert told == {
        TransferKind.GRANT,
        TransferKind.ADJUSTMENT,
        TransferKind.GOODWILL,
        TransferKind.REVERSAL,
        TransferKind.EVENT_REVERSAL,
        TransferKind.REFUND,
    }


@pytest.mark.parametrize(
    ("period", "begins"),
    [
        (BudgetPeriod.DAY, date(2026, 3, 1)),
        (BudgetPeriod.MONTH, date(2026, 3, 1)),
        (BudgetPeriod.TOTAL, date.min),
    ],
)
def test_a_period_begins_by_the_calendar_of_utc(period: BudgetPeriod, begins: date) -> None:
    assert period.begins(NOW) == begins
    elsewhere = NOW.astimezone(timezone(timedelta(hours=-5)))
    assert elsewhere.date() == date(2026, 2, 28)
    assert period.begins(elsewhere) == begins
    if period is not BudgetPeriod.TOTAL:
        assert period.begins(NOW - timedelta(hours=1)) < begins
