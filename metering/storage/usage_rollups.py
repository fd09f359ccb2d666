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


class Rollups:
    """The sums of one transaction's events, by account, hour, model and source."""

    def __init__(self) -> None:
        self._sums: dict[RollupKey, Sums] = {}

    def add(self, key: RollupKey, sums: Sums) -> None:
        """Add one event: `sums` are what it adds."""
        known = self._sums.get(key)
        self._sums[key] = sums if known is None else tuple(map(operator.add, known, sums))

    def keep(self, connection: Connection[Any]) -> None:
        """Add the sums to what is kept."""
        if self._sums:
            accounts, hours, models, sources = zip(*self._sums, strict=True)
            keys = [array(accounts), array(hours), text_array(models), array(sources)]
            events, errors, unpriced, costs, *tokens = zip(*self._sums.values(), strict=True)
            counts = map(array, (events, errors, unpriced, map(to_number, costs), *tokens))
            connection.execute(_ADD, [*keys, *counts])
