"""What the tables are made of: one metadata, and the few kinds of columns and constraints.

`account_id` comes first in every key of a customer table, so that the schema can be distributed by it.
Amounts are NUMERIC(38,12) dollars named `*_usd`. Documents are `json`, not `jsonb`: a decimal stays as it
was spelt, and writing costs less.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    JSON,
    CheckConstraint,
    Column,
    ForeignKey,
    MetaData,
    Numeric,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.types import TypeEngine

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    }
)

MOMENT: Final = TIMESTAMP(timezone=True)
USD: Final = Numeric(38, 12)
COUNT: Final = Numeric(38, 0)
# Without none_as_null a None would be the document `null`, which is not NULL.
DOCUMENT: Final = JSON(none_as_null=True)


def key(name: str, kind: TypeEngine[Any]) -> Column[Any]:
    """A column of the primary key."""
    return Column(name, kind, primary_key=True)


def required(name: str, kind: TypeEngine[Any], default: str | None = None) -> Column[Any]:
    """A column that is never null; `default` is SQL."""
    return Column(name, kind, nullable=False, server_default=None if default is None else text(default))


def optional(name: str, kind: TypeEngine[Any]) -> Column[Any]:
    """A column that may be null."""
    return Column(name, kind, nullable=True)


def of_account() -> Column[Any]:
    """The first column of a customer table that isn't hot: its account must exist."""
    return Column("account_id", Uuid(), ForeignKey("accounts.account_id"), primary_key=True)


def positive(column: str) -> CheckConstraint:
    """More than zero and finite; NUMERIC sorts NaN above Infinity, so the upper bound refuses both."""
    return CheckConstraint(f"{column} > 0 AND {column} < 'Infinity'", name=f"{column}_positive")


def not_negative(column: str) -> CheckConstraint:
    """Zero or more, and finite."""
    return CheckConstraint(f"{column} >= 0 AND {column} < 'Infinity'", name=f"{column}_not_negative")


def finite(column: str) -> CheckConstraint:
    """Of either sign, neither infinite nor NaN."""
    return CheckConstraint(f"{column} > '-Infinity' AND {column} < 'Infinity'", name=f"{column}_finite")
