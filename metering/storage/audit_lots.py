"""The queries behind the law of lots, as far as transfers were laid on them.

`metering.storage.audit` has their form. A movement of a lot is what it paid, negative where it was
given back; one without a lot is negative and cancels what the transfer it settles had left to pay.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from metering.ledger.invariants import Law
from metering.ledger.lots import Terms, terms_of
from metering.ledger.transfers import NEW_CREDIT, TransferKind
from metering.storage.audit_transfers import EFFECT

_POSITION: Final = """
    SELECT account_id, 'lots',
           concat_ws(' ', coalesce(laid.balance_after_usd, 0), movement_count, movement_count),
           concat_ws(' ', coalesce(rest.usd, 0) - coalesce(owed.usd, 0), coalesce(moved.count, 0),
                     coalesce(moved.last, 0))
      FROM (SELECT * FROM lot_positions WHERE account_id = ANY(%(accounts)s::uuid[])) AS position
      LEFT JOIN LATERAL (SELECT balance_after_usd FROM transfers
                          WHERE account_id = position.account_id AND recorded_at = position.recorded_at
                            AND sequence = position.sequence) AS laid ON true
      FULL JOIN (SELECT account_id, sum(rest_usd) AS usd FROM lots
                  WHERE account_id = ANY(%(accounts)s::uuid[]) GROUP BY account_id) AS rest USING (account_id)
      FULL JOIN (SELECT account_id, sum(owed_usd) AS usd FROM receivables
                  WHERE account_id = ANY(%(accounts)s::uuid[]) GROUP BY account_id) AS owed USING (account_id)
      FULL JOIN (SELECT account_id, count(*) AS count,
                        CASE WHEN min(number) = 1 THEN max(number) END AS last FROM lot_movements
                  WHERE account_id = ANY(%(accounts)s::uuid[]) GROUP BY account_id) AS moved
           USING (account_id)
     WHERE (coalesce(laid.balance_after_usd, 0), coalesce(movement_count, 0), coalesce(movement_count, 0))
        <> (coalesce(rest.usd, 0) - coalesce(owed.usd, 0), coalesce(moved.count, 0), coalesce(moved.last, 0))
"""
# What expiry took was not used, nor what a reversal took of the very credit that it takes back, nor what a
# refund or a dispute took of the lots of its top-up.
_LOTS: Final = """
    WITH touched AS (
         SELECT account_id, id FROM lots
          WHERE account_id = ANY(%(accounts)s::uuid[]) AND created_at >= %(since)s::timestamptz
          UNION
         SELECT account_id, lot_id FROM lot_movements
          WHERE account_id = ANY(%(accounts)s::uuid[]) AND recorded_at >= %(since)s::timestamptz
            AND lot_id IS NOT NULL)
    SELECT account_id, concat('lot ', id),
           concat_ws(' ', 'rest', amount_usd - coalesce(taken, 0), 'used', coalesce(used, 0)),
           concat_ws(' ', 'rest', rest_usd, 'used', used_usd)
      FROM (SELECT m.account_id, m.lot_id AS id, sum(m.amount_usd) AS taken,
                   sum(m.amount_usd) FILTER (WHERE t.kind <> 'expiry'
                                               AND t.reverses_id IS DISTINCT FROM m.lot_id
                                               AND went_back.id IS NULL) AS used
              FROM touched
              JOIN lot_movements AS m ON m.account_id = touched.account_id AND m.lot_id = touched.id
              LEFT JOIN transfers AS t ON t.account_id = m.account_id AND t.id = m.transfer_id
              LEFT JOIN (SELECT back.account_id, back.transfer_id AS id, bought.transfer_id AS lot_id
                           FROM top_up_transfers AS back JOIN top_up_transfers AS bought
                                USING (account_id, top_up_id)
                          WHERE account_id = ANY(%(accounts)s::uuid[])
                            AND num_nonnulls(back.refund_id, back.dispute_id) > 0
                            AND num_nonnulls(bought.refund_id, bought.dispute_id) = 0) AS went_back
                     ON went_back.account_id = m.account_id AND went_back.id = m.transfer_id
                    AND went_back.lot_id = m.lot_id
             GROUP BY 1, 2) AS moved
      FULL JOIN (SELECT lots.* FROM touched JOIN lots USING (account_id, id)) AS lots USING (account_id, id)
     WHERE (amount_usd - coalesce(taken, 0), coalesce(used, 0)) IS DISTINCT FROM (rest_usd, used_usd)
"""
# A transfer's effect is the lot that it opened, less what lots paid for it and what is owed for it.
_LAID: Final = f"""
    SELECT account_id, concat('transfer ', id), effect,
           coalesce(opened, 0) - coalesce(paid, 0) - coalesce(owed, 0) + coalesce(settled, 0)
      FROM (SELECT t.account_id, t.id, {EFFECT} AS effect
              FROM transfers AS t JOIN lot_positions AS p
                     ON p.account_id = t.account_id
                    AND (t.recorded_at, t.sequence) <= (p.recorded_at, p.sequence)
             WHERE t.account_id = ANY(%(accounts)s::uuid[])
               AND t.recorded_at >= %(since)s::timestamptz) AS laid
      LEFT JOIN (SELECT account_id, transfer_id AS id, sum(amount_usd) AS paid FROM lot_movements
                  WHERE account_id = ANY(%(accounts)s::uuid[]) AND recorded_at >= %(since)s::timestamptz
                  GROUP BY 1, 2) AS paid USING (account_id, id)
      LEFT JOIN (SELECT account_id, settles_id AS id, sum(amount_usd) AS settled FROM lot_movements
                  WHERE account_id = ANY(%(accounts)s::uuid[]) AND recorded_at >= %(since)s::timestamptz
                    AND settles_id IS NOT NULL GROUP BY 1, 2) AS settled USING (account_id, id)
      LEFT JOIN (SELECT account_id, id, amount_usd AS opened FROM lots
                  WHERE account_id = ANY(%(accounts)s::uuid[])) AS opened USING (account_id, id)
      LEFT JOIN (SELECT account_id, transfer_id AS id, owed_usd AS owed FROM receivables
                  WHERE account_id = ANY(%(accounts)s::uuid[])) AS owed USING (account_id, id)
     WHERE effect <> coalesce(opened, 0) - coalesce(paid, 0) - coalesce(owed, 0) + coalesce(settled, 0)
"""  # noqa: S608  (its parts are constants)
_DEFAULT: Final = Terms()
_BOUGHT: Final = terms_of(TransferKind.TOP_UP)
_NEW_CREDIT: Final = ", ".join(f"'{kind}'" for kind in sorted(NEW_CREDIT))
# What is given back beyond all that was taken opens a lot too, of a part of its transfer.
_TERMS: Final = f"""
    SELECT account_id, concat('lot ', id), wanted, found
      FROM (SELECT lots.account_id, lots.id,
                   CASE WHEN t.id IS NULL THEN 'the transfer that opened it'
                        ELSE concat_ws(' ', coalesce(g.kind, CASE t.kind WHEN 'top_up' THEN '{_BOUGHT.kind}'
                                                             ELSE '{_DEFAULT.kind}' END),
                                       coalesce(g.priority, {_DEFAULT.priority}),
                                       coalesce(g.expires_at::text, 'never'),
                                       CASE WHEN t.kind IN ({_NEW_CREDIT}) THEN t.effect
                                            ELSE lots.amount_usd END,
                                       t.sequence, t.recorded_at) END AS wanted,
                   concat_ws(' ', lots.kind, lots.priority, coalesce(lots.expires_at::text, 'never'),
                             lots.amount_usd, lots.sequence, lots.created_at) AS found
              FROM lots
              LEFT JOIN (SELECT *, {EFFECT} AS effect FROM transfers) AS t
                     ON t.account_id = lots.account_id AND t.id = lots.id
              LEFT JOIN grants AS g
                     ON g.account_id = t.account_id AND g.transfer_id = t.id AND t.kind = 'grant'
             WHERE lots.account_id = ANY(%(accounts)s::uuid[])
               AND lots.created_at >= %(since)s::timestamptz) AS compared
     WHERE wanted <> found
"""  # noqa: S608  (its parts are constants)
# Not looked for too late. What was given back to a lot that has ended is looked for at once: since the
# balance last moved.
_NEXT_END: Final = """
    SELECT account_id, 'the next end of credit', concat('by ', soonest),
           coalesce(next_expiry_at::text, 'never')
      FROM balances
      JOIN (SELECT account_id, min(expires_at) AS soonest FROM lots
             WHERE account_id = ANY(%(accounts)s::uuid[]) AND rest_usd > 0 AND expires_at IS NOT NULL
             GROUP BY account_id) AS ending USING (account_id)
     WHERE coalesce(next_expiry_at, 'infinity') > greatest(soonest, updated_at)
"""

QUERIES: Final = MappingProxyType({Law.LOTS: (_POSITION, _LOTS, _LAID, _TERMS, _NEXT_END)})
