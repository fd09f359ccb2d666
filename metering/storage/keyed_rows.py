"""Rows that are recorded once per account and idempotency key, as the named tuples of the same fields.

A field `*_pico` is the column `*_usd`; a UUID is its text.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from sqlalchemy import Connection, Table, insert, select

from metering.money import to_decimal, to_pico

Row = TypeVar("Row", bound=NamedTuple)


def insert_row(connection: Connection, table: Table, row: NamedTuple) -> None:
    """Record a row whose transfer is recorded."""
    values = {
        _column(name): to_decimal(value) if name.endswith("_pico") else value
        for name, value in row._asdict().items()
    }
    connection.execute(insert(table).values(**values))


def find_row(
    connection: Connection, table: Table, kind: type[Row], account_id: str, idempotency_key: str
) -> Row | None:
    """The account's row under this key."""
    query = select(*(table.c[_column(name)] for name in kind._fields)).where(
        table.c.account_id == account_id, table.c.idempotency_key == idempotency_key
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else kind._make(map(_value, kind._fields, row))


def _column(name: str) -> str:
    return f"{name.removesuffix('_pico')}_usd" if name.endswith("_pico") else name


def _value(name: str, value: Any) -> object:  # noqa: ANN401  (a column's value)
    if name.endswith("_pico"):
        return to_pico(value)
    return str(value) if isinstance(value, UUID) else value
