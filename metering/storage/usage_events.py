"""Rows of usage_events: appended in batches, found by id, never changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from psycopg import Connection

from metering.money import to_number, to_pico
from metering.storage.copying import (
    NULL,
    array,
    binary,
    copy_rows,
    copy_statement,
    json_text,
    text_array,
    texts,
)
from metering.usage.event import UsageEvent
from metering.usage.normalize import TokenCounts

# What is known before the account is locked stands first, so that it can be encoded outside the transaction.
_COLUMNS: Final = (
    "account_id", "id", "created_at", "source", "model", "endpoint", "status", "status_code", "error",
    "request_id", "latency_ms", "usage", "output_urls", "metadata", "body_digest", "cost_usd", "line_items",
    "pricing_tier_label", "unpriced", "unbilled", "input_tokens", "output_tokens", "cache_read_tokens",
    "cache_write_tokens", "total_tokens", "book_digest", "hold_id", "supersedes",
    "sequence", "recorded_at", "transfer_id", "balance_after_usd", "api_key_id",
)  # fmt: skip

_APPEND: Final = copy_statement("usage_events", _COLUMNS)
_FIND: Final = """
    SELECT e.account_id::text, e.id, e.body_digest, e.cost_usd, e.line_items::text, e.usage::text,
           e.pricing_tier_label, e.unpriced, e.balance_after_usd
      FROM unnest(%s::uuid[], %s::text[]) AS asked (account_id, id)
      JOIN usage_events AS e ON e.account_id = asked.account_id AND e.id = asked.id
"""


class Documents(NamedTuple):
    """An event's JSON documents, encoded once for the row and for the answer."""

    usage: str
    output_urls: str
    metadata: str | None
    line_items: str | None
    unpriced: str | None
    unbilled: str | None


class StoredEvent(NamedTuple):
    """What the first answer for an event was made of; dollars as text, `unpriced` meter and reason."""

    body_digest: bytes
    cost: str | None
    line_items: str | None
    usage: str
    pricing_tier_label: str | None
    unpriced: dict[str, Any] | None
    balance_after: str


def encode(
    event: UsageEvent,
    created_at: str,
    documents: Documents,
    tokens: TokenCounts,
    cost: str | None,
    pricing_tier_label: str | None,
    book_digest: str,
) -> str:
    """The columns known before the account is locked, dollars as text; `book_digest` is `copying.binary`."""
    status_code = NULL if event.status_code is None else event.status_code
    latency_ms = NULL if event.latency_ms is None else event.latency_ms
    event_id, model, endpoint, error, request_id, label, supersedes = texts(
        event.id,
        event.model,
        event.endpoint,
        event.error,
        event.request_id,
        pricing_tier_label,
        event.supersedes,
    )
    return (
        f"{event.account_id}\t{event_id}\t{created_at}\t{event.source}\t{model}\t{endpoint}\t"
        f"{event.status}\t{status_code}\t{error}\t{request_id}\t{latency_ms}\t{json_text(documents.usage)}\t"
        f"{json_text(documents.output_urls)}\t{json_text(documents.metadata)}\t{binary(event.body_digest)}\t"
        f"{cost or NULL}\t{json_text(documents.line_items)}\t{label}\t"
        f"{json_text(documents.unpriced)}\t{json_text(documents.unbilled)}\t{tokens.input}\t{tokens.output}\t"
        f"{tokens.cache_read}\t{tokens.cache_write}\t{tokens.total}\t{book_digest}\t"
        f"{event.hold_id or NULL}\t{supersedes}"
    )


def complete(
    row: str, sequence: int, recorded_at: str, transfer_id: str | None, balance: str, api_key_id: str | None
) -> str:
    """The row with the columns that only the locked account can tell."""
    return f"{row}\t{sequence}\t{recorded_at}\t{transfer_id or NULL}\t{balance}\t{api_key_id or NULL}"


def append(connection: Connection[Any], rows: list[str]) -> None:
    """Insert complete rows; the caller holds the accounts' locks and knows that the ids are new."""
    copy_rows(connection, _APPEND, rows)


def find_many(
    connection: Connection[Any], keys: Iterable[tuple[str, str]]
) -> Iterable[tuple[tuple[str, str], StoredEvent]]:
    """(key, event) of what is recorded already, of the keys (account_id, id) asked for.

    In a pipeline, to be read after its end.
    """
    asked = list(keys)
    accounts, ids = array(account for account, _ in asked), text_array(event for _, event in asked)
    return connection.cursor(row_factory=_stored).execute(_FIND, [accounts, ids])


def _stored(_cursor: object) -> Callable[[Sequence[Any]], tuple[tuple[str, str], StoredEvent]]:
    return lambda row: (
        (row[0], row[1]),
        StoredEvent(
            row[2],
            None if row[3] is None else to_number(to_pico(row[3])),
            row[4],
            row[5],
            row[6],
            row[7],
            to_number(to_pico(row[8])),
        ),
    )
