"""The sums behind the laws of the books (`metering/ledger/invariants.py`), each as one query.

Every query answers the accounts that break the law: (account_id, expected, found).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from sqlalchemy import Connection, text

from metering.ledger.invariants import Breach, Law

# One is enough to be alarmed; all of a million would hide it.
MAX_BREACHES: Final = 100

_QUERIES: Final = MappingProxyType(
    {
        Law.BALANCE: """
            SELECT account_id, coalesce(moved.usd, 0), balances.posted_usd
              FROM balances FULL JOIN (
                   SELECT account_id, sum(CASE 'customer_credit' WHEN to_account THEN amount_usd
                                                                 WHEN from_account THEN -amount_usd
                                                                 ELSE 0 END) AS usd
                     FROM transfers GROUP BY account_id) AS moved USING (account_id)
             WHERE balances.posted_usd IS DISTINCT FROM coalesce(moved.usd, 0)""",
        Law.USAGE: """
            SELECT account_id, coalesce(used.usd, 0), coalesce(moved.usd, 0)
              FROM (SELECT account_id, sum(cost_usd) AS usd FROM usage_events GROUP BY account_id) AS used
         FULL JOIN (SELECT account_id, sum(amount_usd) AS usd FROM transfers WHERE kind = 'usage'
                     GROUP BY account_id) AS moved USING (account_id)
             WHERE coalesce(used.usd, 0) <> coalesce(moved.usd, 0)""",
        Law.TRANSFER: """
            SELECT account_id, coalesce(used.usd, 0), coalesce(moved.amount_usd, 0)
              FROM (SELECT account_id, transfer_id, sum(cost_usd) AS usd FROM usage_events
                     WHERE cost_usd > 0 GROUP BY account_id, transfer_id) AS used
         FULL JOIN (SELECT account_id, id AS transfer_id, amount_usd FROM transfers
                     WHERE kind = 'usage') AS moved USING (account_id, transfer_id)
             WHERE used.usd IS DISTINCT FROM moved.amount_usd""",
        Law.ROLLUP_COST: """
            SELECT account_id, concat_ws(' ', hour, model, source, used), kept
              FROM (SELECT account_id, date_trunc('hour', created_at, 'UTC') AS hour, model, source,
                           coalesce(sum(cost_usd), 0) AS used
                      FROM usage_events GROUP BY 1, 2, 3, 4) AS one
         FULL JOIN (SELECT account_id, hour, model, source, cost_usd AS kept
                      FROM usage_rollups) AS other USING (account_id, hour, model, source)
             WHERE used IS DISTINCT FROM kept""",
        Law.ROLLUP_EVENTS: """
            SELECT account_id, concat_ws(' ', hour, model, source, used.counts), kept.counts
              FROM (SELECT account_id, date_trunc('hour', created_at, 'UTC') AS hour, model, source,
                           concat_ws(' ', count(*), count(*) FILTER (WHERE status = 'error'),
                                     count(*) FILTER (WHERE cost_usd IS NULL), sum(input_tokens),
                                     sum(output_tokens), sum(cache_read_tokens),
                                     sum(cache_write_tokens)) AS counts
                      FROM usage_events GROUP BY 1, 2, 3, 4) AS used
         FULL JOIN (SELECT account_id, hour, model, source,
                           concat_ws(' ', events, errors, unpriced, input_tokens, output_tokens,
                                     cache_read_tokens, cache_write_tokens) AS counts
                      FROM usage_rollups) AS kept USING (account_id, hour, model, source)
             WHERE used.counts IS DISTINCT FROM kept.counts""",
        Law.SEQUENCE: """
            SELECT account_id, coalesce(used.events, 0), balances.event_count
              FROM balances FULL JOIN (SELECT account_id, count(*) AS events, max(sequence) AS last
                                         FROM usage_events GROUP BY account_id) AS used USING (account_id)
             WHERE (coalesce(used.events, 0), coalesce(used.last, 0))
                IS DISTINCT FROM (balances.event_count, balances.event_count)""",
    }
)


def find_breaches(connection: Connection, law: Law) -> list[Breach]:
    """Up to `MAX_BREACHES` accounts that break the law, as the connection's transaction sees them."""
    rows = connection.execute(text(f"{_QUERIES[law]} ORDER BY account_id LIMIT {MAX_BREACHES}"))
    return [Breach(law, str(account_id), str(expected), str(found)) for account_id, expected, found in rows]
