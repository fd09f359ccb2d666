"""Rows of corrections: what became of events after they were recorded; appended, never changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from psycopg import Connection

from metering.money import to_number, to_pico
from metering.storage.copying import array, moments, text_array
from metering.usage.event import Source, Status
from metering.usage.history import EventCorrection

# rating: it had no price until now; amendment: another event took its place, and it left the history.
CorrectionKind: TypeAlias = Literal["rating", "rerating", "amendment", "reversal"]


class Correction(NamedTuple):
    """What became of an event: its `number`-th correction, its cost since then, and what that changed.

    `line_items` is encoded JSON; `transfer_id` carries `delta_pico`, and is None where nothing moved.
    """

    account_id: str
    event_id: str
    number: int
    kind: CorrectionKind
    event_created_at: datetime
    source: Source
    model: str
    cost_pico: int
    delta_pico: int
    line_items: str | None
    pricing_tier_label: str | None
    superseded_by: str | None
    book_digest: bytes | None
    transfer_id: str | None
    reason: str
    actor: str


class Standing(NamedTuple):
    """An event as it stands after its corrections.

    `cost_pico` is None while it is unpriced. `tokens` are input, output, cache read and cache write.
    `transfer_id` carried the event's first cost; `corrections` is how many there were, `last_kind` and
    `superseded_by` are the last one's. `api_key_id` is the key through which it came, if that is known.
    """

    account_id: str
    event_id: str
    created_at: datetime
    source: Source
    model: str
    status: Status
    cost_pico: int | None
    tokens: tuple[int, int, int, int]
    transfer_id: str | None
    corrections: int
    last_kind: CorrectionKind | None
    superseded_by: str | None
    api_key_id: str | None
    recorded_at: datetime

    @property
    def budget_day(self) -> tuple[str, str, date] | None:
        """Where its cost counts in a key's budget: the day on which it was recorded, also if it changes."""
        if self.api_key_id is None:
            return None
        return self.account_id, self.api_key_id, self.recorded_at.astimezone(UTC).date()


_COLUMNS: Final = """account_id, event_id, number, kind, event_created_at, source, model, cost_usd, delta_usd,
    line_items, pricing_tier_label, superseded_by, book_digest, transfer_id, reason, actor"""
_APPEND: Final = f"""
    INSERT INTO corrections ({_COLUMNS}, recorded_at)
    SELECT {_COLUMNS}, %s::timestamptz
      FROM unnest(%s::uuid[], %s::text[], %s::integer[], %s::text[], %s::timestamptz[], %s::text[],
                  %s::text[], %s::numeric(38,12)[], %s::numeric(38,12)[], %s::json[], %s::text[],
                  %s::text[], %s::bytea[], %s::uuid[], %s::text[], %s::text[]) AS given ({_COLUMNS})
"""  # noqa: S608  (its parts are constants)
STANDING: Final = """
    SELECT e.account_id::text, e.id, e.created_at, e.source, e.model, e.status,
           CASE WHEN last.number IS NULL THEN e.cost_usd ELSE last.cost_usd END,
           e.input_tokens, e.output_tokens, e.cache_read_tokens, e.cache_write_tokens, e.transfer_id::text,
           coalesce(last.number, 0), last.kind, last.superseded_by, e.api_key_id::text, e.recorded_at
"""
LAST: Final = """
    LEFT JOIN LATERAL (SELECT number, kind, cost_usd, superseded_by FROM corrections AS c
                        WHERE c.account_id = e.account_id AND c.event_id = e.id
                        ORDER BY number DESC LIMIT 1) AS last ON true
"""
_FIND: Final = f"""
    {STANDING}
      FROM unnest(%s::uuid[], %s::text[]) AS asked (account_id, id)
      JOIN usage_events AS e ON e.account_id = asked.account_id AND e.id = asked.id
    {LAST}
"""


_CARRIED: Final = "SELECT id, cost_usd FROM usage_events WHERE account_id = %s AND transfer_id = %s"
_OF_EVENT: Final = """
    SELECT number, kind, cost_usd, delta_usd, superseded_by, transfer_id::text, reason, actor, recorded_at
      FROM corrections WHERE account_id = %s AND event_id = %s ORDER BY number
"""


def append(connection: Connection[Any], corrections: Sequence[Correction], recorded_at: datetime) -> None:
    """Insert corrections; their accounts are locked."""
    if not corrections:
        return
    columns = [
        array(one.account_id for one in corrections),
        text_array(one.event_id for one in corrections),
        array(one.number for one in corrections),
        array(one.kind for one in corrections),
        moments(one.event_created_at for one in corrections),
        array(one.source for one in corrections),
        text_array(one.model for one in corrections),
        array(to_number(one.cost_pico) for one in corrections),
        array(to_number(one.delta_pico) for one in corrections),
        text_array(one.line_items for one in corrections),
        text_array(one.pricing_tier_label for one in corrections),
        text_array(one.superseded_by for one in corrections),
        text_array(None if one.book_digest is None else f"\\x{one.book_digest.hex()}" for one in corrections),
        text_array(one.transfer_id for one in corrections),
        text_array(one.reason for one in corrections),
        text_array(one.actor for one in corrections),
    ]
    connection.execute(_APPEND, [recorded_at, *columns])


def find_standing(
    connection: Connection[Any], keys: Iterable[tuple[str, str]]
) -> Iterable[tuple[tuple[str, str], Standing]]:
    """(key, event as it stands) of those keys (account_id, event_id) that there are.

    In a pipeline, to be read after its end; their accounts are locked.
    """
    asked = list(keys)
    accounts, ids = array(account for account, _ in asked), text_array(event for _, event in asked)
    return connection.cursor(row_factory=_standing).execute(_FIND, [accounts, ids])


def list_of_event(connection: Connection[Any], account_id: str, event_id: str) -> list[EventCorrection]:
    """The event's corrections, oldest first."""
    return [
        EventCorrection(number, kind, to_pico(cost), to_pico(delta), *rest)
        for number, kind, cost, delta, *rest in connection.execute(_OF_EVENT, [account_id, event_id])
    ]


def list_carried(
    connection: Connection[Any],
    account_id: str,
    transfer_id: str,
    since: datetime | None = None,
    until: datetime | None = None,
) -> dict[str, int]:
    """The first costs in picodollars, by id, of the events that the transfer carries.

    No index leads there: every event of the account is read, or those created from `since` to `until`.
    """
    if since is None or until is None:
        rows = connection.execute(_CARRIED, [account_id, transfer_id])
    else:
        between = f"{_CARRIED} AND created_at BETWEEN %s AND %s"
        rows = connection.execute(between, [account_id, transfer_id, since, until])
    return {event_id: to_pico(cost) for event_id, cost in rows}


def _standing(_cursor: object) -> Callable[[Sequence[Any]], tuple[tuple[str, str], Standing]]:
    return lambda row: ((row[0], row[1]), standing_of(row))


def standing_of(row: Sequence[Any]) -> Standing:
    """A row that `STANDING` selects."""
    account_id, event_id, created_at, source, model, status, cost, *rest = row
    tokens, (transfer_id, corrections, last_kind, *after) = rest[:4], rest[4:10]
    return Standing(
        account_id,
        event_id,
        created_at,
        source,
        model,
        status,
        None if cost is None else to_pico(cost),
        (tokens[0], tokens[1], tokens[2], tokens[3]),
        transfer_id,
        corrections,
        last_kind,
        *after,
    )
