"""`metering accounts …-key`: customers' API keys."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import click

from metering import clock
from metering.cli.opening import opened_database
from metering.cli.options import EXPIRES_AT, read_dollars
from metering.cli.tables import show_table
from metering.config import Settings
from metering.ledger.budgets import BudgetPeriod, BudgetTerms
from metering.money import to_number
from metering.services import api_keys
from metering.services.api_keys import MAX_OVERLAP, KeyChanges, KeyView

_AS_JSON = click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")
_ACCOUNT = click.argument("account_id", type=click.UUID)
_KEY = click.argument("key_id", type=click.UUID)
_OVERLAP = click.IntRange(0, int(MAX_OVERLAP.total_seconds()))
_PERIODS = [period.value for period in BudgetPeriod]
_BUDGET = click.option("--budget", help="Dollars that it may spend in each --budget-period.")


@click.command("create-key")
@_ACCOUNT
@click.option("--name", help="What the key is for.")
@EXPIRES_AT
@_BUDGET
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
    terms = None if budget is None else _terms(budget, budget_period)
    prefix = Settings.from_environment().api_key_prefix
    with opened_database() as database:
        key, secret = api_keys.create_api_key(
            database, str(account_id), prefix=prefix, name=name, expires_at=expires_at, budget=terms
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
    _show(found)


@click.command("set-key")
@_ACCOUNT
@_KEY
@click.option("--name", help="What the key is for.")
@EXPIRES_AT
@click.option("--no-end", is_flag=True, help="Let it never end.")
@_BUDGET
@click.option("--budget-period", type=click.Choice(_PERIODS), help="Goes with --budget.")
@click.option("--no-budget", is_flag=True, help="Let it spend what the account has.")
@_AS_JSON
def set_key(  # noqa: PLR0913  (its options)
    account_id: UUID,
    key_id: UUID,
    name: str | None,
    expires_at: datetime | None,
    budget: str | None,
    budget_period: str | None,
    *,
    no_end: bool,
    no_budget: bool,
    as_json: bool,
) -> None:
    """Change the name, the end or the budget of KEY_ID of the account ACCOUNT_ID; what is not given stays."""
    # A new amount of a daily budget is not meant for a month: it is to be said.
    if (budget is None) != (budget_period is None):
        raise click.UsageError("--budget and --budget-period go together")
    if (no_end and expires_at) or (no_budget and budget):
        raise click.UsageError("give a new value, or take the old one away")
    changes: KeyChanges = {}
    if name is not None:
        changes["name"] = name
    if no_end or expires_at is not None:
        changes["expires_at"] = expires_at
    if no_budget or budget is not None:
        changes["budget"] = None if budget is None else _terms(budget, budget_period or "")
    if not changes:
        raise click.UsageError("nothing to change: give a name, an end or a budget")
    with opened_database() as database:
        view = api_keys.update_api_key(database, str(account_id), str(key_id), changes)
    if as_json:
        click.echo(json.dumps(_body(view), ensure_ascii=False))
    else:
        _show([view])


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


def _terms(budget: str, period: str) -> BudgetTerms:
    return BudgetTerms(read_dollars(budget, "--budget"), BudgetPeriod(period))


def _show(views: Sequence[KeyView]) -> None:
    now = clock.now()
    rows = []
    for view in views:
        key, shown = view.key, f"{view.key.prefix}…{view.key.last_four}"
        rows.append((key.id, shown, key.name or "", _state(view, now), _day(key.last_used_at), _budget(view)))
    show_table(("id", "key", "name", "state", "last used", "budget"), rows, texts={"name"})


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


commands = [create_key, list_keys, set_key, rotate_key, revoke_key]
