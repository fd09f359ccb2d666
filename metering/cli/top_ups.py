"""`metering top-ups`: what accounts bought, and their money back."""

from __future__ import annotations

import json
from typing import Any, Final
from uuid import UUID

import click

from metering import ids
from metering.cli.corrections import ACTOR
from metering.cli.opening import opened_cashier, opened_database
from metering.cli.options import CUSTOMER_REASON, IDEMPOTENCY_KEY, read_dollars
from metering.cli.tables import show_table
from metering.money import to_number
from metering.services import disputes, refunds, settlement
from metering.services import top_ups as use_cases
from metering.services.refunds import WantedRefund
from metering.services.top_ups import TopUpView
from metering.storage.database import Database
from metering.storage.disputes import KnownDispute
from metering.storage.refunds import Refund

_AS_JSON: Final = click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")
_ACCOUNT: Final = click.argument("account_id", type=click.UUID)
_TOP_UP: Final = click.argument("top_up_id", type=click.UUID)
_PAGE: Final = 1_000


@click.group("top-ups")
def top_ups() -> None:
    """Show what accounts bought, give money back, and look after a payment by hand."""


@top_ups.command("list")
@_ACCOUNT
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line instead of a table.")
def list_(account_id: UUID, *, as_json: bool) -> None:
    """List the top-ups of ACCOUNT_ID, newest first."""
    found: list[TopUpView] = []
    with opened_database() as database:
        while True:
            after = found[-1].top_up.id if found else None
            page = use_cases.list_top_ups(database, str(account_id), after=after, limit=_PAGE)
            found += page
            if len(page) < _PAGE:
                break
    rows = [_body(view) for view in found]
    if as_json:
        for row in rows:
            click.echo(json.dumps(row, ensure_ascii=False))
        return
    columns = ("id", "created_at", "origin", "state", "amount", "bonus", "tax", "refunded", "paid_with")
    show_table(columns, [[str(row[name] or "") for name in columns] for row in rows], texts={"paid_with"})


@top_ups.command()
@_ACCOUNT
@_TOP_UP
@_AS_JSON
def show(account_id: UUID, top_up_id: UUID, *, as_json: bool) -> None:
    """Show a top-up, its refunds and its disputes."""
    with opened_database() as database:
        _show(database, str(account_id), str(top_up_id), as_json=as_json)


@top_ups.command()
@_ACCOUNT
@_TOP_UP
@_AS_JSON
def settle(account_id: UUID, top_up_id: UUID, *, as_json: bool) -> None:
    """Ask the payment processor how a top-up stands, post what is missing, and show it."""
    key = str(account_id), str(top_up_id)
    with opened_cashier() as cashier:
        settlement.settle(cashier, *key)
        _show(cashier.database, *key, as_json=as_json)


@top_ups.command()
@_ACCOUNT
@_TOP_UP
@click.option("--amount", help="Dollars that go back, tax included; all that is unused unless given.")
@CUSTOMER_REASON
@IDEMPOTENCY_KEY
@_AS_JSON
def refund(
    account_id: UUID,
    top_up_id: UUID,
    amount: str | None,
    reason: str,
    idempotency_key: str | None,
    *,
    as_json: bool,
) -> None:
    """Give back what is unused of a top-up, with its share of the bonus; exits with 1 if it is refused."""
    wanted = WantedRefund(None if amount is None else read_dollars(amount, "--amount"), reason, ACTOR)
    key = idempotency_key or ids.new_id()
    with opened_cashier() as cashier:
        made, is_new = refunds.create_refund(cashier, str(account_id), str(top_up_id), wanted, key)
    body = _refund_body(made)
    if as_json:
        click.echo(json.dumps({**body, "idempotency_key": key, "is_new": is_new}, ensure_ascii=False))
    else:
        before = "" if is_new else ", asked for before"
        click.echo(
            f"refund {made.id} of {body['amount']} dollars: {made.state}{before}; idempotency key {key}"
        )
    if made.failure:
        raise click.ClickException(made.failure)


def _show(database: Database, *key: str, as_json: bool) -> None:
    body = _body(use_cases.get_top_up(database, *key))
    back = [_refund_body(one) for one in refunds.list_refunds(database, *key)]
    disputed = [_dispute_body(one) for one in disputes.list_disputes(database, *key)]
    if as_json:
        click.echo(json.dumps({**body, "refunds": back, "disputes": disputed}, ensure_ascii=False))
        return
    for name, value in body.items():
        if value is not None:
            click.echo(f"{name:<16} {value}")
    _table(("refund", "state", "origin", "amount", "bonus", "tax", "reason"), back)
    _table(("dispute", "status", "stage", "amount", "credit", "bonus", "tax", "reason"), disputed)


def _table(columns: tuple[str, ...], bodies: list[dict[str, Any]]) -> None:
    if bodies:
        click.echo()
        show_table(columns, [[str(body[name]) for name in columns] for body in bodies], texts={"reason"})


def _body(view: TopUpView) -> dict[str, Any]:
    """The top-up with its amounts as exact decimal texts."""
    top_up = view.top_up
    return {
        "id": top_up.id,
        "account_id": top_up.account_id,
        "created_at": top_up.created_at.isoformat(),
        "origin": top_up.origin,
        "state": top_up.state,
        "amount": to_number(top_up.amount_pico),
        "bonus": to_number(top_up.bonus_pico),
        "tax": to_number(top_up.tax_pico),
        "refunded": to_number(view.refunded_pico),
        "frozen": to_number(top_up.frozen_pico),
        "paid_with": top_up.paid_with,
        "receipt_number": top_up.receipt_number,
        "payment_id": top_up.payment_id,
        "session_id": top_up.session_id,
        "transfer_id": top_up.transfer_id,
        "failure_code": top_up.failure_code,
        "failure_message": top_up.failure_message,
        "succeeded_at": None if top_up.succeeded_at is None else top_up.succeeded_at.isoformat(),
    }


def _refund_body(one: Refund) -> dict[str, Any]:
    return {
        "refund": one.id,
        "state": one.state,
        "origin": one.origin,
        "amount": to_number(one.amount_pico),
        "credit": to_number(one.credit_pico),
        "bonus": to_number(one.bonus_pico),
        "tax": to_number(one.tax_pico),
        "reason": one.reason,
        "actor": one.actor,
        "failure": one.failure,
        "processor_id": one.processor_id,
        "created_at": one.created_at.isoformat(),
    }


def _dispute_body(one: KnownDispute) -> dict[str, Any]:
    """What is disputed, and of that what was taken as lost: credit, its share of the bonus, tax."""
    return {
        "dispute": one.id,
        "status": one.status,
        "stage": one.stage,
        "amount": to_number(one.amount_pico),
        "credit": to_number(one.credit_pico),
        "bonus": to_number(one.bonus_pico),
        "tax": to_number(one.tax_pico),
        "reason": one.reason,
        "opened_at": one.opened_at.isoformat(),
        "updated_at": one.updated_at.isoformat(),
    }
