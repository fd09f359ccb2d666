"""The queries behind the laws of transfers, balances and holds; `metering.storage.audit` has their form."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from metering.ledger.invariants import Law
from metering.storage.transfers import CHECKSUM

EFFECT: Final = """
    CASE 'customer_credit' WHEN to_account THEN amount_usd WHEN from_account THEN -amount_usd ELSE 0 END
"""
_BALANCES: Final = "(SELECT * FROM balances WHERE account_id = ANY(%(accounts)s::uuid[])) AS balances"
_LAST: Final = """
    LATERAL (SELECT sequence, balance_after_usd FROM transfers
              WHERE transfers.account_id = balances.account_id
              ORDER BY recorded_at DESC, sequence DESC LIMIT 1) AS last
"""
_SUM: Final = f"""
    SELECT account_id, 'balance', coalesce(moved.usd, 0), balances.posted_usd
      FROM {_BALANCES}
      FULL JOIN (SELECT account_id, sum({EFFECT}) AS usd FROM transfers
                  WHERE account_id = ANY(%(accounts)s::uuid[])
                  GROUP BY account_id) AS moved USING (account_id)
     WHERE balances.posted_usd IS DISTINCT FROM coalesce(moved.usd, 0)
"""  # noqa: S608  (its parts are constants)
_LAST_BALANCE: Final = f"""
    SELECT account_id, 'balance', coalesce(last.balance_after_usd, 0), balances.posted_usd
      FROM {_BALANCES} LEFT JOIN {_LAST} ON true
     WHERE balances.posted_usd <> coalesce(last.balance_after_usd, 0)
"""  # noqa: S608  (its parts are constants)
# The link before the first one looked at is the last one recorded earlier; before the very first, nothing.
_LINKS: Final = f"""
    SELECT account_id, concat('transfer ', id), concat_ws(' ', wanted_sequence, wanted_balance),
           concat_ws(' ', sequence, balance_after_usd)
      FROM (SELECT account_id, id, sequence, balance_after_usd,
                   coalesce(lag(sequence) OVER in_order, earlier.last_sequence, 0) + 1 AS wanted_sequence,
                   coalesce(lag(balance_after_usd) OVER in_order, earlier.last_balance, 0)
                       + {EFFECT} AS wanted_balance
              FROM transfers
              LEFT JOIN (SELECT DISTINCT ON (account_id) account_id, sequence AS last_sequence,
                                balance_after_usd AS last_balance
                           FROM transfers
                          WHERE account_id = ANY(%(accounts)s::uuid[])
                            AND recorded_at < %(since)s::timestamptz
                          ORDER BY account_id, recorded_at DESC, sequence DESC) AS earlier USING (account_id)
             WHERE account_id = ANY(%(accounts)s::uuid[]) AND recorded_at >= %(since)s::timestamptz
            WINDOW in_order AS (PARTITION BY account_id ORDER BY recorded_at, sequence)) AS chain
     WHERE (sequence, balance_after_usd) IS DISTINCT FROM (wanted_sequence, wanted_balance)
"""  # noqa: S608  (its parts are constants)
_COUNT: Final = f"""
    SELECT account_id, 'transfer count', coalesce(last.sequence, 0), transfer_count
      FROM {_BALANCES} LEFT JOIN {_LAST} ON true
     WHERE transfer_count <> coalesce(last.sequence, 0)
"""  # noqa: S608  (its parts are constants)
_CHECKSUM: Final = f"""
    SELECT account_id, concat('transfer ', id), encode(checksum, 'hex'), encode({CHECKSUM}, 'hex')
      FROM transfers
     WHERE account_id = ANY(%(accounts)s::uuid[]) AND recorded_at >= %(since)s::timestamptz
       AND checksum <> {CHECKSUM}
"""  # noqa: S608  (its parts are constants)
_MIRROR: Final = """
    SELECT mirror.account_id, concat('transfer ', mirror.id),
           concat_ws(' ', other.to_account, other.from_account, other.amount_usd),
           concat_ws(' ', mirror.from_account, mirror.to_account, mirror.amount_usd)
      FROM transfers AS mirror
      LEFT JOIN transfers AS other
             ON other.account_id = mirror.account_id AND other.id = mirror.reverses_id
     WHERE mirror.account_id = ANY(%(accounts)s::uuid[]) AND mirror.recorded_at >= %(since)s::timestamptz
       AND (mirror.reverses_id IS NOT NULL OR mirror.kind = 'reversal')
       AND (other.to_account, other.from_account, other.amount_usd)
           IS DISTINCT FROM (mirror.from_account, mirror.to_account, mirror.amount_usd)
"""
# The balance that a grant names is not compared: grants are older than the chain of transfers, in which those
# of before have the places that their times gave them.
_GIVEN: Final = f"""
    SELECT account_id, concat('transfer ', transfer_id), given.what, moved.what
      FROM (SELECT account_id, transfer_id, concat_ws(' ', 'grant', amount_usd) AS what
              FROM grants
             WHERE account_id = ANY(%(accounts)s::uuid[]) AND created_at >= %(since)s::timestamptz
             UNION ALL
            SELECT account_id, transfer_id, concat_ws(' ', kind, amount_usd, balance_after_usd)
              FROM adjustments
             WHERE account_id = ANY(%(accounts)s::uuid[])
               AND created_at >= %(since)s::timestamptz) AS given
      FULL JOIN (SELECT account_id, id AS transfer_id,
                        concat_ws(' ', kind, {EFFECT},
                                  CASE WHEN kind <> 'grant' THEN balance_after_usd END) AS what
                   FROM transfers
                  WHERE account_id = ANY(%(accounts)s::uuid[])
                    AND recorded_at >= %(since)s::timestamptz
                    AND kind IN ('grant', 'adjustment', 'goodwill')) AS moved USING (account_id, transfer_id)
     WHERE given.what IS DISTINCT FROM moved.what
"""  # noqa: S608  (its parts are constants)
_HELD: Final = f"""
    SELECT account_id, 'held', coalesce(held.usd, 0), balances.held_usd
      FROM {_BALANCES}
      FULL JOIN (SELECT account_id, sum(amount_usd) AS usd FROM holds
                  WHERE account_id = ANY(%(accounts)s::uuid[]) AND state = 'open'
                  GROUP BY account_id) AS held USING (account_id)
     WHERE balances.held_usd IS DISTINCT FROM coalesce(held.usd, 0)
"""  # noqa: S608  (its parts are constants)
_HOLDS: Final = """(SELECT * FROM holds
     WHERE account_id = ANY(%(accounts)s::uuid[])
       AND (state = 'open' OR created_at >= %(since)s::timestamptz OR closed_at >= %(since)s::timestamptz)
    ) AS holds
"""
_EXTENDED: Final = f"""
    SELECT account_id, concat('hold ', id), authorized_usd + coalesce(added.usd, 0), amount_usd
      FROM {_HOLDS}
      LEFT JOIN (SELECT account_id, hold_id AS id, sum(amount_usd) AS usd FROM hold_extensions
                  WHERE account_id = ANY(%(accounts)s::uuid[])
                  GROUP BY account_id, hold_id) AS added USING (account_id, id)
     WHERE amount_usd <> authorized_usd + coalesce(added.usd, 0)
"""  # noqa: S608  (its parts are constants)
# An event that came too late for its hold is named by it all the same.
_CAPTURED: Final = f"""
    SELECT holds.account_id, concat('hold ', holds.id),
           CASE WHEN event.id IS NULL THEN 'the event that captured it'
                ELSE concat('captured or expired, ', coalesce(event.cost_usd, 0), ' for ', event.id) END,
           concat(holds.state, ', ', coalesce(captured_usd::text, 'nothing'), ' for ',
                  coalesce(holds.event_id, 'no event'))
      FROM {_HOLDS}
      LEFT JOIN usage_events AS event
             ON event.account_id = holds.account_id AND event.id = holds.event_id AND event.hold_id = holds.id
     WHERE (holds.state = 'captured' OR holds.event_id IS NOT NULL OR captured_usd IS NOT NULL)
       AND (event.id IS NULL OR holds.state NOT IN ('captured', 'expired')
            OR captured_usd IS DISTINCT FROM coalesce(event.cost_usd, 0))
"""  # noqa: S608  (its parts are constants)
# No hold's id is known before the hold is there, so none stays open once an event names it. Looked up one by
# one, by the key: whatever the planner thinks of the tables, it can't compare each hold with each event.
_NAMED: Final = """
    SELECT account_id, concat('hold ', hold_id), concat('closed by event ', min(id)), 'open'
      FROM usage_events AS event
     WHERE account_id = ANY(%(accounts)s::uuid[]) AND recorded_at >= %(since)s::timestamptz
       AND hold_id IS NOT NULL
       AND (SELECT state FROM holds WHERE holds.account_id = event.account_id
                                      AND holds.id = event.hold_id) = 'open'
     GROUP BY account_id, hold_id
"""

QUERIES: Final = MappingProxyType(
    {
        Law.BALANCE: (_SUM,),
        Law.CHAIN: (_LINKS, _COUNT),
        Law.CHECKSUM: (_CHECKSUM,),
        Law.MIRROR: (_MIRROR,),
        Law.GRANT: (_GIVEN,),
        Law.HELD: (_HELD, _EXTENDED, _CAPTURED, _NAMED),
    }
)
# The sum of all transfers needs them all; from a time on, the last link of the chain says the balance.
SINCE: Final = MappingProxyType({Law.BALANCE: (_LAST_BALANCE,)})
