"""Transfers, the chart and the posting rules, by the table of the books."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from metering.ledger.balance import Balance
from metering.ledger.chart import Kind, LedgerAccount
from metering.ledger.grants import GrantKind
from metering.ledger.posting_rules import (
    Part,
    post_bonus,
    post_fee,
    post_grant,
    post_settlement,
    post_taken_back,
    post_tax,
    post_top_up,
    post_usage,
    revenue_of,
)
from metering.ledger.transfers import Transfer, TransferKind
from metering.usage.event import SOURCES, Source

AT = datetime(2026, 5, 6, tzinfo=UTC)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("api", "revenue:usage"),
        ("playground", "revenue:usage"),
        ("gpu_cloud", "revenue:gpu_cloud"),
        ("hosted_agents", "revenue:hosted_agents"),
    ],
)
def test_usage_turns_credit_into_the_source_s_revenue(source: Source, target: str) -> None:
    transfer = post_usage("t", "a", revenue_of(source), 12, AT)
    assert (transfer.kind, transfer.source, transfer.target) == ("usage", "customer_credit", target)
    assert (transfer.id, transfer.account_id, transfer.amount_pico, transfer.effective_at) == (
        "t",
        "a",
        12,
        AT,
    )


def test_every_source_has_its_revenue() -> None:
    assert {revenue_of(source).kind for source in SOURCES} == {Kind.INCOME}


@pytest.mark.parametrize(("kind", "source"), [("paid", "cash:manual"), ("promotional", "promo_expense")])
def test_credit_comes_from_cash_or_is_given_away(kind: GrantKind, source: str) -> None:
    transfer = post_grant("t", "a", kind, 5, AT, reason="why", actor="who")
    assert (transfer.kind, transfer.source, transfer.target) == ("grant", source, "customer_credit")
    assert (transfer.reason, transfer.actor) == ("why", "who")


@pytest.mark.parametrize(
    ("transfer", "row"),
    [
        (post_top_up("t", "a", 5, AT), "top_up: cash:stripe -> customer_credit 5"),
        (post_bonus("t", "a", 5, AT), "bonus: promo_expense -> customer_credit 5"),
        (post_tax("t", "a", 5, AT), "tax: cash:stripe -> tax:payable 5"),
        (post_fee("t", "a", 5, AT), "fee: fees:payments -> cash:stripe 5"),
        (post_fee("t", "a", -5, AT), "fee: cash:stripe -> fees:payments 5"),
    ],
)
def test_what_comes_in_through_the_processor_is_in_the_table(transfer: Transfer, row: str) -> None:
    assert _row(transfer) == row


@pytest.mark.parametrize("kind", ["refund", "dispute"])
@pytest.mark.parametrize(
    ("part", "row"),
    [
        ("credit", "{kind}: customer_credit -> {kind}s 5"),
        ("bonus", "{kind}: customer_credit -> promo_expense 5"),
        ("tax", "tax: tax:payable -> {kind}s 5"),
    ],
)
def test_each_part_goes_back_where_it_came_from(kind: str, part: Part, row: str) -> None:
    transfer = post_taken_back("t", "a", TransferKind(kind), part, 5, AT, reason="why", actor="who")
    assert _row(transfer) == row.format(kind=kind)
    assert (transfer.reason, transfer.actor) == ("why", "who")


@pytest.mark.parametrize("clearing", [LedgerAccount.REFUNDS, LedgerAccount.DISPUTES])
def test_money_that_the_processor_moved_clears_what_was_on_its_way(clearing: LedgerAccount) -> None:
    assert _row(post_settlement("t", "a", clearing, -5, AT)) == f"settlement: {clearing} -> cash:stripe 5"
    assert _row(post_settlement("t", "a", clearing, 5, AT)) == f"settlement: cash:stripe -> {clearing} 5"
    assert post_settlement("t", "a", clearing, 5, AT).effect_pico == 0


def _row(transfer: Transfer) -> str:
    return f"{transfer.kind}: {transfer.source} -> {transfer.target} {transfer.amount_pico}"


@pytest.mark.parametrize("amount", [0, -1])
def test_a_transfer_moves_something(amount: int) -> None:
    with pytest.raises(ValueError, match="positive"):
        post_usage("t", "a", LedgerAccount.REVENUE_USAGE, amount, AT)


def test_a_transfer_moves_between_two_accounts() -> None:
    credit = LedgerAccount.CUSTOMER_CREDIT
    with pytest.raises(ValueError, match="two accounts"):
        Transfer("t", "a", "usage", credit, credit, 1, AT)


def test_every_ledger_account_has_a_kind() -> None:
    kinds = {account.value: account.kind for account in LedgerAccount}
    assert kinds["customer_credit"] == Kind.LIABILITY
    assert kinds["receivable"] == kinds["cash:stripe"] == kinds["cash:manual"] == Kind.ASSET
    assert kinds["promo_expense"] == Kind.CONTRA_INCOME
    assert kinds["fees:payments"] == Kind.EXPENSE
    assert kinds["breakage"] == Kind.INCOME


def test_available_is_posted_less_held() -> None:
    assert Balance(100, 30, None).available_pico == 70
    assert Balance(-5, 0, None).available_pico == -5
    assert Balance(100, 30, None, None, 20).available_pico == 50
