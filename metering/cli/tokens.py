"""`metering tokens`: service tokens for the gateway and finance."""

from __future__ import annotations

import json

import click

from metering.cli.opening import opened_database
from metering.cli.tables import show_table
from metering.services import service_tokens
from metering.services.service_tokens import Scope

_SCOPES = [scope.value for scope in Scope]


@click.group()
def tokens() -> None:
    """Service tokens for the gateway and finance."""


@tokens.command()
@click.argument("name")
@click.option(
    "--scope", "scopes", multiple=True, type=click.Choice(_SCOPES), help="May be given several times."
)
@click.option("--all-scopes", is_flag=True, help="Every scope there is.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
def create(name: str, scopes: tuple[str, ...], *, all_scopes: bool, as_json: bool) -> None:
    """Make a token called NAME and show it, once."""
    granted = list(Scope) if all_scopes else [Scope(scope) for scope in scopes]
    if not granted:
        raise click.UsageError(f"give --all-scopes, or --scope with one of: {', '.join(_SCOPES)}")
    with opened_database() as database:
        token, secret = service_tokens.create_service_token(database, name=name, scopes=granted)
    if as_json:
        shown = {"id": token.id, "name": token.name, "scopes": sorted(token.scopes), "token": secret}
        click.echo(json.dumps(shown))
    else:
        click.echo(secret)
        click.echo(f"id {token.id}; it is not shown again", err=True)


@tokens.command("list")
@click.option("--json", "as_json", is_flag=True, help="A JSON list instead of a table.")
def list_tokens(*, as_json: bool) -> None:
    """List all tokens, without their secrets."""
    with opened_database() as database:
        found = service_tokens.list_service_tokens(database)
    rows = [
        {
            "id": token.id,
            "name": token.name,
            "scopes": sorted(token.scopes),
            "created_at": token.created_at.isoformat(),
            "revoked_at": token.revoked_at and token.revoked_at.isoformat(),
        }
        for token in found
    ]
    if as_json:
        click.echo(json.dumps(rows))
        return
    shown = []
    for token in found:
        state = "open" if token.revoked_at is None else f"revoked {token.revoked_at:%Y-%m-%d %H:%M}"
        shown.append((token.id, token.name, " ".join(sorted(token.scopes)), state))
    show_table(("id", "name", "scopes", "state"), shown, texts={"name", "scopes"})


@tokens.command()
@click.argument("token_id", type=click.UUID)
def revoke(token_id: object) -> None:
    """Revoke the token with the id TOKEN_ID; services notice within seconds."""
    with opened_database() as database:
        service_tokens.revoke_service_token(database, str(token_id))
    click.echo("revoked")
