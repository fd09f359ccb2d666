"""`metering accounts …-key`: customers' API keys."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import click
from rich.console import Console
from rich.table import Table

from metering import clock
from metering.cli.opening import opened_database
from metering.config import Settings
from metering.errors import InvalidParameter
from metering.ledger.budgets import BudgetPeriod, BudgetTerms
from metering.money import AmountError, to_number, to_pico
from metering.services import api_keys
from metering.services.api_keys import MAX_OVERLAP, KeyView

_AS_JSON = click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")
_ACCOUNT = click.argument("account_id", type=click.UUID)
_KEY = click.argument("key_id", type=click.UUID)
_OVERLAP = click.IntRange(0, int(MAX_OVERLAP.total_seconds()))
_PERIODS = [period.value for period in BudgetPeriod]
_TIMES = ("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d")


@click.command("create-key")
@_ACCOUNT
@click.option("--name", help="What the key is for.")
@click.option("--expires-at", type=click.DateTime(_TIMES), help="When it ends, in UTC; never unless given.")
@click.option("--budget", help="Dollars that it may spend in each --budget-period.")
@click.option("--budget-period", type=click.Choice(_PERIODS), default="month", show_default=True)
@_AS_JSON
def create_key(
    account_id: UUID,
    name: str | None,
    expires_at: datetime | None,
    budget: str | None,
    budget_period: str,
    *,
    as_json: bool,
) -> None:
    """Make an API key for the account ACCOUNT_ID and show it, once."""
    ends = None if expires_at is None else expires_at.replace(tzinfo=UTC)
    try:
        terms = None if budget is None else BudgetTerms(to_pico(budget), BudgetPeriod(budget_period))
    except AmountError as error:
        raise InvalidParameter(str(error), param="--budget") from error
    prefix = Settings.from_environment().api_key_prefix
    with opened_database() as database:
        key, secret = api_keys.create_api_key(
            database, str(account_id), prefix=prefix, name=name, expires_at=ends, budget=terms
        )
    _show_once(key.id, key.account_id, secret, as_json=as_json)


@click.command("keys")
@_ACCOUNT
@_AS_JSON
def list_keys(account_id: UUID, *, as_json: bool) -> None:
    """List the keys of the account ACCOUNT_ID, closed ones too, without their secrets."""
    with opened_database() as database:
        found = api_keys.list_api_keys(database, str(account_id))
    if as_json:
        click.echo(json.dumps([_body(view) for view in found], ensure_ascii=False))
        return
    now = clock.now()
    table = Table(box=None, header_style="bold")
    table.add_column("id", no_wrap=True)
    for column in ("key", "name", "state", "last used", "budget"):
        table.add_column(column)
    for view in found:
        key = view.key
        shown = f"{key.prefix}…{key.last_four}"
        table.add_row(key.id, shown, key.name or "", _state(view, now), _day(key.last_used_at), _budget(view))
    Console(width=None if sys.stdout.isatty() else 160).print(table)


@click.command("rotate-key")
@_ACCOUNT
@_KEY
@click.option(
    "--overlap-seconds",
    type=_OVERLAP,
    default=0,
    show_default=True,
    help="For how long the old key goes on working.",
)
@_AS_JSON
def rotate_key(account_id: UUID, key_id: UUID, overlap_seconds: int, *, as_json: bool) -> None:
    """Make the key that replaces KEY_ID of the account ACCOUNT_ID, and show it, once."""
    prefix = Settings.from_environment().api_key_prefix
    overlap = timedelta(seconds=overlap_seconds)
    with opened_database() as database:
        key, secret = api_keys.rotate_api_key(
            database, str(account_id), str(key_id), prefix=prefix, overlap=overlap
        )
    _show_once(key.id, key.account_id, secret, as_json=as_json)


@click.command("revoke-key")
@_ACCOUNT
@_KEY
def revoke_key(account_id: UUID, key_id: UUID) -> None:
    """Revoke the key KEY_ID of the account ACCOUNT_ID; services notice within seconds."""
    with opened_database() as database:
        api_keys.revoke_api_key(database, str(account_id), str(key_id))
    click.echo("revoked")


def _show_once(key_id: str, account_id: str, secret: str, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"id": key_id, "account_id": account_id, "key": secret}))
    else:
        click.echo(secret)
        click.echo(f"id {key_id}; it is not shown again", err=True)


def _state(view: KeyView, now: datetime) -> str:
    key = view.key
    if key.revoked_at is not None:
        return f"revoked {_day(key.revoked_at)}"
    if key.expires_at is None:
        return "open"
    return f"{'open until' if key.is_open_at(now) else 'expired'} {_day(key.expires_at)}"


def _budget(view: KeyView) -> str:
    budget = view.key.budget
    if budget is None:
        return ""
    return f"{to_number(view.spending.spent_pico)} of {to_number(budget.amount_pico)} ({budget.period})"


def _day(at: datetime | None) -> str:
    return "" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M}"


def _body(view: KeyView) -> dict[str, Any]:
    """The key with its times and amounts as exact texts."""
    shown: dict[str, Any] = view.key._asdict()
    for name in ("created_at", "revoked_at", "expires_at", "last_used_at"):
        shown[name] = shown[name] and shown[name].isoformat()
    budget = view.key.budget
    if budget is not None:
        shown["budget"] = {
            "amount_usd": to_number(budget.amount_pico),
            "period": budget.period.value,
            "spent_usd": to_number(view.spending.spent_pico),
            "held_usd": to_number(view.spending.held_pico),
        }
    return shown


commands = [create_key, list_keys, rotate_key, revoke_key]
