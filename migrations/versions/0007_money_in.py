"""Top-ups and what becomes of them, saved cards, auto top-up, what customers are told, jobs' leases."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

CHANGES = """
ALTER TABLE accounts ADD COLUMN email text;

ALTER TABLE balances
    ADD COLUMN frozen_usd numeric(38, 12) NOT NULL DEFAULT 0,
    ADD COLUMN auto_topup_below_usd numeric(38, 12),
    ADD COLUMN low_balance_usd numeric(38, 12),
    ADD CONSTRAINT balances_frozen_usd_not_negative_check CHECK (frozen_usd >= 0 AND frozen_usd < 'Infinity'),
    ADD CONSTRAINT balances_auto_topup_below_usd_positive_check
        CHECK (auto_topup_below_usd > 0 AND auto_topup_below_usd < 'Infinity'),
    ADD CONSTRAINT balances_low_balance_usd_positive_check
        CHECK (low_balance_usd > 0 AND low_balance_usd < 'Infinity');

ALTER TABLE lots ADD COLUMN is_frozen boolean NOT NULL DEFAULT false;

CREATE TABLE payment_customers (
    account_id uuid NOT NULL REFERENCES accounts (account_id),
    customer_id text NOT NULL,
    cards_version bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    CONSTRAINT payment_customers_pkey PRIMARY KEY (account_id)
);
CREATE INDEX payment_customers_customer_id_idx ON payment_customers (customer_id);

CREATE TABLE cards (
    account_id uuid NOT NULL REFERENCES accounts (account_id),
    id text NOT NULL,
    brand text NOT NULL,
    last_four text NOT NULL,
    expires_month integer NOT NULL,
    expires_year integer NOT NULL,
    is_default boolean NOT NULL,
    expiry_told_at timestamptz,
    created_at timestamptz NOT NULL,
    removed_at timestamptz,
    CONSTRAINT cards_pkey PRIMARY KEY (account_id, id)
);
CREATE INDEX cards_expiry_idx ON cards (expires_year, expires_month)
    WHERE expiry_told_at IS NULL AND removed_at IS NULL;

CREATE TABLE auto_topups (
    account_id uuid NOT NULL REFERENCES accounts (account_id),
    is_enabled boolean NOT NULL,
    threshold_usd numeric(38, 12) NOT NULL,
    amount_usd numeric(38, 12) NOT NULL,
    card_id text,
    most_per_month_usd numeric(38, 12),
    off_reason text,
    paused_until timestamptz,
    enabled_at timestamptz,
    updated_at timestamptz NOT NULL,
    CONSTRAINT auto_topups_pkey PRIMARY KEY (account_id),
    CONSTRAINT auto_topups_threshold_usd_positive_check
        CHECK (threshold_usd > 0 AND threshold_usd < 'Infinity'),
    CONSTRAINT auto_topups_amount_usd_positive_check CHECK (amount_usd > 0 AND amount_usd < 'Infinity'),
    CONSTRAINT auto_topups_most_per_month_usd_positive_check
        CHECK (most_per_month_usd > 0 AND most_per_month_usd < 'Infinity')
);
CREATE INDEX auto_topups_paused_until_idx ON auto_topups (paused_until) WHERE paused_until IS NOT NULL;

CREATE TABLE top_ups (
    account_id uuid NOT NULL REFERENCES accounts (account_id),
    id uuid NOT NULL,
    origin text NOT NULL,
    state text NOT NULL,
    amount_usd numeric(38, 12) NOT NULL,
    bonus_percent integer NOT NULL,
    bonus_usd numeric(38, 12) NOT NULL,
    tax_usd numeric(38, 12) NOT NULL DEFAULT 0,
    frozen_usd numeric(38, 12) NOT NULL DEFAULT 0,
    saves_card boolean NOT NULL DEFAULT false,
    session_id text,
    url text,
    url_expires_at timestamptz,
    payment_id text,
    paid_with text,
    receipt_number text,
    receipt_url text,
    failure_code text,
    failure_message text,
    attempts integer NOT NULL DEFAULT 0,
    unanswered integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz,
    version bigint NOT NULL DEFAULT 0,
    transfer_id uuid,
    bonus_transfer_id uuid,
    idempotency_key text,
    body_digest bytea,
    created_at timestamptz NOT NULL,
    succeeded_at timestamptz,
    closed_at timestamptz,
    CONSTRAINT top_ups_pkey PRIMARY KEY (account_id, id),
    CONSTRAINT top_ups_account_id_idempotency_key_key UNIQUE (account_id, idempotency_key),
    CONSTRAINT top_ups_origin_known_check CHECK (origin IN ('checkout', 'auto')),
    CONSTRAINT top_ups_state_known_check CHECK (state IN ('open', 'succeeded', 'failed', 'canceled')),
    CONSTRAINT top_ups_closed_at_of_state_check CHECK ((state = 'open') = (closed_at IS NULL)),
    CONSTRAINT top_ups_transfer_of_state_check CHECK ((state = 'succeeded') = (transfer_id IS NOT NULL)),
    CONSTRAINT top_ups_amount_usd_positive_check CHECK (amount_usd > 0 AND amount_usd < 'Infinity'),
    CONSTRAINT top_ups_bonus_usd_not_negative_check CHECK (bonus_usd >= 0 AND bonus_usd < 'Infinity'),
    CONSTRAINT top_ups_tax_usd_not_negative_check CHECK (tax_usd >= 0 AND tax_usd < 'Infinity'),
    CONSTRAINT top_ups_frozen_usd_not_negative_check CHECK (frozen_usd >= 0 AND frozen_usd < 'Infinity')
);
CREATE UNIQUE INDEX top_ups_one_auto_idx ON top_ups (account_id) WHERE origin = 'auto' AND state = 'open';
CREATE INDEX top_ups_due_idx ON top_ups (next_attempt_at)
    WHERE state = 'open' AND next_attempt_at IS NOT NULL;
CREATE INDEX top_ups_payment_id_idx ON top_ups (payment_id) WHERE payment_id IS NOT NULL;
CREATE INDEX top_ups_checkout_idx ON top_ups (id) WHERE origin = 'checkout';

CREATE TABLE refunds (
    account_id uuid NOT NULL REFERENCES accounts (account_id),
    id uuid NOT NULL,
    top_up_id uuid NOT NULL,
    processor_id text,
    origin text NOT NULL,
    state text NOT NULL,
    amount_usd numeric(38, 12) NOT NULL,
    credit_usd numeric(38, 12) NOT NULL,
    bonus_usd numeric(38, 12) NOT NULL,
    tax_usd numeric(38, 12) NOT NULL,
    reason text NOT NULL,
    actor text NOT NULL,
    failure text,
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz,
    idempotency_key text,
    body_digest bytea,
    created_at timestamptz NOT NULL,
    CONSTRAINT refunds_pkey PRIMARY KEY (account_id, id),
    CONSTRAINT refunds_account_id_processor_id_key UNIQUE (account_id, processor_id),
    CONSTRAINT refunds_account_id_idempotency_key_key UNIQUE (account_id, idempotency_key),
    CONSTRAINT refunds_account_id_top_up_id_fkey FOREIGN KEY (account_id, top_up_id)
        REFERENCES top_ups (account_id, id),
    CONSTRAINT refunds_origin_known_check CHECK (origin IN ('service', 'processor')),
    CONSTRAINT refunds_state_known_check CHECK (state IN ('requested', 'pending', 'succeeded', 'failed')),
    CONSTRAINT refunds_amount_usd_positive_check CHECK (amount_usd > 0 AND amount_usd < 'Infinity'),
    CONSTRAINT refunds_credit_usd_not_negative_check CHECK (credit_usd >= 0 AND credit_usd < 'Infinity'),
    CONSTRAINT refunds_bonus_usd_not_negative_check CHECK (bonus_usd >= 0 AND bonus_usd < 'Infinity'),
    CONSTRAINT refunds_tax_usd_not_negative_check CHECK (tax_usd >= 0 AND tax_usd < 'Infinity')
);
CREATE INDEX refunds_top_up_id_idx ON refunds (account_id, top_up_id);
CREATE INDEX refunds_due_idx ON refunds (next_attempt_at) WHERE state = 'requested';

CREATE TABLE disputes (
    account_id uuid NOT NULL REFERENCES accounts (account_id),
    id text NOT NULL,
    top_up_id uuid NOT NULL,
    status text NOT NULL,
    stage text NOT NULL,
    reason text NOT NULL,
    amount_usd numeric(38, 12) NOT NULL,
    credit_usd numeric(38, 12) NOT NULL,
    bonus_usd numeric(38, 12) NOT NULL,
    tax_usd numeric(38, 12) NOT NULL,
    opened_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT disputes_pkey PRIMARY KEY (account_id, id),
    CONSTRAINT disputes_account_id_top_up_id_fkey FOREIGN KEY (account_id, top_up_id)
        REFERENCES top_ups (account_id, id),
    CONSTRAINT disputes_stage_known_check CHECK (stage IN ('inquiry', 'frozen', 'lost', 'released')),
    CONSTRAINT disputes_amount_usd_not_negative_check CHECK (amount_usd >= 0 AND amount_usd < 'Infinity'),
    CONSTRAINT disputes_credit_usd_not_negative_check CHECK (credit_usd >= 0 AND credit_usd < 'Infinity'),
    CONSTRAINT disputes_bonus_usd_not_negative_check CHECK (bonus_usd >= 0 AND bonus_usd < 'Infinity'),
    CONSTRAINT disputes_tax_usd_not_negative_check CHECK (tax_usd >= 0 AND tax_usd < 'Infinity')
);
CREATE INDEX disputes_top_up_id_idx ON disputes (account_id, top_up_id);

CREATE TABLE top_up_transfers (
    account_id uuid NOT NULL REFERENCES accounts (account_id),
    transfer_id uuid NOT NULL,
    top_up_id uuid NOT NULL,
    refund_id uuid,
    dispute_id text,
    CONSTRAINT top_up_transfers_pkey PRIMARY KEY (account_id, transfer_id),
    CONSTRAINT top_up_transfers_account_id_top_up_id_fkey FOREIGN KEY (account_id, top_up_id)
        REFERENCES top_ups (account_id, id),
    CONSTRAINT top_up_transfers_account_id_transfer_id_fkey FOREIGN KEY (account_id, transfer_id)
        REFERENCES transfers (account_id, id)
);
CREATE INDEX top_up_transfers_top_up_id_idx ON top_up_transfers (account_id, top_up_id);

CREATE TABLE processor_movements (
    account_id uuid NOT NULL REFERENCES accounts (account_id),
    id text NOT NULL,
    top_up_id uuid NOT NULL,
    kind text NOT NULL,
    amount_usd numeric(38, 12) NOT NULL,
    fee_usd numeric(38, 12) NOT NULL,
    transfer_id uuid,
    fee_transfer_id uuid,
    occurred_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    CONSTRAINT processor_movements_pkey PRIMARY KEY (account_id, id),
    CONSTRAINT processor_movements_account_id_top_up_id_fkey FOREIGN KEY (account_id, top_up_id)
        REFERENCES top_ups (account_id, id),
    CONSTRAINT processor_movements_kind_known_check
        CHECK (kind IN ('payment', 'refund', 'refund_failure', 'dispute', 'dispute_reversal')),
    CONSTRAINT processor_movements_amount_usd_finite_check
        CHECK (amount_usd > '-Infinity' AND amount_usd < 'Infinity'),
    CONSTRAINT processor_movements_fee_usd_finite_check CHECK (fee_usd > '-Infinity' AND fee_usd < 'Infinity')
);

CREATE TABLE processor_events (
    id text NOT NULL,
    type text NOT NULL,
    payload text NOT NULL,
    payment_id text,
    state text NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz,
    failure text,
    is_swept boolean NOT NULL,
    occurred_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    settled_at timestamptz,
    CONSTRAINT processor_events_pkey PRIMARY KEY (id),
    CONSTRAINT processor_events_state_known_check CHECK (state IN ('pending', 'settled', 'ignored', 'failed'))
);
CREATE INDEX processor_events_due_idx ON processor_events (next_attempt_at) WHERE state = 'pending';
CREATE INDEX processor_events_payment_id_idx ON processor_events (payment_id) WHERE state = 'pending';

CREATE TABLE notices (
    account_id uuid NOT NULL REFERENCES accounts (account_id),
    id uuid NOT NULL,
    sequence bigint NOT NULL,
    type text NOT NULL,
    data json NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT notices_pkey PRIMARY KEY (account_id, id),
    CONSTRAINT notices_account_id_sequence_key UNIQUE (account_id, sequence)
);
CREATE INDEX notices_type_idx ON notices (account_id, type, created_at);

CREATE TABLE mails (
    account_id uuid NOT NULL REFERENCES accounts (account_id),
    notice_id uuid NOT NULL,
    recipient text NOT NULL,
    state text NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz,
    failure text,
    created_at timestamptz NOT NULL,
    sent_at timestamptz,
    CONSTRAINT mails_pkey PRIMARY KEY (account_id, notice_id),
    CONSTRAINT mails_account_id_notice_id_fkey FOREIGN KEY (account_id, notice_id)
        REFERENCES notices (account_id, id),
    CONSTRAINT mails_state_known_check CHECK (state IN ('waiting', 'sending', 'sent', 'failed'))
);
CREATE INDEX mails_due_idx ON mails (next_attempt_at) WHERE state IN ('waiting', 'sending');

CREATE TABLE webhook_endpoints (
    account_id uuid NOT NULL REFERENCES accounts (account_id),
    id uuid NOT NULL,
    url text NOT NULL,
    secret text NOT NULL,
    types text[] NOT NULL,
    is_enabled boolean NOT NULL,
    off_reason text,
    created_at timestamptz NOT NULL,
    removed_at timestamptz,
    CONSTRAINT webhook_endpoints_pkey PRIMARY KEY (account_id, id)
);

CREATE TABLE webhook_deliveries (
    account_id uuid NOT NULL REFERENCES accounts (account_id),
    endpoint_id uuid NOT NULL,
    notice_id uuid NOT NULL,
    sequence bigint NOT NULL,
    state text NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz,
    response_status integer,
    failure text,
    created_at timestamptz NOT NULL,
    delivered_at timestamptz,
    CONSTRAINT webhook_deliveries_pkey PRIMARY KEY (account_id, endpoint_id, notice_id),
    CONSTRAINT webhook_deliveries_account_id_endpoint_id_fkey FOREIGN KEY (account_id, endpoint_id)
        REFERENCES webhook_endpoints (account_id, id),
    CONSTRAINT webhook_deliveries_account_id_notice_id_fkey FOREIGN KEY (account_id, notice_id)
        REFERENCES notices (account_id, id),
    CONSTRAINT webhook_deliveries_state_known_check CHECK (state IN ('waiting', 'delivered', 'failed'))
);
CREATE INDEX webhook_deliveries_order_idx ON webhook_deliveries (account_id, endpoint_id, sequence)
    WHERE state = 'waiting';

CREATE TABLE jobs (
    name text NOT NULL,
    leased_until timestamptz,
    leased_by text,
    started_at timestamptz,
    finished_at timestamptz,
    succeeded_at timestamptz,
    outcome text,
    failure text,
    runs bigint NOT NULL DEFAULT 0,
    failures bigint NOT NULL DEFAULT 0,
    cursor text,
    CONSTRAINT jobs_pkey PRIMARY KEY (name)
);

GRANT SELECT, INSERT ON payment_customers, cards, auto_topups, top_ups, refunds, disputes, top_up_transfers,
    processor_movements, processor_events, notices, mails, webhook_endpoints, webhook_deliveries, jobs
    TO metering_service;
GRANT UPDATE ON payment_customers, cards, auto_topups, top_ups, refunds, disputes, processor_events, mails,
    webhook_endpoints, webhook_deliveries, jobs TO metering_service;
"""


def upgrade() -> None:
    """Forwards only: money's records are never taken away."""
    op.execute(CHANGES)
