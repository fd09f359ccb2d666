"""`metering ledger adjust`, `reverse`, `rate-unpriced` and `rerate`: what changes after the fact."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import UUID

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from metering import ids
from metering.cli.opening import opened_database
from metering.cli.options import CUSTOMER_REASON, IDEMPOTENCY_KEY, WITH_AMOUNT, read_dollars
from metering.cli.tables import show_table
from metering.config import Settings
from metering.ledger.adjustments import ADJUSTMENT_KINDS, AdjustmentKind
from metering.money import to_number
from metering.pricing import schema
from metering.pricing.loader import load
from metering.rating.engine import Rater
from metering.services import corrections, rerating
from metering.services.corrections import WantedAdjustment
from metering.services.history import list_unpriced
from metering.services.rerating import Change, Told, Window

ACTOR: Final = "command line"
_AS_JSON: Final = click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")
_ACCOUNT: Final = click.argument("account_id", type=click.UUID)


def _moment(_context: click.Context, _option: click.Parameter, value: str) -> datetime:
    moment = schema.parse_date(value)
    if moment is None:
        raise click.BadParameter(f"{value!r} is no date, and no time with its zone: 2026-05-01T00:00:00Z")
    return moment.astimezone(UTC)


@click.command(context_settings=WITH_AMOUNT)
@_ACCOUNT
@click.argument("amount")
@click.option(
    "--kind",
    type=click.Choice(ADJUSTMENT_KINDS),
    default="adjustment",
    show_default=True,
    help="Goodwill only gives.",
)
@CUSTOMER_REASON
@IDEMPOTENCY_KEY
@_AS_JSON
def adjust(
    account_id: UUID,
    amount: str,
    kind: AdjustmentKind,
    reason: str,
    idempotency_key: str | None,
    *,
    as_json: bool,
) -> None:
    """Give the account ACCOUNT_ID AMOUNT dollars of credit by hand, or take them where AMOUNT is negative."""
    wanted = WantedAdjustment(kind, read_dollars(amount, "AMOUNT"), reason, ACTOR)
    key = idempotency_key or ids.new_id()
    with opened_database() as database:
        adjusted, is_new = corrections.adjust_credit(database, str(account_id), wanted, key)
    balance = to_number(adjusted.balance_after_pico)
    if as_json:
        shown = {"id": adjusted.id, "transfer_id": adjusted.transfer_id, "idempotency_key": key}
        click.echo(json.dumps({**shown, "balance": balance, "is_new": is_new}))
    else:
        click.echo(f"{'adjusted' if is_new else 'adjusted before'}; the balance after it: {balance}")
        click.echo(f"transfer {adjusted.transfer_id}, idempotency key {key}")


@click.command()
@_ACCOUNT
@click.option("--transfer", "transfer_id", type=click.UUID, help="The transfer to mirror.")
@click.option("--event", "event_id", help="The event that is to cost nothing.")
@CUSTOMER_REASON
@_AS_JSON
def reverse(
    account_id: UUID, transfer_id: UUID | None, event_id: str | None, reason: str, *, as_json: bool
) -> None:
    """Reverse a transfer or an event of ACCOUNT_ID; what was recorded stays, its mirror image is added."""
    account = str(account_id)
    with opened_database() as database:
        if transfer_id is not None and event_id is None:
            reversal, is_new = corrections.reverse_transfer(
                database, account, str(transfer_id), reason=reason, actor=ACTOR
            )
        elif event_id is not None and transfer_id is None:
            reversal, is_new = corrections.reverse_event(
                database, account, event_id, reason=reason, actor=ACTOR
            )
        else:
            raise click.UsageError("give --transfer or --event")
    amount, balance = to_number(reversal.amount_pico), to_number(reversal.balance_after_pico)
    if as_json:
        shown = {"transfer_id": reversal.transfer_id, "reverses_id": reversal.reverses_id}
        shown |= {"event_id": reversal.event_id, "amount": amount, "balance": balance}
        click.echo(json.dumps({**shown, "is_new": is_new}))
    else:
        done = "reversed" if is_new else "reversed before"
        click.echo(f"{done}: {amount} dollars; the balance after it: {balance}")


@click.command("rate-unpriced")
@click.option("--account", "account_id", type=click.UUID, help="Only the events of this account.")
@click.option(
    "--book",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Directory of the price book; the configured one unless given.",
)
@_AS_JSON
def rate_unpriced(account_id: UUID | None, book: Path | None, *, as_json: bool) -> None:
    """Rate the events that had no price when they came, and charge those that have one now."""
    rater = Rater(load(book or Settings.from_environment().price_book))
    owner = None if account_id is None else str(account_id)
    with opened_database() as database:
        total = None if owner else sum(events for _, _, events, *_ in list_unpriced(database))
        with _progress("rating", total) as told:
            rated = rerating.rate_unpriced(database, rater, actor=ACTOR, account_id=owner, told=told)
    cost, left = to_number(rated.cost_pico), rated.events - rated.rated
    if as_json:
        shown = {"events": rated.events, "rated": rated.rated, "unpriced": left, "cost_usd": cost}
        click.echo(json.dumps(shown))
    else:
        click.echo(f"{rated.rated:,} events rated, {cost} dollars charged; {left:,} still have no price")


@click.command()
@click.option(
    "--from", "since", callback=_moment, required=True, help="Events created at this time or later."
)
@click.option("--to", "until", callback=_moment, required=True, help="Events created before this time.")
@click.option(
    "--book",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    required=True,
    help="Directory of the price book to rate by.",
)
@click.option("--account", "account_id", type=click.UUID, help="Only the events of this account.")
@click.option("--model", "models", multiple=True, help="Only the events of this model; may be repeated.")
@click.option("--post", is_flag=True, help="Post the differences, after a question.")
@click.option("--reason", help="Why; it stays in the books. Needed to post.")
@click.option("--yes", is_flag=True, help="Post without a question.")
@_AS_JSON
def rerate(  # noqa: PLR0913  (its options)
    since: datetime,
    until: datetime,
    book: Path,
    account_id: UUID | None,
    models: tuple[str, ...],
    reason: str | None,
    *,
    post: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Rate a window of recorded events by another price book: show the differences, and post them.

    Each event is rated by the edition in force when it was created. Events without a price under the new
    book are counted and left as they are; those that were reversed or superseded are skipped.
    """
    if post and not reason:
        raise click.UsageError("--post needs a --reason")
    if since >= until:
        raise click.UsageError("--from must be before --to")
    rater = Rater(load(book))
    window = Window(since, until, None if account_id is None else str(account_id), models)
    with opened_database() as database:
        with _progress("rating") as told:
            changes = rerating.preview_rerating(database, rater, window, told=told)
        if not (post and (as_json or yes)):
            _show(changes, as_json=as_json, is_posted=False)
        if not post:
            return
        if any(change.changed for change in changes):
            if not yes:
                click.confirm("Post these differences?", abort=True, err=True)
            total = sum(change.events for change in changes)
            with _progress("posting", total) as told:
                changes = rerating.post_rerating(
                    database, rater, window, reason=reason or "", actor=ACTOR, told=told
                )
    _show(changes, as_json=as_json, is_posted=True)


def _show(changes: Sequence[Change], *, as_json: bool, is_posted: bool) -> None:
    if as_json:
        click.echo(json.dumps({"posted": is_posted, "changes": [_body(change) for change in changes]}))
        return
    columns = ("account", "model", "events", "changed", "no price", "before", "after", "difference")
    rows = []
    for change in changes:
        counts = f"{change.events:,}", f"{change.changed:,}", f"{change.unpriced:,}"
        costs = change.before_pico, change.after_pico, change.difference_pico
        rows.append((change.account_id, change.model, *counts, *map(to_number, costs)))
    show_table(columns, rows, texts={"model"})
    difference = to_number(sum(change.difference_pico for change in changes))
    changed = sum(change.changed for change in changes)
    said = "posted" if is_posted else "to be posted"
    click.echo(f"{changed:,} events changed; a difference of {difference} dollars {said}")


def _body(change: Change) -> dict[str, object]:
    """The change with its amounts as exact decimal texts."""
    return {
        "account_id": change.account_id,
        "model": change.model,
        "events": change.events,
        "changed": change.changed,
        "unpriced": change.unpriced,
        "before_usd": to_number(change.before_pico),
        "after_usd": to_number(change.after_pico),
        "difference_usd": to_number(change.difference_pico),
    }


@contextmanager
def _progress(doing: str, total: int | None = None) -> Iterator[Told]:
    """A bar on standard error where that is a terminal; call what it gives with how many more are done."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(doing, total=total)
        yield lambda events: progress.advance(task, events)
