"""The queries behind the laws of usage; `metering.storage.audit` has their form.

An event's cost is its last correction's, or else its own; an amendment takes it out of the rollups.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from metering.ledger.invariants import Law
from metering.ledger.posting_rules import revenue_of
from metering.usage.event import SOURCES

_CASES: Final = " ".join(f"WHEN '{source}' THEN '{revenue_of(source)}'" for source in SOURCES)
_LOOKED_AT: Final = """
    account_id = ANY(%(accounts)s::uuid[]) AND recorded_at >= %(since)s::timestamptz
"""
# What transfers took for usage, by the kind of revenue; what they gave back is negative.
_MOVED: Final = f"""
    SELECT account_id, id AS transfer_id,
           CASE WHEN starts_with(to_account, 'revenue:') THEN to_account ELSE from_account END AS revenue,
           CASE WHEN starts_with(to_account, 'revenue:') THEN amount_usd ELSE -amount_usd END AS usd
      FROM transfers
     WHERE (starts_with(to_account, 'revenue:') OR starts_with(from_account, 'revenue:')) AND {_LOOKED_AT}
"""  # noqa: S608  (its parts are constants)
# What events cost, and what corrections changed of that, each with the transfer that it names.
_COSTS: Final = f"""
    SELECT account_id, transfer_id, CASE source {_CASES} END AS revenue, cost_usd AS usd
      FROM usage_events WHERE {_LOOKED_AT}
     UNION ALL
    SELECT account_id, transfer_id, CASE source {_CASES} END, delta_usd
      FROM corrections WHERE {_LOOKED_AT}
"""  # noqa: S608  (its parts are constants)
_USAGE: Final = f"""
    SELECT account_id, revenue, coalesce(used.usd, 0), coalesce(moved.usd, 0)
      FROM (SELECT account_id, revenue, sum(usd) AS usd FROM ({_COSTS}) AS costs GROUP BY 1, 2) AS used
      FULL JOIN (SELECT account_id, revenue, sum(usd) AS usd FROM ({_MOVED}) AS moves GROUP BY 1, 2) AS moved
           USING (account_id, revenue)
     WHERE coalesce(used.usd, 0) <> coalesce(moved.usd, 0)
"""  # noqa: S608  (its parts are constants)
# What names no transfer meets none, so its sum must be zero.
_TRANSFER: Final = f"""
    SELECT account_id, coalesce('transfer ' || transfer_id, 'what names no transfer'), coalesce(used.usd, 0),
           coalesce(moved.usd, 0)
      FROM (SELECT account_id, revenue, transfer_id, sum(usd) AS usd FROM ({_COSTS}) AS costs
             GROUP BY 1, 2, 3) AS used
      FULL JOIN ({_MOVED}) AS moved USING (account_id, revenue, transfer_id)
     WHERE coalesce(used.usd, 0) <> coalesce(moved.usd, 0)
"""  # noqa: S608  (its parts are constants)
_CORRECTION: Final = """
    SELECT account_id, concat('event ', event_id, ', correction ', number),
           CASE WHEN ended_by IS NULL THEN wanted ELSE concat('nothing after ', ended_by) END, found
      FROM (SELECT c.account_id, c.event_id, c.number, c.recorded_at,
                   concat_ws(' ', row_number() OVER in_order,
                             CASE WHEN c.kind IN ('amendment', 'reversal') THEN 0.000000000000
                                  ELSE c.cost_usd END,
                             c.cost_usd - coalesce(lag(c.cost_usd) OVER in_order, e.cost_usd, 0),
                             e.created_at, e.source, e.model) AS wanted,
                   concat_ws(' ', c.number, c.cost_usd, c.delta_usd, c.event_created_at, c.source,
                             c.model) AS found,
                   CASE WHEN lag(c.kind) OVER in_order IN ('amendment', 'reversal')
                        THEN lag(c.kind) OVER in_order END AS ended_by
              FROM corrections AS c LEFT JOIN usage_events AS e ON e.account_id = c.account_id
                                                               AND e.id = c.event_id
             WHERE c.account_id = ANY(%(accounts)s::uuid[])
            WINDOW in_order AS (PARTITION BY c.account_id, c.event_id ORDER BY c.number)) AS placed
     WHERE recorded_at >= %(since)s::timestamptz AND (wanted <> found OR ended_by IS NOT NULL)
"""
_IN_BODY: Final = "regexp_replace({}, '^[^#]*#', '')"
# A second charge for an event has no row of its own to name it...
_NOT_NAMED: Final = f"""
    SELECT account_id, concat('transfer ', transfer_id), 'named by what it charges', 'named by nothing'
      FROM ({_MOVED}) AS moved
     WHERE NOT EXISTS (SELECT FROM ({_COSTS}) AS costs WHERE costs.account_id = moved.account_id
                                                         AND costs.transfer_id = moved.transfer_id)
"""  # noqa: S608  (its parts are constants)
# ...or is the same body under another id. Of a CloudEvent, the body has the id behind the source and its `#`;
# so those of one body end alike, and of them all at most the shortest has no source.
_SAME_BODY: Final = f"""
    SELECT account_id, concat('events ', ids[1], ' and ', ids[cardinality(ids)]), '1 event',
           concat(cardinality(ids), ' events')
      FROM (SELECT account_id, array_agg(id ORDER BY length(id), id) AS ids
              FROM usage_events WHERE {_LOOKED_AT}
             GROUP BY account_id, body_digest HAVING count(*) > 1) AS same
     WHERE EXISTS (SELECT FROM unnest(ids[2:]) AS id WHERE {_IN_BODY.format("id")} <> ids[1])
       AND EXISTS (SELECT FROM unnest(ids[2:]) AS id
                    WHERE {_IN_BODY.format("id")} <> {_IN_BODY.format("ids[1]")})
"""  # noqa: S608  (its parts are constants)
# An event and the one that supersedes it are not both charged.
_SUPERSEDED: Final = f"""
    SELECT account_id, concat('event ', superseded), coalesce('superseded by ' || event_id, 'not superseded'),
           coalesce('superseded by ' || corrected_by, 'not superseded')
      FROM (SELECT account_id, supersedes AS superseded, id AS event_id FROM usage_events
             WHERE supersedes IS NOT NULL AND {_LOOKED_AT}) AS events
      FULL JOIN (SELECT account_id, event_id AS superseded, superseded_by AS corrected_by FROM corrections
                  WHERE kind = 'amendment' AND {_LOOKED_AT}) AS corrections USING (account_id, superseded)
     WHERE event_id IS DISTINCT FROM corrected_by
"""  # noqa: S608  (its parts are constants)
# From a time on, the first number looked at is taken as it is.
_SEQUENCE: Final = f"""
    SELECT account_id, 'events', concat(event_count - base, ' from ', base + 1, ' to ', event_count),
           concat(numbers, ' from ', first, ' to ', last)
      FROM (SELECT account_id, coalesce(event_count, 0) AS event_count, coalesce(rows, 0) AS rows,
                   coalesce(numbers, 0) AS numbers, coalesce(first, base + 1) AS first,
                   coalesce(last, base) AS last, base
              FROM (SELECT account_id, event_count, used.rows, used.numbers, used.first, used.last,
                           CASE WHEN %(since)s = '-infinity' THEN 0
                                ELSE coalesce(used.first - 1, event_count, 0) END AS base
                      FROM (SELECT account_id, event_count FROM balances
                             WHERE account_id = ANY(%(accounts)s::uuid[])) AS balances
                      FULL JOIN (SELECT account_id, count(*) AS rows, count(DISTINCT sequence) AS numbers,
                                        min(sequence) AS first, max(sequence) AS last
                                   FROM usage_events WHERE {_LOOKED_AT} GROUP BY account_id) AS used
                           USING (account_id)) AS counted) AS compared
     WHERE (rows, numbers, first, last)
           IS DISTINCT FROM (event_count - base, event_count - base, base + 1, event_count)
"""  # noqa: S608  (its parts are constants)
# The hours that something recorded since then is in.
_TOUCHED: Final = f"""
    WITH touched AS (
         SELECT account_id, date_trunc('hour', created_at, 'UTC') AS hour FROM usage_events
          WHERE {_LOOKED_AT}
          UNION
         SELECT account_id, date_trunc('hour', event_created_at, 'UTC') FROM corrections
          WHERE {_LOOKED_AT})
"""  # noqa: S608  (its parts are constants)
# An event's last correction.
_LAST: Final = """
    (SELECT DISTINCT ON (account_id, event_id) account_id, event_id, kind, cost_usd, recorded_at
       FROM corrections WHERE account_id = ANY(%(accounts)s::uuid[])
      ORDER BY account_id, event_id, number DESC) AS last
     ON last.account_id = e.account_id AND last.event_id = e.id
"""
_ROLLED_UP: Final = """
    SELECT account_id, concat_ws(' ', hour AT TIME ZONE 'UTC', model, source), {expected}, {found}
      FROM (SELECT e.account_id, date_trunc('hour', e.created_at, 'UTC') AS hour, e.model, e.source,
                   count(*) AS events, count(*) FILTER (WHERE e.status = 'error') AS errors,
                   count(*) FILTER (WHERE coalesce(last.cost_usd, e.cost_usd) IS NULL) AS unpriced,
                   sum(coalesce(last.cost_usd, e.cost_usd)) AS cost_usd,
                   concat_ws(' ', sum(e.input_tokens), sum(e.output_tokens), sum(e.cache_read_tokens),
                             sum(e.cache_write_tokens)) AS tokens
              FROM {events} LEFT JOIN {last}
             WHERE e.account_id = ANY(%(accounts)s::uuid[]) AND last.kind IS DISTINCT FROM 'amendment'
             GROUP BY 1, 2, 3, 4) AS used
      FULL JOIN (SELECT account_id, hour, model, source, events, errors, unpriced, cost_usd,
                        concat_ws(' ', input_tokens, output_tokens, cache_read_tokens,
                                  cache_write_tokens) AS tokens
                   FROM {rollups} WHERE account_id = ANY(%(accounts)s::uuid[])) AS kept
           USING (account_id, hour, model, source)
     WHERE {expected} <> {found}
"""
_COUNTED: Final = """
    concat_ws(' ', coalesce({0}.events, 0), coalesce({0}.errors, 0), coalesce({0}.unpriced, 0),
              coalesce({0}.tokens, '0 0 0 0'))
"""


def _rolled_up(expected: str, found: str) -> tuple[str, str]:
    """The query over all hours, and the one over the touched hours."""
    everything = _ROLLED_UP.format(
        expected=expected, found=found, last=_LAST, events="usage_events AS e", rollups="usage_rollups"
    )
    events = """touched JOIN usage_events AS e ON e.account_id = touched.account_id
        AND e.created_at >= touched.hour AND e.created_at < touched.hour + interval '1 hour'"""
    rollups = "touched JOIN usage_rollups USING (account_id, hour)"
    touched = _ROLLED_UP.format(expected=expected, found=found, last=_LAST, events=events, rollups=rollups)
    return everything, _TOUCHED + touched


_COST, _COST_SINCE = _rolled_up("coalesce(used.cost_usd, 0)", "coalesce(kept.cost_usd, 0)")
_EVENTS, _EVENTS_SINCE = _rolled_up(_COUNTED.format("used"), _COUNTED.format("kept"))
# What an event costs counts on the day on which it was recorded, also what it came to cost later.
_BUDGET: Final = f"""
    SELECT account_id, concat('key ', api_key_id, ' on ', day), coalesce(used.usd, 0),
           coalesce(kept.spent_usd, 0)
      FROM (SELECT e.account_id, e.api_key_id, (e.recorded_at AT TIME ZONE 'UTC')::date AS day,
                   sum(coalesce(last.cost_usd, e.cost_usd)) AS usd,
                   max(greatest(e.recorded_at, last.recorded_at)) AS changed_at
              FROM usage_events AS e LEFT JOIN {_LAST}
             WHERE e.account_id = ANY(%(accounts)s::uuid[]) AND e.api_key_id IS NOT NULL
             GROUP BY 1, 2, 3) AS used
      FULL JOIN (SELECT * FROM api_key_spend WHERE account_id = ANY(%(accounts)s::uuid[])) AS kept
           USING (account_id, api_key_id, day)
     WHERE coalesce(used.usd, 0) <> coalesce(kept.spent_usd, 0)
       AND (changed_at >= %(since)s::timestamptz
            OR day >= (%(since)s::timestamptz AT TIME ZONE 'UTC')::date)
"""  # noqa: S608  (its parts are constants)

QUERIES: Final = MappingProxyType(
    {
        Law.USAGE: (_USAGE,),
        Law.TRANSFER: (_TRANSFER,),
        Law.CORRECTION: (_CORRECTION,),
        Law.ONCE: (_NOT_NAMED, _SAME_BODY, _SUPERSEDED),
        Law.ROLLUP_COST: (_COST,),
        Law.ROLLUP_EVENTS: (_EVENTS,),
        Law.BUDGET: (_BUDGET,),
        Law.SEQUENCE: (_SEQUENCE,),
    }
)
SINCE: Final = MappingProxyType({Law.ROLLUP_COST: (_COST_SINCE,), Law.ROLLUP_EVENTS: (_EVENTS_SINCE,)})
