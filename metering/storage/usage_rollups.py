"""Rows of usage_rollups: what an account used, by hour, model and source; what makes history cheap."""

from __future__ import annotations

import operator
from typing import Any, Final, TypeAlias

from psycopg import Connection

from metering.money import to_number
from metering.storage.copying import array, text_array

# account_id, the hour in UTC as text without spaces, model, source
RollupKey: TypeAlias = tuple[str, str, str, str]
# events, errors, unpriced, cost in picodollars, and tokens: input, output, cache read, cache write
Sums: TypeAlias = tuple[int, ...]

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


_TAKE: Final = """
    UPDATE usage_rollups AS kept SET
        events = kept.events - taken.events,
        errors = kept.errors - taken.errors,
        unpriced = kept.unpriced - taken.unpriced,
        cost_usd = kept.cost_usd - taken.cost_usd,
        input_tokens = kept.input_tokens - taken.input_tokens,
        output_tokens = kept.output_tokens - taken.output_tokens,
        cache_read_tokens = kept.cache_read_tokens - taken.cache_read_tokens,
        cache_write_tokens = kept.cache_write_tokens - taken.cache_write_tokens
      FROM unnest(%s::uuid[], %s::timestamptz[], %s::text[], %s::text[], %s::bigint[], %s::bigint[],
                  %s::bigint[], %s::numeric[], %s::numeric[], %s::numeric[], %s::numeric[], %s::numeric[])
           AS taken (account_id, hour, model, source, events, errors, unpriced, cost_usd,
                     input_tokens, output_tokens, cache_read_tokens, cache_write_tokens)
     WHERE (kept.account_id, kept.hour, kept.model, kept.source)
         = (taken.account_id, taken.hour, taken.model, taken.source)
"""


def rollup_key(account_id: str, created_at: str, model: str, source: str) -> RollupKey:
    """Where an event is counted; `created_at` is in UTC as `str` writes it."""
    return account_id, f"{created_at[:10]}T{created_at[11:13]}:00:00+00", model, source


class Rollups:
    """The sums of one transaction's events, by account, hour, model and source."""

    def __init__(self) -> None:
        self._sums: dict[RollupKey, Sums] = {}
        self._taken: dict[RollupKey, Sums] = {}

    def add(self, key: RollupKey, sums: Sums) -> None:
        """Add one event: `sums` are what it adds."""
        known = self._sums.get(key)
        self._sums[key] = sums if known is None else tuple(map(operator.add, known, sums))

    def take(self, key: RollupKey, sums: Sums) -> None:
        """Take away what was added before, in this transaction or an earlier one; may be negative."""
        known = self._taken.get(key)
        self._taken[key] = sums if known is None else tuple(map(operator.add, known, sums))

    def keep(self, connection: Connection[Any]) -> None:
        """Add the sums to what is kept, then take away what is to be taken."""
        if self._sums:
            connection.execute(_ADD, _columns(self._sums))
        if self._taken:
            connection.execute(_TAKE, _columns(self._taken))


def _columns(sums: dict[RollupKey, Sums]) -> list[str]:
    accounts, hours, models, sources = zip(*sums, strict=True)
    events, errors, unpriced, costs, *tokens = zip(*sums.values(), strict=True)
    counts = map(array, (events, errors, unpriced, map(to_number, costs), *tokens))
    return [array(accounts), array(hours), text_array(models), array(sources), *counts]
