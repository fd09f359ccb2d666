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
    Select,
    and_,
    func,
    literal_column,
    select,
    true,
    tuple_,
)

from metering.money import to_pico
from metering.storage.tables import accounts, usage_events, usage_rollups
from metering.usage.history import Cursor, Filters, RecordedEvent

_HOUR: Final = timedelta(hours=1)
# RecordedEvent's fields, but for the cost, which is converted.
_COLUMNS: Final = [usage_events.c[name] for name in RecordedEvent._fields[:-1]]


def list_events(
    connection: Connection, account_id: str, filters: Filters, before: Cursor | None, limit: int
) -> list[RecordedEvent]:
    """Up to `limit` events, newest first."""
    events = usage_events.c
    order = (events.created_at.desc(), events.sequence.desc())
    query = select(*_COLUMNS, events.cost_usd).where(*_conditions(account_id, filters, before))
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


def find_events(connection: Connection, event_id: str) -> list[tuple[str, RecordedEvent]]:
    """(account_id, event) of every account that has an event of this id: one index probe an account."""
    events = usage_events.c
    query = (
        select(accounts.c.account_id, *_COLUMNS, events.cost_usd)
        .select_from(accounts.join(usage_events, accounts.c.account_id == events.account_id))
        .where(events.id == event_id)
    )
    return [(str(row[0]), _recorded(row[1:])) for row in connection.execute(query)]


def unpriced_by_model(connection: Connection) -> list[tuple[str, str, int, datetime, datetime]]:
    """(model, reason, events, first and last created_at) of the events that have no price, most first."""
    events = usage_events.c
    reason = events.unpriced["reason"].as_string()
    count = func.count()
    query = (
        select(events.model, reason, count, func.min(events.created_at), func.max(events.created_at))
        .where(events.unpriced.is_not(None))
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
        _add(spent, connection, _raw_sum(account_id, since, until))
        return spent
    rollups = usage_rollups.c
    whole = [rollups.account_id == account_id]
    if first is not None:
        whole.append(rollups.hour >= first)
        _add(spent, connection, _raw_sum(account_id, since, first - timedelta(microseconds=1)))
    if last is not None:
        whole.append(rollups.hour < last)
        _add(spent, connection, _raw_sum(account_id, last, until))
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
    conditions = [rollups.account_id == account_id]
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


def _raw_sum(account_id: str, since: datetime | None, until: datetime | None) -> Select[Any]:
    events = usage_events.c
    return (
        select(events.source, func.coalesce(func.sum(events.cost_usd), literal_column("0")))
        .where(events.account_id == account_id, events.created_at >= since, events.created_at <= until)
        .group_by(events.source)
    )


def _add(spent: dict[str, int], connection: Connection, query: Select[Any]) -> None:
    for source, dollars in connection.execute(query):
        spent[source] = spent.get(source, 0) + to_pico(Decimal(dollars))


def _hour_of(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
