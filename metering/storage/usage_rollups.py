"""Rows of usage_rollups: what an account used, by hour, model and source; what makes history cheap."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from psycopg import Connection

from metering.money import to_number
from metering.storage.copying import array, text_array

RollupKey = tuple[str, datetime, str, str]

_ADD: Final = """
    INSERT INTO usage_rollups AS kept (account_id, hour, model, source, events, errors, unpriced, cost_usd,
                                       input_tokens, output_tokens, cache_read_tokens, cache_write_tokens)
    SELECT * FROM unnest(%s::uuid[], %s::timestamptz[], %s::text[], %s::text[], %s::bigint[],
                         %s::bigint[], %s::bigint[], %s::numeric[], %s::numeric[], %s::numeric[],
                         %s::numeric[], %s::numeric[])
    ON CONFLICT (account_id, hour, model, source) DO UPDATE SET
        events = kept.events + excluded.events,
        errors = kept.errors + excluded.errors,
        unpriced = kept.unpriced + excluded.unpriced,
        cost_usd = kept.cost_usd + excluded.cost_usd,
        input_tokens = kept.input_tokens + excluded.input_tokens,
        output_tokens = kept.output_tokens + excluded.output_tokens,
        cache_read_tokens = kept.cache_read_tokens + excluded.cache_read_tokens,
        cache_write_tokens = kept.cache_write_tokens + excluded.cache_write_tokens
"""


@dataclass(slots=True)
class Rollup:
    """Sums over the events of one key."""

    events: int = 0
    errors: int = 0
    unpriced: int = 0
    cost_pico: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0


def add(connection: Connection[Any], rollups: dict[RollupKey, Rollup]) -> None:
    """Add the sums to what is kept for each (account_id, hour, model, source)."""
    if not rollups:
        return
    accounts, hours, models, sources = zip(*rollups, strict=True)
    sums = rollups.values()
    columns = [array(accounts), text_array(map(str, hours)), text_array(models), array(sources)]
    columns += [array(getattr(rollup, name) for rollup in sums) for name in ("events", "errors", "unpriced")]
    columns.append(array(to_number(rollup.cost_pico) for rollup in sums))
    tokens = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
    columns += [array(getattr(rollup, name) for rollup in sums) for name in tokens]
    connection.execute(_ADD, columns)
