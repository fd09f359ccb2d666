"""Transfers in their account's order, each with the balance after it; what is held; when credit ends."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

CHANGES = """
ALTER TABLE balances
    ADD COLUMN held_usd numeric(38, 12) NOT NULL DEFAULT 0,
    ADD COLUMN transfer_count bigint NOT NULL DEFAULT 0,
    ADD COLUMN next_expiry_at timestamptz,
    ADD CONSTRAINT balances_held_usd_not_negative_check CHECK (held_usd >= 0 AND held_usd < 'Infinity');
CREATE INDEX balances_next_expiry_at_idx ON balances (next_expiry_at) WHERE next_expiry_at IS NOT NULL;

ALTER TABLE transfers
    ADD COLUMN sequence bigint,
    ADD COLUMN balance_after_usd numeric(38, 12),
    ADD COLUMN checksum bytea;

-- Until now the time of a grant or a batch was read before its account's lock was had, and is that of all its
-- transfers: two of an account may have the same, and times may not be in the order of the commits. So this
-- order is one that could have been; the balance that an old grant names may be another than here.
UPDATE transfers SET sequence = placed.sequence, balance_after_usd = placed.balance
  FROM (SELECT account_id, id, row_number() OVER before_it AS sequence,
               sum(CASE 'customer_credit' WHEN to_account THEN amount_usd
                                          WHEN from_account THEN -amount_usd ELSE 0 END)
                   OVER before_it AS balance
          FROM transfers
        WINDOW before_it AS (PARTITION BY account_id ORDER BY recorded_at, id)) AS placed
 WHERE transfers.account_id = placed.account_id AND transfers.id = placed.id;
UPDATE transfers SET checksum = sha256(convert_to(concat_ws(chr(31), account_id, id, sequence, kind,
    from_account, to_account, amount_usd, balance_after_usd, coalesce(reason, ''), coalesce(actor, ''),
    coalesce(reverses_id::text, ''), (extract(epoch FROM effective_at) * 1000000)::bigint,
    (extract(epoch FROM recorded_at) * 1000000)::bigint), 'UTF8'));
UPDATE balances SET transfer_count = counted.transfers
  FROM (SELECT account_id, count(*) AS transfers FROM transfers GROUP BY account_id) AS counted
 WHERE balances.account_id = counted.account_id;
UPDATE balances SET next_expiry_at = soonest.expires_at
  FROM (SELECT account_id, min(expires_at) AS expires_at FROM grants GROUP BY account_id) AS soonest
 WHERE balances.account_id = soonest.account_id;

ALTER TABLE transfers
    ALTER COLUMN sequence SET NOT NULL,
    ALTER COLUMN balance_after_usd SET NOT NULL,
    ALTER COLUMN checksum SET NOT NULL,
    ADD CONSTRAINT transfers_balance_after_usd_finite_check
        CHECK (balance_after_usd > '-Infinity' AND balance_after_usd < 'Infinity');
CREATE UNIQUE INDEX transfers_order_idx ON transfers (account_id, recorded_at, sequence);
CREATE UNIQUE INDEX transfers_reverses_id_idx ON transfers (account_id, reverses_id)
    WHERE reverses_id IS NOT NULL;
"""


def upgrade() -> None:
    """Forwards only: money's records are never taken away."""
    op.execute(CHANGES)
