"""Adjustments by hand, and what became of events after they were recorded."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

CHANGES = """
CREATE TABLE adjustments (
    account_id uuid NOT NULL,
    id uuid NOT NULL,
    kind text NOT NULL,
    amount_usd numeric(38, 12) NOT NULL,
    reason text NOT NULL,
    actor text NOT NULL,
    idempotency_key text NOT NULL,
    body_digest bytea NOT NULL,
    transfer_id uuid NOT NULL,
    balance_after_usd numeric(38, 12) NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT adjustments_pkey PRIMARY KEY (account_id, id),
    CONSTRAINT adjustments_account_id_idempotency_key_key UNIQUE (account_id, idempotency_key),
    CONSTRAINT adjustments_account_id_fkey FOREIGN KEY (account_id) REFERENCES accounts (account_id),
    CONSTRAINT adjustments_account_id_transfer_id_fkey
        FOREIGN KEY (account_id, transfer_id) REFERENCES transfers (account_id, id),
    CONSTRAINT adjustments_kind_known_check CHECK (kind IN ('adjustment', 'goodwill')),
    CONSTRAINT adjustments_amount_usd_not_zero_check CHECK (amount_usd <> 0),
    CONSTRAINT adjustments_amount_usd_finite_check
        CHECK (amount_usd > '-Infinity' AND amount_usd < 'Infinity')
);

CREATE TABLE corrections (
    account_id uuid NOT NULL,
    event_id text NOT NULL,
    number integer NOT NULL,
    kind text NOT NULL,
    event_created_at timestamptz NOT NULL,
    source text NOT NULL,
    model text NOT NULL,
    cost_usd numeric(38, 12) NOT NULL,
    delta_usd numeric(38, 12) NOT NULL,
    line_items json,
    pricing_tier_label text,
    superseded_by text,
    book_digest bytea,
    transfer_id uuid,
    reason text NOT NULL,
    actor text NOT NULL,
    recorded_at timestamptz NOT NULL,
    CONSTRAINT corrections_pkey PRIMARY KEY (account_id, event_id, number),
    CONSTRAINT corrections_kind_known_check
        CHECK (kind IN ('rating', 'rerating', 'amendment', 'reversal')),
    CONSTRAINT corrections_cost_usd_not_negative_check CHECK (cost_usd >= 0 AND cost_usd < 'Infinity'),
    CONSTRAINT corrections_delta_usd_finite_check
        CHECK (delta_usd > '-Infinity' AND delta_usd < 'Infinity')
);
CREATE INDEX corrections_event_created_at_idx ON corrections (account_id, event_created_at);

ALTER TABLE usage_events ADD COLUMN supersedes text;

GRANT SELECT, INSERT ON adjustments, corrections TO metering_service;
"""


def upgrade() -> None:
    """Forwards only: money's records are never taken away."""
    op.execute(CHANGES)
