"""`metering accounts`: customers' accounts, their credit and their keys."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, TypeVar, cast
from uuid import UUID

import click

from metering import ids
from metering.app import open_cashier
from metering.cli import keys
from metering.cli.opening import opened_database
from metering.cli.options import CUSTOMER_REASON, EXPIRES_AT, IDEMPOTENCY_KEY, WITH_AMOUNT, read_dollars
from metering.cli.tables import show_table
from metering.config import Settings
from metering.ledger.grants import DEFAULT_PRIORITY, GRANT_KINDS, GrantKind
from metering.money import to_number
from metering.services import accounts as use_cases
from metering.services.accounts import (
    KEY_LIMIT,
    REQUESTS_PER_MINUTE,
    TOKENS_PER_MINUTE,
    AccountChanges,
    AccountView,
)
from metering.services.cashier import low_balance_of
from metering.services.grants import Wanted, grant_credit

_AS_JSON = click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")
_ACCOUNT = click.argument("account_id", type=click.UUID)
_WHOLE = click.IntRange(0, 2**31 - 1)
_LIMITS: Final = {
    "--key-limit": (KEY_LIMIT, "How many API keys it may have."),
    "--requests-per-minute": (REQUESTS_PER_MINUTE, "How many requests it may make a minute, with all keys."),
    "--tokens-per-minute": (TOKENS_PER_MINUTE, "How many tokens it may use a minute, with all keys."),
}
_EMAIL = click.option("--email", help="Where receipts and warnings are mailed to.")
_Command = TypeVar("_Command", bound=Callable[..., object])


def _limits(*, with_defaults: bool) -> Callable[[_Command], _Command]:
    """The options of an account's limits."""

    def add(command: _Command) -> _Command:
        for name, (default, means) in reversed(_LIMITS.items()):
            shown: dict[str, Any] = {"default": default, "show_default": True} if with_defaults else {}
            command = click.option(name, type=_WHOLE, help=means, **shown)(command)
        return command

    return add


@click.group()
def accounts() -> None:
    """Customers' accounts, their credit and their keys."""


@accounts.command()
@click.argument("name")
@_EMAIL
@_limits(with_defaults=True)
@_AS_JSON
def create(
    name: str,
    email: str | None,
    key_limit: int,
    requests_per_minute: int,
    tokens_per_minute: int,
    *,
    as_json: bool,
) -> None:
    """Open an account called NAME."""
    with opened_database() as database:
        cashier = open_cashier(Settings.from_environment(), database)
        view = use_cases.create_account(
            database,
            name,
            key_limit=key_limit,
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
            email=email,
            low_balance_pico=low_balance_of(cashier),
        )
    _show(view, as_json=as_json)


@accounts.command("set")
@_ACCOUNT
@click.option("--name", help="What it is called.")
@_EMAIL
@_limits(with_defaults=False)
@_AS_JSON
def change(account_id: UUID, *, as_json: bool, **wanted: str | int | None) -> None:
    """Change the name, the email or the limits of the account ACCOUNT_ID; what is not given stays."""
    changes = cast("AccountChanges", {name: value for name, value in wanted.items() if value is not None})
    if not changes:
        raise click.UsageError(f"nothing to change: give --name, --email, {', '.join(_LIMITS)}")
    with opened_database() as database:
        _show(use_cases.update_account(database, str(account_id), changes), as_json=as_json)


@accounts.command()
@_ACCOUNT
@_AS_JSON
def show(account_id: UUID, *, as_json: bool) -> None:
    """Show the account ACCOUNT_ID with its balance and limits."""
    with opened_database() as database:
        _show(use_cases.get_account(database, str(account_id)), as_json=as_json)


@accounts.command("list")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True)
@click.option("--after", type=click.UUID, help="The id after which to go on.")
@_AS_JSON
def list_accounts(limit: int, after: UUID | None, *, as_json: bool) -> None:
    """List the accounts in the order they were opened."""
    with opened_database() as database:
        found = use_cases.list_accounts(database, after=str(after) if after else None, limit=limit)
    if as_json:
        click.echo(json.dumps([_body(view) for view in found], ensure_ascii=False))
        return
    rows = [
        (one.account_id, one.name, f"{one.created_at:%Y-%m-%d %H:%M}", to_number(balance.posted_pico))
        for one, balance in found
    ]
    show_table(("id", "name", "opened", "balance"), rows, texts={"name"})
    if len(found) == limit:
        click.echo(f"there may be more: --after {found[-1].account.account_id}")


@accounts.command(context_settings=WITH_AMOUNT)
@_ACCOUNT
@click.argument("amount")
@click.option("--kind", type=click.Choice(GRANT_KINDS), required=True, help="Was it paid for, or given away?")
@CUSTOMER_REASON
@click.option(
    "--priority",
    type=_WHOLE,
    default=DEFAULT_PRIORITY,
    show_default=True,
    help="The lower, the sooner spent.",
)
@EXPIRES_AT
@IDEMPOTENCY_KEY
@_AS_JSON
def grant(
    account_id: UUID,
    amount: str,
    kind: GrantKind,
    reason: str,
    priority: int,
    expires_at: datetime | None,
    idempotency_key: str | None,
    *,
    as_json: bool,
) -> None:
    """Give the account ACCOUNT_ID credit of AMOUNT dollars."""
    wanted = Wanted(kind, read_dollars(amount, "AMOUNT"), reason, "command line", priority, expires_at)
    key = idempotency_key or ids.new_id()
    with opened_database() as database:
        granted, is_new = grant_credit(database, str(account_id), wanted, key)
    balance = to_number(granted.balance_after_pico)
    if as_json:
        shown = {"id": granted.id, "transfer_id": granted.transfer_id, "idempotency_key": key}
        click.echo(json.dumps({**shown, "balance": balance, "is_new": is_new}))
    else:
        click.echo(f"{'granted' if is_new else 'granted before'}; the balance after it: {balance}")
        click.echo(f"transfer {granted.transfer_id}, idempotency key {key}")


for command in keys.commands:
    accounts.add_command(command)


def _show(view: AccountView, *, as_json: bool) -> None:
    shown = _body(view)
    if as_json:
        click.echo(json.dumps(shown, ensure_ascii=False))
        return
    for name, value in shown.items():
        click.echo(f"{name:<20} {value}")


def _body(view: AccountView) -> dict[str, Any]:
    """The account with its amounts as exact decimal texts."""
    account, balance = view
    return {
        "id": account.account_id,
        "name": account.name,
        "email": account.email,
        "created_at": account.created_at.isoformat(),
        "posted": to_number(balance.posted_pico),
        "held": to_number(balance.held_pico),
        "frozen": to_number(balance.frozen_pico),
        "available": to_number(balance.available_pico),
        "key_limit": account.key_limit,
        "requests_per_minute": account.requests_per_minute,
        "tokens_per_minute": account.tokens_per_minute,
    }
