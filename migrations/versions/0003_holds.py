"""Holds, their extensions, the rate of requests, and the events that capture them."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

CHANGES = """
CREATE TABLE holds (
    account_id uuid NOT NULL,
    id uuid NOT NULL,
    state text NOT NULL,
    authorized_usd numeric(38, 12) NOT NULL,
    amount_usd numeric(38, 12) NOT NULL,
    captured_usd numeric(38, 12),
    event_id text,
    api_key_id uuid,
    model text,
    tokens bigint NOT NULL,
    idempotency_key text,
    body_digest bytea NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    closed_at timestamptz,
    CONSTRAINT holds_pkey PRIMARY KEY (account_id, id),
    CONSTRAINT holds_account_id_idempotency_key_key UNIQUE (account_id, idempotency_key),
    CONSTRAINT holds_state_known_check CHECK (state IN ('open', 'captured', 'voided', 'expired')),
    CONSTRAINT holds_closed_at_of_state_check CHECK ((state = 'open') = (closed_at IS NULL)),
    CONSTRAINT holds_authorized_usd_not_negative_check
        CHECK (authorized_usd >= 0 AND authorized_usd < 'Infinity'),
    CONSTRAINT holds_amount_usd_not_negative_check CHECK (amount_usd >= 0 AND amount_usd < 'Infinity'),
    CONSTRAINT holds_captured_usd_not_negative_check
        CHECK (captured_usd >= 0 AND captured_usd < 'Infinity')
) WITH (fillfactor = 80);
CREATE INDEX holds_id_idx ON holds (id);
CREATE INDEX holds_open_idx ON holds (account_id, expires_at) WHERE state = 'open';

CREATE TABLE hold_extensions (
    account_id uuid NOT NULL,
    hold_id uuid NOT NULL,
    id uuid NOT NULL,
    amount_usd numeric(38, 12) NOT NULL,
    overspend_usd numeric(38, 12) NOT NULL,
    idempotency_key text,
    body_digest bytea NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT hold_extensions_pkey PRIMARY KEY (account_id, hold_id, id),
    CONSTRAINT hold_extensions_account_id_hold_id_idempotency_key_key
        UNIQUE (account_id, hold_id, idempotency_key),
    CONSTRAINT hold_extensions_amount_usd_not_negative_check
        CHECK (amount_usd >= 0 AND amount_usd < 'Infinity'),
    CONSTRAINT hold_extensions_overspend_usd_not_negative_check
        CHECK (overspend_usd >= 0 AND overspend_usd < 'Infinity')
);

CREATE TABLE request_rates (
    account_id uuid NOT NULL,
    window_started_at timestamptz NOT NULL,
    requests bigint NOT NULL,
    tokens numeric(38, 0) NOT NULL,
    previous_requests bigint NOT NULL,
    previous_tokens numeric(38, 0) NOT NULL,
    CONSTRAINT request_rates_pkey PRIMARY KEY (account_id)
) WITH (fillfactor = 50);

ALTER TABLE usage_events ADD COLUMN hold_id uuid, ADD COLUMN api_key_id uuid;

GRANT SELECT, INSERT ON holds, hold_extensions, request_rates TO metering_service;
GRANT UPDATE ON holds, request_rates TO metering_service;
"""


def upgrade() -> None:
    """Forwards only: money's records are never taken away."""
    op.execute(CHANGES)
