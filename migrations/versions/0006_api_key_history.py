"""API keys that expire, are rotated and have a budget; what each was charged by day; statements by kind."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

CHANGES = """
ALTER TABLE api_keys
    ADD COLUMN expires_at timestamptz,
    ADD COLUMN last_used_at timestamptz,
    ADD COLUMN replaces_id uuid,
    ADD COLUMN budget_usd numeric(38, 12),
    ADD COLUMN budget_period text,
    ADD CONSTRAINT api_keys_budget_usd_positive_check CHECK (budget_usd > 0 AND budget_usd < 'Infinity'),
    ADD CONSTRAINT api_keys_budget_period_known_check CHECK (budget_period IN ('day', 'month', 'total')),
    ADD CONSTRAINT api_keys_budget_whole_check CHECK ((budget_usd IS NULL) = (budget_period IS NULL));

CREATE TABLE api_key_spend (
    account_id uuid NOT NULL,
    api_key_id uuid NOT NULL,
    day date NOT NULL,
    spent_usd numeric(38, 12) NOT NULL,
    CONSTRAINT api_key_spend_pkey PRIMARY KEY (account_id, api_key_id, day),
    CONSTRAINT api_key_spend_spent_usd_finite_check
        CHECK (spent_usd > '-Infinity' AND spent_usd < 'Infinity')
) WITH (fillfactor = 70);

GRANT SELECT, INSERT, UPDATE ON api_key_spend TO metering_service;

CREATE INDEX transfers_kind_idx ON transfers (account_id, kind, recorded_at, sequence)
    WHERE kind <> 'usage';
"""


def upgrade() -> None:
    """Forwards only: money's records are never taken away."""
    op.execute(CHANGES)
