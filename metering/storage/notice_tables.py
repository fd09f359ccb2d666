"""The tables of what customers are told, by mail and by webhook, and of the jobs that run by themselves."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    ForeignKeyConstraint,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)

from metering.storage.columns import (
    DOCUMENT,
    MOMENT,
    key,
    metadata,
    of_account,
    optional,
    required,
)

notices = Table(
    "notices",
    metadata,
    of_account(),
    key("id", Uuid()),
    required("sequence", BigInteger()),
    required("type", Text()),
    required("data", DOCUMENT),
    required("created_at", MOMENT),
    UniqueConstraint("account_id", "sequence"),
    Index("notices_type_idx", "account_id", "type", "created_at"),
)

mails = Table(
    "mails",
    metadata,
    of_account(),
    key("notice_id", Uuid()),
    required("recipient", Text()),
    required("state", Text()),
    required("attempts", Integer(), "0"),
    optional("next_attempt_at", MOMENT),
    optional("failure", Text()),
    required("created_at", MOMENT),
    optional("sent_at", MOMENT),
    ForeignKeyConstraint(["account_id", "notice_id"], ["notices.account_id", "notices.id"]),
    CheckConstraint("state IN ('waiting', 'sending', 'sent', 'failed')", name="state_known"),
    Index("mails_due_idx", "next_attempt_at", postgresql_where=text("state IN ('waiting', 'sending')")),
)

webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    of_account(),
    key("id", Uuid()),
    required("url", Text()),
    required("secret", Text()),
    required("types", ARRAY(Text())),
    required("is_enabled", Boolean()),
    optional("off_reason", Text()),
    required("created_at", MOMENT),
    optional("removed_at", MOMENT),
)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    of_account(),
    key("endpoint_id", Uuid()),
    key("notice_id", Uuid()),
    required("sequence", BigInteger()),
    required("state", Text()),
    required("attempts", Integer(), "0"),
    optional("next_attempt_at", MOMENT),
    optional("response_status", Integer()),
    optional("failure", Text()),
    required("created_at", MOMENT),
    optional("delivered_at", MOMENT),
    ForeignKeyConstraint(
        ["account_id", "endpoint_id"], ["webhook_endpoints.account_id", "webhook_endpoints.id"]
    ),
    ForeignKeyConstraint(["account_id", "notice_id"], ["notices.account_id", "notices.id"]),
    CheckConstraint("state IN ('waiting', 'delivered', 'failed')", name="state_known"),
    Index(
        "webhook_deliveries_order_idx",
        "account_id",
        "endpoint_id",
        "sequence",
        postgresql_where=text("state = 'waiting'"),
    ),
)

jobs = Table(
    "jobs",
    metadata,
    key("name", Text()),
    optional("leased_until", MOMENT),
    optional("leased_by", Text()),
    optional("started_at", MOMENT),
    optional("finished_at", MOMENT),
    optional("succeeded_at", MOMENT),
    optional("outcome", Text()),
    optional("failure", Text()),
    required("runs", BigInteger(), "0"),
    required("failures", BigInteger(), "0"),
    optional("cursor", Text()),
)
