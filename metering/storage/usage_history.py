"""An account's history: pages of events by keyset, and spend from hourly rollups plus two ragged edges.

What a page or a sum costs doesn't grow with the account's history (the architecture's "What history
costs"): a filter that matches rarely is led by the rollups to the hours in which something matches.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Label,
    Select,
    and_,
    case,
    exists,
    func,
    literal_column,
    select,
    true,
    tuple_,
)

from metering.money import to_pico
from metering.storage import corrections as correction_rows
from metering.storage.database import driver
from metering.storage.ledger_tables import corrections
from metering.storage.tables import accounts, usage_events, usage_rollups
from metering.usage.history import Cursor, EventStory, Filters, RecordedEvent

_HOUR: Final = timedelta(hours=1)
# An event's last correction, which tells how it stands: one index probe an event.
_LAST: Final = (
    select(
        corrections.c.number,
        corrections.c.kind,
        corrections.c.cost_usd,
        corrections.c.line_items,
        corrections.c.pricing_tier_label,
        corrections.c.superseded_by,
    )
    .where(corrections.c.account_id == usage_events.c.account_id, corrections.c.event_id == usage_events.c.id)
    .order_by(corrections.c.number.desc())
    .limit(1)
    .lateral("last")
)
_STANDING: Final[FromClause] = usage_events.outerjoin(_LAST, true())
_IS_CORRECTED: Final = _LAST.c.number.is_not(None)
# As an equality, PostgreSQL expects it of every event, and reads no more than a page; of "is null" it would
# expect so few that it sorts the whole history. An id is never empty.
_IS_SHOWN: Final = func.coalesce(_LAST.c.superseded_by, "") == ""


def _as_it_stands(name: str) -> Label[Any]:
    """The last correction's value, the event's own where there is none."""
    return case((_IS_CORRECTED, _LAST.c[name]), else_=usage_events.c[name]).label(name)


# RecordedEvent's fields that do not stand in the event's row as they are shown.
_SHOWN: Final[dict[str, Label[Any]]] = {
    "line_items": _as_it_stands("line_items"),
    "pricing_tier_label": _as_it_stands("pricing_tier_label"),
    "unpriced": case((_LAST.c.number.is_(None), usage_events.c.unpriced)).label("unpriced"),
    "superseded_by": _LAST.c.superseded_by.label("superseded_by"),
    "is_reversed": func.coalesce(_LAST.c.kind == "reversal", literal_column("false")).label("is_reversed"),
    # In dollars, to be converted.
    "cost_pico": _as_it_stands("cost_usd"),
}
_COLUMNS: Final = [_SHOWN[name] if name in _SHOWN else usage_events.c[name] for name in RecordedEvent._fields]


def list_events(
    connection: Connection, account_id: str, filters: Filters, before: Cursor | None, limit: int
) -> list[RecordedEvent]:
    """Up to `limit` events as they stand, newest first, without those that were superseded."""
    events = usage_events.c
    order = (events.created_at.desc(), events.sequence.desc())
    query = (
        select(*_COLUMNS).select_from(_STANDING).where(*_conditions(account_id, filters, before), _IS_SHOWN)
    )
    if filters.source is None and filters.model is None and filters.status is None:
        return [_recorded(row) for row in connection.execute(query.order_by(*order).limit(limit))]
    hours = _matching_hours(account_id, filters, before).subquery("hours")
    page = (
        query.where(events.created_at >= hours.c.hour, events.created_at < hours.c.hour + _HOUR)
        .order_by(*order)
        .limit(limit)
        .lateral("page")
    )
    # Sorted by hour first, so that PostgreSQL sorts within each hour and stops at the limit.
    newest_first = (hours.c.hour.desc(), page.c.created_at.desc(), page.c.sequence.desc())
    rows = connection.execute(
        select(*page.c).select_from(hours.join(page, true())).order_by(*newest_first).limit(limit)
    )
    return [_recorded(row) for row in rows]


def find_events(connection: Connection, event_id: str) -> list[EventStory]:
    """The event of this id of every account that has one: one index probe an account."""
    events = usage_events.c
    query = (
        select(accounts.c.account_id, *_COLUMNS)
        .select_from(accounts.join(_STANDING, accounts.c.account_id == events.account_id))
        .where(events.id == event_id)
    )
    found = [(str(row[0]), _recorded(row[1:])) for row in connection.execute(query)]
    raw = driver(connection)
    return [
        EventStory(account_id, event, correction_rows.list_of_event(raw, account_id, event_id))
        for account_id, event in found
    ]


def unpriced_by_model(connection: Connection) -> list[tuple[str, str, int, datetime, datetime]]:
    """(model, reason, events, first and last created_at) of the events that have no price, most first."""
    events = usage_events.c
    reason = events.unpriced["reason"].as_string()
    count = func.count()
    query = (
        select(events.model, reason, count, func.min(events.created_at), func.max(events.created_at))
        .where(events.unpriced.is_not(None), ~_rated_since())
        .group_by(events.model, reason)
        .order_by(count.desc(), events.model, reason)
    )
    return [tuple(row) for row in connection.execute(query)]


def spend_by_source(
    connection: Connection, account_id: str, since: datetime | None, until: datetime | None
) -> dict[str, int]:
    """Picodollars spent by source, over all events created from `since` to `until`, both inclusive."""
    first = None if since is None else _hour_of(since + _HOUR - timedelta(microseconds=1))
    last = None if until is None else _hour_of(until)
    spent: dict[str, int] = {}
    if first is not None and last is not None and first > last:
        _add_raw(spent, connection, account_id, since, until)
        return spent
    rollups = usage_rollups.c
    whole = [rollups.account_id == account_id]
    if first is not None:
        whole.append(rollups.hour >= first)
        _add_raw(spent, connection, account_id, since, first - timedelta(microseconds=1))
    if last is not None:
        whole.append(rollups.hour < last)
        _add_raw(spent, connection, account_id, last, until)
    _add(
        spent,
        connection,
        select(rollups.source, func.sum(rollups.cost_usd)).where(*whole).group_by(rollups.source),
    )
    return spent


def _recorded(row: Sequence[Any]) -> RecordedEvent:
    cost = None if row[-1] is None else to_pico(row[-1])
    return RecordedEvent._make([*row[:-1], cost])


def _conditions(account_id: str, filters: Filters, before: Cursor | None) -> list[ColumnElement[bool]]:
    events = usage_events.c
    conditions = [events.account_id == account_id]
    if before is not None:
        conditions.append(tuple_(events.created_at, events.sequence) < tuple_(*before))
        # Implied, and what lets the hours' range and the index's meet.
        conditions.append(events.created_at <= before.created_at)
    if filters.since is not None:
        conditions.append(events.created_at >= filters.since)
    if filters.until is not None:
        conditions.append(events.created_at <= filters.until)
    for name in ("source", "model", "status"):
        value = getattr(filters, name)
        if value is not None:
            conditions.append(events[name] == value)
    return conditions


def _matching_hours(account_id: str, filters: Filters, before: Cursor | None) -> Select[Any]:
    """The hours that hold an event which the filters let through, newest first."""
    rollups = usage_rollups.c
    # An hour whose events were all superseded has none.
    conditions = [rollups.account_id == account_id, rollups.events > 0]
    ends = [moment for moment in (filters.until, before and before.created_at) if moment is not None]
    if ends:
        conditions.append(rollups.hour <= min(ends))
    if filters.since is not None:
        conditions.append(rollups.hour >= _hour_of(filters.since))
    if filters.source is not None:
        conditions.append(rollups.source == filters.source)
    if filters.model is not None:
        conditions.append(rollups.model == filters.model)
    if filters.status is not None:
        errors_only = filters.status == "error"
        conditions.append(rollups.errors > 0 if errors_only else rollups.events > rollups.errors)
    return select(rollups.hour).where(and_(*conditions)).distinct().order_by(rollups.hour.desc())


def _rated_since() -> ColumnElement[bool]:
    """Whether the event has a price by now, or needs none any more."""
    return exists().where(
        corrections.c.account_id == usage_events.c.account_id, corrections.c.event_id == usage_events.c.id
    )


def _add_raw(
    spent: dict[str, int],
    connection: Connection,
    account_id: str,
    since: datetime | None,
    until: datetime | None,
) -> None:
    """Add what the events of a ragged edge cost first, and what their corrections changed."""
    events, changes = usage_events.c, corrections.c
    edge = (
        (events.source, events.cost_usd, events.account_id, events.created_at),
        (changes.source, changes.delta_usd, changes.account_id, changes.event_created_at),
    )
    for source, dollars, owner, created_at in edge:
        query = (
            select(source, func.coalesce(func.sum(dollars), literal_column("0")))
            .where(owner == account_id, created_at >= since, created_at <= until)
            .group_by(source)
        )
        _add(spent, connection, query)


def _add(spent: dict[str, int], connection: Connection, query: Select[Any]) -> None:
    for source, dollars in connection.execute(query):
        spent[source] = spent.get(source, 0) + to_pico(Decimal(dollars))


def _hour_of(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
