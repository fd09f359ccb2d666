"""Rows as the named tuples of the same fields: a field `*_pico` is the column `*_usd`; a UUID is its text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from sqlalchemy import Connection, Select, Table, insert, select, update

from metering.money import to_decimal, to_pico

Row = TypeVar("Row", bound=NamedTuple)


def insert_row(connection: Connection, table: Table, row: NamedTuple) -> None:
    """Record a row."""
    connection.execute(insert(table).values(**_columns(row._asdict())))


def update_row(
    connection: Connection, table: Table, account_id: str, row_id: str, changes: Mapping[str, Any]
) -> None:
    """Change fields of the account's row of this id."""
    query = update(table).where(table.c.account_id == account_id, table.c.id == row_id)
    connection.execute(query.values(**_columns(changes)))


def find_row(
    connection: Connection, table: Table, kind: type[Row], account_id: str, idempotency_key: str
) -> Row | None:
    """The account's row under this idempotency key."""
    query = select_rows(table, kind, account_id).where(table.c.idempotency_key == idempotency_key)
    row = connection.execute(query).one_or_none()
    return None if row is None else read_row(kind, row)


def select_rows(table: Table, kind: type[Row], account_id: str) -> Select[Any]:
    """The account's rows, to be narrowed and then read by `read_row`."""
    columns = (table.c[_column(name)] for name in kind._fields)
    return select(*columns).where(table.c.account_id == account_id)


def read_row(kind: type[Row], values: Sequence[Any]) -> Row:
    """A row that `select_rows` selects."""
    return kind._make(map(_value, kind._fields, values))


def _columns(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        _column(name): to_decimal(value) if name.endswith("_pico") else value
        for name, value in fields.items()
    }


def _column(name: str) -> str:
    return f"{name.removesuffix('_pico')}_usd" if name.endswith("_pico") else name


def _value(name: str, value: Any) -> object:  # noqa: ANN401  (a column's value)
    if name.endswith("_pico"):
        return to_pico(value)
    return str(value) if isinstance(value, UUID) else value
