"""Accounts, keys, credit, transfers, usage events, rollups and price books; the role of the service.

The service runs as a role that can neither change nor delete what is append-only. The reasons for the
tables' shapes stand in `metering/storage/tables.py`.
"""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# A role belongs to the whole cluster: migrations of its other databases may make it, and grant it to the
# same user, at the same time.
ROLE = """
DO $$
DECLARE
    membership constant text :=
        CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'metering_service') THEN
        BEGIN
            CREATE ROLE metering_service NOLOGIN;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END;
    END IF;
    FOR attempt IN 1..50 LOOP
        EXIT WHEN pg_has_role(current_user, 'metering_service', membership);
        BEGIN
            GRANT metering_service TO CURRENT_USER;
        EXCEPTION WHEN unique_violation OR internal_error THEN  -- "tuple concurrently updated"
            PERFORM pg_sleep(0.1);
        END;
    END LOOP;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO metering_service', current_schema());
EXCEPTION WHEN insufficient_privilege THEN
    RAISE insufficient_privilege USING MESSAGE = format(
        'a DBA must run `CREATE ROLE metering_service NOLOGIN;` (unless it exists) and '
        '`GRANT metering_service TO %I;` first', current_user);
END $$
"""

TABLES = """
CREATE TABLE accounts (
    account_id uuid NOT NULL,
    name text NOT NULL,
    metadata json,
    key_limit integer NOT NULL DEFAULT 50,
    requests_per_minute integer NOT NULL DEFAULT 50,
    tokens_per_minute bigint NOT NULL DEFAULT 2000000,
    created_at timestamptz NOT NULL,
    CONSTRAINT accounts_pkey PRIMARY KEY (account_id)
);

CREATE TABLE balances (
    account_id uuid NOT NULL,
    posted_usd numeric(38, 12) NOT NULL DEFAULT 0,
    event_count bigint NOT NULL DEFAULT 0,
    updated_at timestamptz,
    CONSTRAINT balances_pkey PRIMARY KEY (account_id),
    CONSTRAINT balances_account_id_fkey FOREIGN KEY (account_id) REFERENCES accounts (account_id),
    CONSTRAINT balances_posted_usd_finite_check CHECK (posted_usd > '-Infinity' AND posted_usd < 'Infinity')
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);

CREATE TABLE api_keys (
    account_id uuid NOT NULL,
    id uuid NOT NULL,
    key_hash bytea NOT NULL,
    prefix text NOT NULL,
    last_four text NOT NULL,
    name text,
    created_at timestamptz NOT NULL,
    revoked_at timestamptz,
    CONSTRAINT api_keys_pkey PRIMARY KEY (account_id, id),
    CONSTRAINT api_keys_account_id_fkey FOREIGN KEY (account_id) REFERENCES accounts (account_id)
);
CREATE INDEX api_keys_key_hash_idx ON api_keys (key_hash);

CREATE TABLE service_tokens (
    id uuid NOT NULL,
    name text NOT NULL,
    token_hash bytea NOT NULL,
    scopes text[] NOT NULL,
    created_at timestamptz NOT NULL,
    revoked_at timestamptz,
    CONSTRAINT service_tokens_pkey PRIMARY KEY (id)
);
CREATE INDEX service_tokens_token_hash_idx ON service_tokens (token_hash);

CREATE TABLE transfers (
    account_id uuid NOT NULL,
    id uuid NOT NULL,
    kind text NOT NULL,
    from_account text NOT NULL,
    to_account text NOT NULL,
    amount_usd numeric(38, 12) NOT NULL,
    reason text,
    actor text,
    reverses_id uuid,
    recorded_at timestamptz NOT NULL,
    effective_at timestamptz NOT NULL,
    CONSTRAINT transfers_pkey PRIMARY KEY (account_id, id),
    CONSTRAINT transfers_amount_usd_positive_check CHECK (amount_usd > 0 AND amount_usd < 'Infinity'),
    CONSTRAINT transfers_two_accounts_check CHECK (from_account <> to_account)
);

CREATE TABLE grants (
    account_id uuid NOT NULL,
    id uuid NOT NULL,
    kind text NOT NULL,
    amount_usd numeric(38, 12) NOT NULL,
    reason text NOT NULL,
    actor text NOT NULL,
    idempotency_key text NOT NULL,
    body_digest bytea NOT NULL,
    priority integer NOT NULL,
    expires_at timestamptz,
    transfer_id uuid NOT NULL,
    balance_after_usd numeric(38, 12) NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT grants_pkey PRIMARY KEY (account_id, id),
    CONSTRAINT grants_account_id_idempotency_key_key UNIQUE (account_id, idempotency_key),
    CONSTRAINT grants_account_id_fkey FOREIGN KEY (account_id) REFERENCES accounts (account_id),
    CONSTRAINT grants_account_id_transfer_id_fkey
        FOREIGN KEY (account_id, transfer_id) REFERENCES transfers (account_id, id),
    CONSTRAINT grants_kind_known_check CHECK (kind IN ('paid', 'promotional')),
    CONSTRAINT grants_amount_usd_positive_check CHECK (amount_usd > 0 AND amount_usd < 'Infinity')
);

CREATE TABLE usage_events (
    account_id uuid NOT NULL,
    id text NOT NULL,
    sequence bigint NOT NULL,
    created_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    source text NOT NULL,
    model text NOT NULL,
    endpoint text,
    status text NOT NULL,
    status_code integer,
    error text,
    request_id text,
    latency_ms bigint,
    usage json NOT NULL,
    output_urls json NOT NULL,
    metadata json,
    body_digest bytea NOT NULL,
    cost_usd numeric(38, 12),
    line_items json,
    pricing_tier_label text,
    unpriced json,
    unbilled json,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    cache_read_tokens bigint NOT NULL,
    cache_write_tokens bigint NOT NULL,
    total_tokens bigint NOT NULL,
    book_digest bytea NOT NULL,
    transfer_id uuid,
    balance_after_usd numeric(38, 12),
    CONSTRAINT usage_events_pkey PRIMARY KEY (account_id, id),
    CONSTRAINT usage_events_cost_usd_not_negative_check CHECK (cost_usd >= 0 AND cost_usd < 'Infinity')
);
CREATE UNIQUE INDEX usage_events_history_idx ON usage_events (account_id, created_at, sequence);
CREATE INDEX usage_events_unpriced_idx
    ON usage_events (account_id, created_at, sequence) WHERE unpriced IS NOT NULL;
CREATE INDEX usage_events_errors_idx
    ON usage_events (account_id, created_at, sequence) WHERE status = 'error';

CREATE TABLE usage_rollups (
    account_id uuid NOT NULL,
    hour timestamptz NOT NULL,
    model text NOT NULL,
    source text NOT NULL,
    events bigint NOT NULL,
    errors bigint NOT NULL,
    unpriced bigint NOT NULL,
    cost_usd numeric(38, 12) NOT NULL,
    input_tokens numeric(38, 0) NOT NULL,
    output_tokens numeric(38, 0) NOT NULL,
    cache_read_tokens numeric(38, 0) NOT NULL,
    cache_write_tokens numeric(38, 0) NOT NULL,
    CONSTRAINT usage_rollups_pkey PRIMARY KEY (account_id, hour, model, source),
    CONSTRAINT usage_rollups_cost_usd_not_negative_check CHECK (cost_usd >= 0 AND cost_usd < 'Infinity')
) WITH (fillfactor = 70);

CREATE TABLE price_books (
    digest bytea NOT NULL,
    documents json NOT NULL,
    recorded_at timestamptz NOT NULL,
    CONSTRAINT price_books_pkey PRIMARY KEY (digest)
);
"""

RIGHTS = """
GRANT SELECT ON alembic_version TO metering_service;
GRANT SELECT, INSERT ON accounts, balances, api_keys, service_tokens, transfers, grants, usage_events,
    usage_rollups, price_books TO metering_service;
GRANT UPDATE ON accounts, balances, api_keys, service_tokens, usage_rollups TO metering_service;
"""


def upgrade() -> None:
    """Forwards only: money's records are never taken away."""
    for script in (ROLE, TABLES, RIGHTS):
        op.execute(script)
