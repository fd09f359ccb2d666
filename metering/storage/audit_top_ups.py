"""The queries behind the laws of top-ups, refunds, disputes, and of what the processor did with the money.

`metering.storage.audit` has their form. An account has few top-ups, and one that was paid long ago can be
disputed today: they are looked at whole, from whatever time on.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from metering.ledger.invariants import Law
from metering.storage.audit_transfers import EFFECT

_OURS: Final = "account_id = ANY(%(accounts)s::uuid[])"
# The transfers that top-ups name, and the refund or dispute that they are part of.
_NAMED: Final = f"""
    (SELECT names.account_id, names.top_up_id, refund_id::text, dispute_id, id, kind, from_account,
            to_account, amount_usd, {EFFECT} AS effect_usd
       FROM top_up_transfers AS names
       JOIN transfers ON transfers.account_id = names.account_id AND transfers.id = names.transfer_id
      WHERE names.{_OURS})
"""  # noqa: S608  (its parts are constants)


def _flow(source: str, target: str) -> str:
    """What flowed that way, less what flowed back."""
    return f"""coalesce(sum(CASE WHEN (from_account, to_account) = ('{source}', '{target}') THEN amount_usd
                                 WHEN (from_account, to_account) = ('{target}', '{source}') THEN -amount_usd
                            END), 0)"""


_SETTLED: Final = f"""
    SELECT account_id, concat('top-up ', id),
           concat_ws(' ', credit_usd, bonus_usd, tax_usd, coalesce(credit_id, 'none'),
                     coalesce(bonus_id, 'none')),
           concat_ws(' ', coalesce(credit, 0), coalesce(bonus, 0), coalesce(tax, 0),
                     coalesce(credits, 'none'), coalesce(bonuses, 'none'))
      FROM (SELECT account_id, id, paid * amount_usd AS credit_usd, paid * bonus_usd AS bonus_usd,
                   paid * tax_usd AS tax_usd, transfer_id::text AS credit_id,
                   bonus_transfer_id::text AS bonus_id
              FROM (SELECT *, CASE state WHEN 'succeeded' THEN 1 ELSE 0 END AS paid
                      FROM top_ups WHERE {_OURS}) AS top_ups) AS wanted
      LEFT JOIN (SELECT account_id, top_up_id AS id,
                        {_flow("cash:stripe", "customer_credit")} AS credit,
                        {_flow("promo_expense", "customer_credit")} AS bonus,
                        {_flow("cash:stripe", "tax:payable")} AS tax,
                        string_agg(id::text, ' ') FILTER (WHERE kind = 'top_up') AS credits,
                        string_agg(id::text, ' ') FILTER (WHERE kind = 'bonus') AS bonuses
                   FROM {_NAMED} AS named WHERE num_nonnulls(refund_id, dispute_id) = 0
                  GROUP BY 1, 2) AS named USING (account_id, id)
     WHERE (credit_usd, bonus_usd, tax_usd, credit_id, bonus_id)
           IS DISTINCT FROM (coalesce(credit, 0), coalesce(bonus, 0), coalesce(tax, 0), credits, bonuses)
"""  # noqa: S608  (its parts are constants)
_OF_TOP_UPS: Final = "('top_up', 'bonus', 'refund', 'dispute', 'tax', 'fee', 'settlement')"
# The key of the names lets no transfer have two.
_NAMELESS: Final = f"""
    SELECT account_id, concat('transfer ', id), 'a top-up that names it', 'none'
      FROM transfers AS moved
     WHERE {_OURS} AND recorded_at >= %(since)s::timestamptz
       AND (kind IN {_OF_TOP_UPS}
            OR kind = 'reversal' AND EXISTS (SELECT FROM top_up_transfers AS names
                                              WHERE names.account_id = moved.account_id
                                                AND names.transfer_id = moved.reverses_id))
       AND NOT EXISTS (SELECT FROM top_up_transfers AS names
                        WHERE names.account_id = moved.account_id AND names.transfer_id = moved.id)
"""  # noqa: S608  (its parts are constants)
_CREDITED: Final = f"""
    SELECT account_id, concat('credit of top-up ', id), credited_usd - coalesce(back_usd, 0),
           coalesce(moved_usd, 0)
      FROM (SELECT account_id, id,
                   CASE state WHEN 'succeeded' THEN amount_usd + bonus_usd ELSE 0 END AS credited_usd
              FROM top_ups WHERE {_OURS}) AS wanted
      LEFT JOIN (SELECT account_id, top_up_id AS id, sum(credit_usd + bonus_usd) AS back_usd
                   FROM (SELECT account_id, top_up_id, credit_usd, bonus_usd FROM refunds
                          WHERE {_OURS} AND state <> 'failed'
                          UNION ALL
                         SELECT account_id, top_up_id, credit_usd, bonus_usd FROM disputes
                          WHERE {_OURS} AND stage = 'lost') AS went_back
                  GROUP BY 1, 2) AS back USING (account_id, id)
      LEFT JOIN (SELECT account_id, top_up_id AS id, sum(effect_usd) AS moved_usd FROM {_NAMED} AS named
                  GROUP BY 1, 2) AS moved USING (account_id, id)
     WHERE credited_usd - coalesce(back_usd, 0) <> coalesce(moved_usd, 0)
"""  # noqa: S608  (its parts are constants)


def _returned(table: str, name: str, clearing: str, condition: str) -> str:
    """What went back by a refund or a lost dispute, in its parts; `name` is how its transfers name it."""
    return f"""
    SELECT account_id, concat('{clearing[:-1]} ', id),
           concat_ws(' ', coalesce(wanted.credit, 0), coalesce(wanted.bonus, 0), coalesce(wanted.tax, 0)),
           concat_ws(' ', coalesce(moved.credit, 0), coalesce(moved.bonus, 0), coalesce(moved.tax, 0))
      FROM (SELECT account_id, top_up_id, id::text, posted * credit_usd AS credit,
                   posted * bonus_usd AS bonus, posted * tax_usd AS tax
              FROM (SELECT *, CASE WHEN {condition} THEN 1 ELSE 0 END AS posted
                      FROM {table} WHERE {_OURS}) AS known) AS wanted
      FULL JOIN (SELECT account_id, top_up_id, {name} AS id,
                        {_flow("customer_credit", clearing)} AS credit,
                        {_flow("customer_credit", "promo_expense")} AS bonus,
                        {_flow("tax:payable", clearing)} AS tax
                   FROM {_NAMED} AS named WHERE {name} IS NOT NULL
                  GROUP BY 1, 2, 3) AS moved USING (account_id, top_up_id, id)
     WHERE (coalesce(wanted.credit, 0), coalesce(wanted.bonus, 0), coalesce(wanted.tax, 0))
        <> (coalesce(moved.credit, 0), coalesce(moved.bonus, 0), coalesce(moved.tax, 0))
"""  # noqa: S608  (its parts are constants)


_REFUNDED: Final = _returned("refunds", "refund_id", "refunds", "state <> 'failed'")
_DISPUTED: Final = _returned("disputes", "dispute_id", "disputes", "stage = 'lost'")
_REFUND: Final = f"""
    SELECT account_id, concat('refund ', id), amount_usd, credit_usd + tax_usd
      FROM refunds WHERE {_OURS} AND amount_usd <> credit_usd + tax_usd
"""  # noqa: S608  (its parts are constants)
_FROZEN: Final = f"""
    SELECT account_id, 'frozen', concat_ws(' ', frozen_usd, frozen_usd),
           concat_ws(' ', coalesce(lots.usd, 0), coalesce(top_ups.usd, 0))
      FROM (SELECT account_id, frozen_usd FROM balances WHERE {_OURS}) AS balances
      LEFT JOIN (SELECT account_id, sum(rest_usd) AS usd FROM lots
                  WHERE {_OURS} AND rest_usd > 0 AND is_frozen GROUP BY 1) AS lots USING (account_id)
      LEFT JOIN (SELECT account_id, sum(frozen_usd) AS usd FROM top_ups
                  WHERE {_OURS} GROUP BY 1) AS top_ups USING (account_id)
     WHERE (frozen_usd, frozen_usd) <> (coalesce(lots.usd, 0), coalesce(top_ups.usd, 0))
"""  # noqa: S608  (its parts are constants)
# A lot is frozen exactly while its top-up is disputed; what is not on the lots yet is not frozen yet.
_FROZEN_LOTS: Final = f"""
    SELECT account_id, concat('frozen of top-up ', id),
           concat_ws(' ', wanted_usd, 'in', wanted_lots, 'lots'),
           concat_ws(' ', frozen_usd, 'in', frozen_lots, 'lots')
      FROM (SELECT top_up.account_id, top_up.id, top_up.frozen_usd,
                   coalesce(sum(rest_usd) FILTER (WHERE is_disputed), 0) AS wanted_usd,
                   count(lots.id) FILTER (WHERE is_disputed) AS wanted_lots,
                   count(lots.id) FILTER (WHERE is_frozen) AS frozen_lots
              FROM (SELECT *, EXISTS (SELECT FROM disputes
                                       WHERE disputes.account_id = top_ups.account_id
                                         AND top_up_id = top_ups.id AND stage = 'frozen') AS is_disputed
                      FROM top_ups WHERE {_OURS}) AS top_up
              LEFT JOIN lots ON lots.account_id = top_up.account_id
                            AND lots.id IN (top_up.transfer_id, top_up.bonus_transfer_id)
             GROUP BY 1, 2, 3) AS top_ups
     WHERE (frozen_usd, frozen_lots) <> (wanted_usd, wanted_lots)
"""  # noqa: S608  (its parts are constants)
# A payment is its top-up and the tax on it; of other money one leg waits in a clearing account.
_MOVEMENTS: Final = f"""
    SELECT account_id, concat('movement ', id), concat_ws(' ', amount_usd, fee_usd),
           concat_ws(' ', moved_usd, kept_usd)
      FROM (SELECT movement.account_id, movement.id, movement.amount_usd, movement.fee_usd,
                   CASE WHEN movement.kind = 'payment' AND movement.transfer_id IS NULL
                        THEN CASE top_ups.state WHEN 'succeeded' THEN top_ups.amount_usd + tax_usd ELSE 0 END
                        ELSE coalesce(CASE WHEN (settled.from_account, settled.to_account)
                                                = ('cash:stripe', clearing) THEN settled.amount_usd
                                           WHEN (settled.from_account, settled.to_account)
                                                = (clearing, 'cash:stripe') THEN -settled.amount_usd END, 0)
                   END AS moved_usd,
                   coalesce(CASE fee.from_account WHEN 'fees:payments' THEN fee.amount_usd
                                                 WHEN 'cash:stripe' THEN -fee.amount_usd END, 0) AS kept_usd
              FROM (SELECT *, CASE WHEN kind IN ('refund', 'refund_failure') THEN 'refunds'
                                   WHEN kind <> 'payment' THEN 'disputes' END AS clearing
                      FROM processor_movements WHERE {_OURS}) AS movement
              LEFT JOIN top_ups ON top_ups.account_id = movement.account_id
                               AND top_ups.id = movement.top_up_id
              LEFT JOIN {_NAMED} AS settled
                     ON settled.account_id = movement.account_id AND settled.id = movement.transfer_id
                    AND settled.top_up_id = movement.top_up_id AND settled.kind = 'settlement'
              LEFT JOIN {_NAMED} AS fee
                     ON fee.account_id = movement.account_id AND fee.id = movement.fee_transfer_id
                    AND fee.top_up_id = movement.top_up_id AND fee.kind = 'fee') AS compared
     WHERE (amount_usd, fee_usd) <> (moved_usd, kept_usd)
"""  # noqa: S608  (its parts are constants)
_UNMOVED: Final = f"""
    SELECT account_id, concat('transfer ', id), 'one movement', concat(count(number), ' movements')
      FROM (SELECT account_id, id FROM transfers
             WHERE {_OURS} AND recorded_at >= %(since)s::timestamptz
               AND kind IN ('fee', 'settlement')) AS moved
      LEFT JOIN (SELECT account_id, transfer_id AS id, 1 AS number FROM processor_movements WHERE {_OURS}
                  UNION ALL
                 SELECT account_id, fee_transfer_id, 1 FROM processor_movements WHERE {_OURS}) AS named
           USING (account_id, id)
     GROUP BY 1, id HAVING count(number) <> 1
"""  # noqa: S608  (its parts are constants)

QUERIES: Final = MappingProxyType(
    {
        Law.TOP_UP: (_SETTLED, _NAMELESS, _CREDITED),
        Law.REFUND: (_REFUNDED, _REFUND),
        Law.DISPUTE: (_DISPUTED,),
        Law.FROZEN: (_FROZEN, _FROZEN_LOTS),
        Law.PROCESSOR: (_MOVEMENTS, _UNMOVED),
    }
)
