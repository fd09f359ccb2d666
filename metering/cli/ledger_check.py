"""`metering ledger check`: whether the books keep their laws."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from metering import clock
from metering.cli.opening import opened_database
from metering.ledger.invariants import Breach, Law
from metering.pricing.schema import parse_date
from metering.services.audit import Checked, Looked, count_rows, iter_checks, left_out
from metering.storage.database import Database

# Before anything was recorded.
_BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _moment(_context: click.Context, _option: click.Parameter, value: str | None) -> datetime | None:
    if value is None:
        return None
    moment = parse_date(value)
    if moment is None:
        raise click.BadParameter(f"{value!r} is no date, and no time with its zone: 2026-05-01T00:00:00Z")
    if moment > clock.now():
        raise click.BadParameter(f"{value!r} is in the future: nothing was recorded since")
    # UTC may not reach so far back.
    return max(moment, _BEGINNING).astimezone(UTC)


@click.command()
@click.option("--account", type=click.UUID, help="Only this account.")
@click.option("--since", callback=_moment, help="Only what was recorded since this time.")
@click.option("--after", type=click.UUID, help="Go on behind this account, in the order of ids.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
def check(account: UUID | None, since: datetime | None, after: UUID | None, *, as_json: bool) -> None:
    """Check every law of the books; exit 1 where one is broken.

    Every event is priced again from its usage and the book that priced it. The check goes from account to
    account in the order of ids and holds nobody up; when it is stopped it says how to go on.
    """
    if account is not None and after is not None:
        raise click.UsageError("--account is one account: there is none after it")
    scope = None if account is None else str(account), None if after is None else str(after)
    breaches: list[Breach] = []
    looked = Looked()
    with opened_database() as database, _resumable(breaches) as reach, _progress(database, *scope) as show:
        for checked in iter_checks(database, account_id=scope[0], since=since, after=scope[1]):
            breaches += checked.breaches
            looked = checked.looked
            reach(checked)
            show(checked)
    if as_json:
        _write_json(breaches, looked, since)
    else:
        _write_text(breaches, looked, since)
    if breaches:
        sys.exit(1)


@contextmanager
def _resumable(breaches: Sequence[Breach]) -> Iterator[Callable[[Checked], None]]:
    """Where the block does not reach its end, say what was found and how to go on from where it came to."""
    last: str | None = None

    def reach(checked: Checked) -> None:
        nonlocal last
        last = checked.account_id

    is_done = False
    try:
        yield reach
        is_done = True
    finally:
        if not is_done:
            for breach in breaches:
                click.echo(f"BROKEN  {breach.law.name} {' '.join(map(str, breach[1:]))}", err=True)
            if last is not None:
                click.echo(f"stopped; to go on, add `--after {last}`", err=True)


@contextmanager
def _progress(
    database: Database, account_id: str | None, after: str | None
) -> Iterator[Callable[[Checked], None]]:
    """A bar on standard error where that is a terminal, and what brings it up to date."""
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        total = count_rows(database, account_id=account_id, after=after) if console.is_terminal else None
        task = progress.add_task("checking", total=total)

        def show(checked: Checked) -> None:
            progress.update(task, completed=checked.rows)

        yield show


def _skipped(breaches: Sequence[Breach], since: datetime | None) -> list[Law]:
    """The laws of which it can't be said that they hold, nor that they don't."""
    broken = {breach.law for breach in breaches}
    return [law for law in Law if law in left_out(since) - broken]


def _write_json(breaches: Sequence[Breach], looked: Looked, since: datetime | None) -> None:
    found = [{**breach._asdict(), "law": breach.law.name.lower()} for breach in breaches]
    answer = {
        "laws": [law.name.lower() for law in Law],
        "skipped": [law.name.lower() for law in _skipped(breaches, since)],
        "since": None if since is None else since.isoformat(),
        **looked._asdict(),
        "breaches": found,
    }
    click.echo(json.dumps(answer, ensure_ascii=False))


def _write_text(breaches: Sequence[Breach], looked: Looked, since: datetime | None) -> None:
    words = {
        **dict.fromkeys(_skipped(breaches, since), "skipped"),
        **{breach.law: "BROKEN" for breach in breaches},
    }
    for law in Law:
        click.echo(f"{words.get(law, 'holds'):<8}{law}")
    if since is not None:
        click.echo(
            f"Only what was recorded since {since.isoformat()} was checked. Sums that need all of history "
            "were left out: the balance that the chain of transfers had reached by then was trusted."
        )
    counts = ", ".join(f"{name} {count:,}" for name, count in looked._asdict().items())
    click.echo(f"looked at: {counts}")
    if breaches:
        table = Table("law", "account", "what", "expected", "found", box=None, header_style="bold")
        for breach in breaches:
            name = breach.law.name.lower()
            table.add_row(name, breach.account_id or "", breach.thing, breach.expected, breach.found)
        Console(width=None if sys.stdout.isatty() else 200).print(table)
