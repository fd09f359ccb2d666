"""`metering accounts`: customers' accounts, their credit and their keys."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import click
from rich.console import Console
from rich.table import Table

from metering import ids
from metering.cli import keys
from metering.cli.opening import opened_database
from metering.errors import InvalidParameter
from metering.ledger.grants import GRANT_KINDS, GrantKind
from metering.money import AmountError, to_number, to_pico
from metering.services import accounts as use_cases
from metering.services.accounts import AccountView
from metering.services.grants import Wanted, grant_credit

_AS_JSON = click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")
_ACCOUNT = click.argument("account_id", type=click.UUID)


@click.group()
def accounts() -> None:
    """Customers' accounts, their credit and their keys."""


@accounts.command()
@click.argument("name")
@_AS_JSON
def create(name: str, *, as_json: bool) -> None:
    """Open an account called NAME."""
    with opened_database() as database:
        _show(use_cases.create_account(database, name), as_json=as_json)


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
    table = Table("id", "name", "opened", "balance", box=None, header_style="bold")
    for account, balance in found:
        opened = f"{account.created_at:%Y-%m-%d %H:%M}"
        table.add_row(account.account_id, account.name, opened, to_number(balance.posted_pico))
    Console(soft_wrap=True).print(table)
    if len(found) == limit:
        click.echo(f"there may be more: --after {found[-1].account.account_id}")


@accounts.command()
@_ACCOUNT
@click.argument("amount")
@click.option("--kind", type=click.Choice(GRANT_KINDS), required=True, help="Was it paid for, or given away?")
@click.option("--reason", required=True, help="Why; it stays in the books.")
@click.option(
    "--idempotency-key", help="Repeat a call safely by giving its key again; a new one unless given."
)
@_AS_JSON
def grant(
    account_id: UUID, amount: str, kind: GrantKind, reason: str, idempotency_key: str | None, *, as_json: bool
) -> None:
    """Give the account ACCOUNT_ID credit of AMOUNT dollars."""
    try:
        wanted = Wanted(kind, to_pico(amount), reason, actor="command line")
    except AmountError as error:
        raise InvalidParameter(str(error), param="AMOUNT") from error
    key = idempotency_key or ids.new_id()
    with opened_database() as database:
        granted, is_new = grant_credit(database, str(account_id), wanted, key)
    balance = to_number(granted.balance_after_pico)
    if as_json:
        shown = {"id": granted.id, "transfer_id": granted.transfer_id, "idempotency_key": key}
        click.echo(json.dumps({**shown, "balance": balance, "is_new": is_new}))
    else:
        click.echo(f"{'granted' if is_new else 'granted before'}; the balance after it: {balance}")


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
        "created_at": account.created_at.isoformat(),
        "posted": to_number(balance.posted_pico),
        "held": to_number(balance.held_pico),
        "available": to_number(balance.available_pico),
        "key_limit": account.key_limit,
        "requests_per_minute": account.requests_per_minute,
        "tokens_per_minute": account.tokens_per_minute,
    }
