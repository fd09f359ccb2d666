"""Lots: what remains of each credit, and which lot paid for what."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

CHANGES = """
CREATE TABLE lots (
    account_id uuid NOT NULL,
    id uuid NOT NULL,
    kind text NOT NULL,
    priority integer NOT NULL,
    expires_at timestamptz,
    sequence bigint NOT NULL,
    amount_usd numeric(38, 12) NOT NULL,
    rest_usd numeric(38, 12) NOT NULL,
    used_usd numeric(38, 12) NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT lots_pkey PRIMARY KEY (account_id, id),
    CONSTRAINT lots_kind_known_check CHECK (kind IN ('paid', 'promotional')),
    CONSTRAINT lots_within_amount_check CHECK (rest_usd + used_usd <= amount_usd),
    CONSTRAINT lots_amount_usd_positive_check CHECK (amount_usd > 0 AND amount_usd < 'Infinity'),
    CONSTRAINT lots_rest_usd_not_negative_check CHECK (rest_usd >= 0 AND rest_usd < 'Infinity'),
    CONSTRAINT lots_used_usd_not_negative_check CHECK (used_usd >= 0 AND used_usd < 'Infinity')
);
CREATE INDEX lots_open_idx ON lots (account_id) WHERE rest_usd > 0;
CREATE INDEX lots_ending_idx ON lots (expires_at) WHERE rest_usd > 0;

CREATE TABLE lot_movements (
    account_id uuid NOT NULL,
    number bigint NOT NULL,
    lot_id uuid,
    transfer_id uuid NOT NULL,
    settles_id uuid,
    amount_usd numeric(38, 12) NOT NULL,
    recorded_at timestamptz NOT NULL,
    CONSTRAINT lot_movements_pkey PRIMARY KEY (account_id, number),
    CONSTRAINT lot_movements_amount_usd_not_zero_check CHECK (amount_usd <> 0),
    CONSTRAINT lot_movements_lot_or_settles_check CHECK ((lot_id IS NULL) <> (settles_id IS NULL)),
    CONSTRAINT lot_movements_amount_usd_finite_check
        CHECK (amount_usd > '-Infinity' AND amount_usd < 'Infinity')
);
CREATE INDEX lot_movements_transfer_id_idx ON lot_movements (account_id, transfer_id);
CREATE INDEX lot_movements_lot_id_idx ON lot_movements (account_id, lot_id);

CREATE TABLE receivables (
    account_id uuid NOT NULL,
    transfer_id uuid NOT NULL,
    sequence bigint NOT NULL,
    owed_usd numeric(38, 12) NOT NULL,
    CONSTRAINT receivables_pkey PRIMARY KEY (account_id, transfer_id),
    CONSTRAINT receivables_owed_usd_not_negative_check CHECK (owed_usd >= 0 AND owed_usd < 'Infinity')
);
CREATE INDEX receivables_owed_idx ON receivables (account_id, sequence) WHERE owed_usd > 0;

CREATE TABLE lot_positions (
    account_id uuid NOT NULL,
    sequence bigint NOT NULL,
    recorded_at timestamptz,
    movement_count bigint NOT NULL,
    CONSTRAINT lot_positions_pkey PRIMARY KEY (account_id)
);

GRANT SELECT, INSERT ON lots, lot_movements, receivables, lot_positions TO metering_service;
GRANT UPDATE ON lots, receivables, lot_positions TO metering_service;
"""


def upgrade() -> None:
    """Forwards only: money's records are never taken away."""
    op.execute(CHANGES)
