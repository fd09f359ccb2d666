"""`metering prices`: check, list and show the price book, rate usage by it, explain what an event cost."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, Final

import click
import msgspec

from metering import clock
from metering.cli.errors import explained
from metering.cli.tables import show_table
from metering.config import Settings
from metering.errors import InvalidUsage
from metering.money import to_pico, to_text
from metering.pricing import listing, schema
from metering.pricing.book import PriceBook
from metering.pricing.loader import load, load_policy
from metering.pricing.top_up_compiler import FILE as POLICY_FILE
from metering.rating.engine import Rater
from metering.rating.rating import Rating, Unpriced
from metering.usage.history import EventCorrection, EventStory, RecordedEvent

_DECODER: Final = msgspec.json.Decoder(float_hook=Decimal)
_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")
_RESULT_KEYS: Final = frozenset(
    {
        "cost_usd",
        "line_items",
        "pricing_tier_label",
        "tool_breakdown",
        "unbilled",
        "error",
        "reason",
        "meter",
        "field",
        "message",
    }
)


@click.group()
@click.option(
    "--book",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Directory of the price book; the configured one unless given.",
)
@click.pass_context
def prices(context: click.Context, book: Path | None) -> None:
    """The price book: check it, list it, rate usage by it."""
    context.obj = book


def _root(context: click.Context) -> Path:
    given: Path | None = context.obj
    return given or Settings.from_environment().price_book


def _book(context: click.Context) -> PriceBook:
    with explained():
        return load(_root(context))


@prices.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
@click.pass_context
def check(context: click.Context, *, as_json: bool) -> None:
    """Compile the price book and the policy of top-ups; report every problem: file, model, charge, reason."""
    book = _book(context)
    if (_root(context) / POLICY_FILE).exists():  # a price book alone is fine: it prices, and sells nothing
        with explained():
            load_policy(_root(context))
    charges = sum(len(card.charges) for model in book.models.values() for card in model.cards)
    if as_json:
        click.echo(json.dumps({"models": len(book.models), "charges": charges, "digest": book.digest.hex()}))
    else:
        click.echo(f"{len(book.models)} models, {charges} charges, no problems; digest {book.digest.hex()}")


@prices.command("list")
@click.option("--json", "as_json", is_flag=True, help="The public price list as JSON.")
@click.pass_context
def list_models(context: click.Context, *, as_json: bool) -> None:
    """Every model with its prices."""
    book = _book(context)
    now = clock.now()
    if as_json:
        entries = [listing.public_entry(model, model.card_at(now)) for model in book.models.values()]
        click.echo(json.dumps(entries, ensure_ascii=False, indent=2))
        return
    rows = []
    for model in book.models.values():
        name, provider = model.id, model.provider
        for row in model.card_at(now).rows:
            rows.append((name, provider, row.charge, row.spec, row.rate, row.list_rate or ""))
            name = provider = ""
    columns = ("model", "provider", "charge", "spec", "rate", "list rate")
    show_table(columns, rows, texts={"provider", "charge", "spec"})


@prices.command()
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="The model's entry of the public price list.")
@click.pass_context
def show(context: click.Context, model: str, *, as_json: bool) -> None:
    """One MODEL's facts and prices."""
    book = _book(context)
    known = book.models.get(model)
    if known is None:
        near = [name for name in book.models if model.lower() in name]
        raise click.ClickException(
            f"no model {model!r}" + (f"; did you mean {', '.join(near)}?" if near else "")
        )
    entry = listing.public_entry(known, known.card_at(clock.now()))
    if as_json:
        click.echo(json.dumps(entry, ensure_ascii=False, indent=2))
        return
    click.echo(f"{known.id}: {known.name} by {known.provider} ({known.file})")
    rows = [(row.charge, row.spec, row.rate, row.list_rate or "") for row in known.card_at(clock.now()).rows]
    show_table(("charge", "spec", "rate", "list rate"), rows, texts={"charge", "spec"})


@prices.command("schema")
def show_schema() -> None:
    """The JSON Schema of the price book's files, as `pricing_rules/schema.json` holds it."""
    click.echo(json.dumps(schema.json_schema(), indent=2, ensure_ascii=False))


@prices.command()
@click.argument("file", type=click.File("rb"), default="-")
@click.pass_context
def rate(context: click.Context, file: IO[bytes]) -> None:
    """Price JSON lines from FILE, or standard input: {"model", "usage", "created_at"?, "status"?}.

    Writes each line back with cost_usd, line_items and pricing_tier_label, or with error "unpriced" and
    the reason, or with error "invalid_usage" and the field. A bad line stops nothing.
    """
    rater = Rater(_book(context))
    for line in file:
        if line.strip():
            sys.stdout.buffer.write(_rated_line(rater, line) + b"\n")
            sys.stdout.buffer.flush()


def _rated_line(rater: Rater, line: bytes) -> bytes:
    try:
        given = _DECODER.decode(line)
    except (msgspec.DecodeError, RecursionError) as error:
        return _ENCODER.encode({"error": "invalid_json", "message": str(error)})
    if not isinstance(given, dict):
        return _ENCODER.encode({"error": "invalid_json", "message": "a line must be a JSON object"})
    echoed = {name: value for name, value in given.items() if name not in _RESULT_KEYS}
    try:
        return _ENCODER.encode(echoed | dict(_rate(rater, given)))
    except InvalidUsage as error:
        return _ENCODER.encode(
            echoed | {"error": "invalid_usage", "field": error.param, "message": error.message}
        )


def _rate(rater: Rater, given: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    model, usage = given.get("model"), given.get("usage", {})
    if not isinstance(model, str):
        raise InvalidUsage("must be the model's id", param="model")
    if not isinstance(usage, dict):
        raise InvalidUsage("must be an object", param="usage")
    created_at = schema.parse_date(given["created_at"]) if "created_at" in given else clock.now()
    if created_at is None:
        raise InvalidUsage("must be a date, or a time with its zone", param="created_at")
    yield from _result(rater.rate(model, usage, created_at, failed=given.get("status") == "error"))


def _result(rating: Rating | Unpriced) -> Iterator[tuple[str, object]]:
    if isinstance(rating, Unpriced):
        yield from (("error", "unpriced"), ("meter", rating.meter), ("reason", rating.reason))
    else:
        yield "cost_usd", to_text(rating.cost_pico)
        items = ",".join(item.as_json() for item in rating.line_items)
        yield "line_items", msgspec.Raw(f"[{items}]".encode())
        yield "pricing_tier_label", rating.pricing_tier_label
        if breakdown := rating.tool_breakdown():
            names = ("tool", "invocations", "unit_cost_usd")
            yield (
                "tool_breakdown",
                [dict(zip(names, tool, strict=False)) | {"cost_usd": to_text(tool[3])} for tool in breakdown],
            )
    if rating.unbilled:
        yield "unbilled", rating.unbilled


@prices.command()
@click.argument("event_id")
@click.option("--json", "as_json", is_flag=True, help="JSON lines instead of tables.")
def explain(event_id: str, *, as_json: bool) -> None:
    """Why the event EVENT_ID cost what it did: its usage, line item by line item."""
    from metering.cli.opening import opened_database
    from metering.services.history import find_events

    with opened_database() as database:
        found = find_events(database, event_id)
    if not found:
        raise click.ClickException(f"no account has an event {event_id!r}")
    for story in found:
        if as_json:
            shown = {"account_id": story.account_id, **_with_dollars(story.event)}
            shown["corrections"] = [_with_dollars(one) for one in story.corrections]
            click.echo(_ENCODER.encode(shown))
        else:
            _explain(story)


def _with_dollars(value: RecordedEvent | EventCorrection) -> dict[str, object]:
    """The value's fields, its amounts as text in dollars."""
    shown: dict[str, object] = {}
    for name, field in value._asdict().items():
        if name.endswith("_pico"):
            shown[name.replace("_pico", "_usd")] = None if field is None else to_text(field)
        else:
            shown[name] = field
    return shown


def _explain(story: EventStory) -> None:
    event = story.event
    at = f"{event.created_at:%Y-%m-%d %H:%M:%S}"
    click.echo(f"{event.id}: {event.model}, {at} UTC, account {story.account_id}")
    click.echo(f"usage {_ENCODER.encode(event.usage).decode()}")
    if event.unpriced is not None:
        click.echo(f"unpriced: {event.unpriced['reason']}")
        return
    columns = ("charge", "tier", "meter", "quantity", "rate", "per", "amount")
    rows = []
    for item in event.line_items or []:
        texts = item["charge"], item["label"] or "", item["meter"], f"{item['quantity']:,}"
        rows.append((*texts, f"${item['rate']}", item["per"] or "", f"${to_text(to_pico(item['amount']))}"))
    show_table(columns, rows, texts={"charge", "tier", "meter", "per"})
    click.echo(f"cost ${to_text(event.cost_pico or 0)}")
    if event.supersedes is not None:
        click.echo(f"supersedes {event.supersedes}")
    if event.superseded_by is not None:
        click.echo(f"superseded by {event.superseded_by}")
    if story.corrections:
        shown = []
        for one in story.corrections:
            figures = f"${to_text(one.delta_pico)}", f"${to_text(one.cost_pico)}"
            shown.append((f"{one.recorded_at:%Y-%m-%d %H:%M:%S}", one.kind, *figures, one.actor, one.reason))
        names = ("corrected", "as", "difference", "cost since", "by", "because")
        show_table(names, shown, texts={"by", "because"})


@prices.command()
@click.option("--json", "as_json", is_flag=True, help="A JSON list instead of a table.")
def unpriced(*, as_json: bool) -> None:
    """Report the events that have no price: by model and reason, how many and since when."""
    from metering.cli.opening import opened_database
    from metering.services.history import list_unpriced

    with opened_database() as database:
        found = list_unpriced(database)
    if as_json:
        names = ("model", "reason", "events", "first_created_at", "last_created_at")
        click.echo(_ENCODER.encode([dict(zip(names, row, strict=True)) for row in found]))
        return
    rows = [
        (model, reason, f"{events:,}", f"{first:%Y-%m-%d %H:%M}", f"{last:%Y-%m-%d %H:%M}")
        for model, reason, events, first, last in found
    ]
    show_table(("model", "reason", "events", "first", "last"), rows, texts={"model", "reason"})
