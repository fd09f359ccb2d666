"""The tables, as the newest migration leaves them.

`account_id` comes first in every key of a customer table, so that the schema can be distributed by it.
The hot tables (usage_events, transfers, usage_rollups) have no foreign keys: each would cost a look-up
per row, and accounts are never deleted. Amounts are NUMERIC(38,12) dollars named `*_usd`. Documents are
`json`, not `jsonb`: a decimal stays as it was spelt, and writing costs less.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.types import TypeEngine

SERVICE_ROLE: Final = "metering_service"

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    }
)

_MOMENT = TIMESTAMP(timezone=True)
_USD = Numeric(38, 12)
_COUNT = Numeric(38, 0)
# Without none_as_null a None would be the document `null`, which is not NULL.
_DOCUMENT = JSON(none_as_null=True)


def _key(name: str, kind: TypeEngine[Any]) -> Column[Any]:
    return Column(name, kind, primary_key=True)


def _required(name: str, kind: TypeEngine[Any], default: str | None = None) -> Column[Any]:
    return Column(name, kind, nullable=False, server_default=None if default is None else text(default))


def _optional(name: str, kind: TypeEngine[Any]) -> Column[Any]:
    return Column(name, kind, nullable=True)


def _of_account() -> Column[Any]:
    return Column("account_id", Uuid(), ForeignKey("accounts.account_id"), primary_key=True)


def _positive(column: str) -> CheckConstraint:
    # NUMERIC sorts NaN above Infinity, so the upper bound refuses both.
    return CheckConstraint(f"{column} > 0 AND {column} < 'Infinity'", name=f"{column}_positive")


def _not_negative(column: str) -> CheckConstraint:
    return CheckConstraint(f"{column} >= 0 AND {column} < 'Infinity'", name=f"{column}_not_negative")


accounts = Table(
    "accounts",
    metadata,
    _key("account_id", Uuid()),
    _required("name", Text()),
    _optional("metadata", _DOCUMENT),
    _required("key_limit", Integer(), "50"),
    _required("requests_per_minute", Integer(), "50"),
    _required("tokens_per_minute", BigInteger(), "2000000"),
    _required("created_at", _MOMENT),
)

# Updated once per batch and account: room on the page keeps those updates in place (HOT).
balances = Table(
    "balances",
    metadata,
    _of_account(),
    _required("posted_usd", _USD, "0"),
    _required("event_count", BigInteger(), "0"),
    _optional("updated_at", _MOMENT),
    CheckConstraint("posted_usd > '-Infinity' AND posted_usd < 'Infinity'", name="posted_usd_finite"),
    postgresql_with={"fillfactor": 50, "autovacuum_vacuum_scale_factor": "0.05"},
)

# The index is not unique: a unique key would need account_id, which a presented key doesn't carry.
api_keys = Table(
    "api_keys",
    metadata,
    _of_account(),
    _key("id", Uuid()),
    _required("key_hash", LargeBinary()),
    _required("prefix", Text()),
    _required("last_four", Text()),
    _optional("name", Text()),
    _required("created_at", _MOMENT),
    _optional("revoked_at", _MOMENT),
    Index("api_keys_key_hash_idx", "key_hash"),
)

service_tokens = Table(
    "service_tokens",
    metadata,
    _key("id", Uuid()),
    _required("name", Text()),
    _required("token_hash", LargeBinary()),
    _required("scopes", ARRAY(Text())),
    _required("created_at", _MOMENT),
    _optional("revoked_at", _MOMENT),
    Index("service_tokens_token_hash_idx", "token_hash"),
)

grants = Table(
    "grants",
    metadata,
    _of_account(),
    _key("id", Uuid()),
    _required("kind", Text()),
    _required("amount_usd", _USD),
    _required("reason", Text()),
    _required("actor", Text()),
    _required("idempotency_key", Text()),
    _required("body_digest", LargeBinary()),
    _required("priority", Integer()),
    _optional("expires_at", _MOMENT),
    _required("transfer_id", Uuid()),
    _required("balance_after_usd", _USD),
    _required("created_at", _MOMENT),
    UniqueConstraint("account_id", "idempotency_key"),
    ForeignKeyConstraint(["account_id", "transfer_id"], ["transfers.account_id", "transfers.id"]),
    CheckConstraint("kind IN ('paid', 'promotional')", name="kind_known"),
    _positive("amount_usd"),
)

transfers = Table(
    "transfers",
    metadata,
    _key("account_id", Uuid()),
    _key("id", Uuid()),
    _required("kind", Text()),
    _required("from_account", Text()),
    _required("to_account", Text()),
    _required("amount_usd", _USD),
    _optional("reason", Text()),
    _optional("actor", Text()),
    _optional("reverses_id", Uuid()),
    _required("recorded_at", _MOMENT),
    _required("effective_at", _MOMENT),
    _positive("amount_usd"),
    CheckConstraint("from_account <> to_account", name="two_accounts"),
)

# `sequence` counts an account's events, and so orders those that share a created_at. cost_usd is null
# where no price was found; then `unpriced` has the meter and the reason.
usage_events = Table(
    "usage_events",
    metadata,
    _key("account_id", Uuid()),
    _key("id", Text()),
    _required("sequence", BigInteger()),
    _required("created_at", _MOMENT),
    _required("recorded_at", _MOMENT),
    _required("source", Text()),
    _required("model", Text()),
    _optional("endpoint", Text()),
    _required("status", Text()),
    _optional("status_code", Integer()),
    _optional("error", Text()),
    _optional("request_id", Text()),
    _optional("latency_ms", BigInteger()),
    _required("usage", _DOCUMENT),
    _required("output_urls", _DOCUMENT),
    _optional("metadata", _DOCUMENT),
    _required("body_digest", LargeBinary()),
    _optional("cost_usd", _USD),
    _optional("line_items", _DOCUMENT),
    _optional("pricing_tier_label", Text()),
    _optional("unpriced", _DOCUMENT),
    _optional("unbilled", _DOCUMENT),
    _required("input_tokens", BigInteger()),
    _required("output_tokens", BigInteger()),
    _required("cache_read_tokens", BigInteger()),
    _required("cache_write_tokens", BigInteger()),
    _required("total_tokens", BigInteger()),
    _required("book_digest", LargeBinary()),
    _optional("transfer_id", Uuid()),
    _optional("balance_after_usd", _USD),
    _not_negative("cost_usd"),
    Index("usage_events_history_idx", "account_id", "created_at", "sequence", unique=True),
    Index(
        "usage_events_unpriced_idx",
        "account_id",
        "created_at",
        "sequence",
        postgresql_where=text("unpriced IS NOT NULL"),
    ),
    Index(
        "usage_events_errors_idx",
        "account_id",
        "created_at",
        "sequence",
        postgresql_where=text("status = 'error'"),
    ),
)

usage_rollups = Table(
    "usage_rollups",
    metadata,
    _key("account_id", Uuid()),
    _key("hour", _MOMENT),
    _key("model", Text()),
    _key("source", Text()),
    _required("events", BigInteger()),
    _required("errors", BigInteger()),
    _required("unpriced", BigInteger()),
    _required("cost_usd", _USD),
    _required("input_tokens", _COUNT),
    _required("output_tokens", _COUNT),
    _required("cache_read_tokens", _COUNT),
    _required("cache_write_tokens", _COUNT),
    _not_negative("cost_usd"),
    postgresql_with={"fillfactor": 70},
)

price_books = Table(
    "price_books",
    metadata,
    _key("digest", LargeBinary()),
    _required("documents", _DOCUMENT),
    _required("recorded_at", _MOMENT),
)
