"""Statements: everything that moved a balance, for its owner and for service tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import msgspec
from litestar import Request, Response, get
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIResponse, Operation, Parameter, Schema
from litestar.openapi.spec.enums import OpenAPIFormat, OpenAPIType
from litestar.params import FromPath
from litestar.response import Stream

from metering.api.account_usage import (
    DEFAULT_LIMIT,
    MAX_LIMIT,
    read_cursor,
    read_given,
    read_limit,
    read_moment,
    read_one_of,
)
from metering.api.accounts import BalanceBody
from metering.api.encoding import json_response
from metering.api.errors import error_responses
from metering.api.parameters import READS_QUERY
from metering.api.security import needs_api_key, needs_scope
from metering.api.state import services
from metering.api.statement_rendering import csv_header, csv_lines, render
from metering.api.waiting import in_thread
from metering.errors import InvalidParameter
from metering.ledger.statements import Line, Window
from metering.ledger.transfers import TransferKind
from metering.services.statements import get_statement, iter_statement
from metering.storage.api_keys import ApiKey
from metering.storage.service_tokens import ServiceToken

_KINDS: Final = tuple(kind.value for kind in TransferKind)
_FORMATS: Final = ("json", "csv")
_TEXT: Final = OpenAPIType.STRING
_MOMENT: Final = Schema(type=_TEXT, format=OpenAPIFormat.DATE_TIME)
_LIMIT: Final = Schema(type=OpenAPIType.INTEGER, minimum=1, maximum=MAX_LIMIT, default=DEFAULT_LIMIT)
_QUERY: Final = {
    "limit": (_LIMIT, "Number of transactions to return; not with `format=csv`."),
    "before": (_MOMENT, "Return what was recorded before this; `next_cursor` pages. Not with `format=csv`."),
    "from": (_MOMENT, "Include what was recorded at or after this timestamp."),
    "to": (_MOMENT, "Include what was recorded at or before this timestamp."),
    "kind": (Schema(type=_TEXT, enum=list(_KINDS)), "Only transactions of this kind."),
    "format": (Schema(type=_TEXT, enum=list(_FORMATS)), "`csv`: the whole window as one file."),
}


class TransactionBody(msgspec.Struct):
    """A movement of the balance: negative where it took, with the balance that it left.

    `reason` is what was given as one for credit, adjustments and reversals. `actor` is only in answers to
    service tokens, which see the reasons of all kinds.
    """

    id: str
    object: str
    kind: TransferKind
    amount_usd: Decimal
    balance_after_usd: Decimal
    description: str
    reason: str | None
    reverses_id: str | None
    created_at: datetime
    actor: str | msgspec.UnsetType | None = msgspec.UNSET


class TransactionsBody(msgspec.Struct):
    """The balance and a page of what moved it, newest first; `next_cursor` is the `before` of the next."""

    object: str
    balance: BalanceBody
    data: list[TransactionBody]
    has_more: bool
    next_cursor: datetime | None


@dataclass
class StatementQuery(Operation):
    """The query parameters, and that the answer may be CSV."""

    def __post_init__(self) -> None:
        """State them."""
        self.parameters = [
            *(self.parameters or ()),
            *(
                Parameter(name=name, param_in="query", required=False, schema=schema, description=means)
                for name, (schema, means) in _QUERY.items()
            ),
        ]
        found = (self.responses or {}).get("200")
        if isinstance(found, OpenAPIResponse) and found.content is not None:
            found.content["text/csv"] = OpenAPIMediaType(Schema(type=_TEXT))


@get(
    "/v1/account/transactions",
    guards=[needs_api_key],
    operation_class=StatementQuery,
    opt={READS_QUERY: True},
    responses=error_responses(400, 401),
)
async def list_own_transactions(request: Request[None, ApiKey, Any]) -> Response[TransactionsBody]:
    """Everything that moved the balance of the key's account, newest first; as JSON by pages, or as CSV."""
    return await _answer(request, request.auth.account_id, for_service=False)


@get(
    "/v1/accounts/{account_id:uuid}/transactions",
    guards=[needs_scope("accounts:read")],
    operation_class=StatementQuery,
    opt={READS_QUERY: True},
    responses=error_responses(400, 401, 403, 404),
)
async def list_transactions(
    request: Request[None, ServiceToken, Any], account_id: FromPath[UUID]
) -> Response[TransactionsBody]:
    """Everything that moved the account's balance, newest first; as JSON by pages, or as CSV."""
    return await _answer(request, str(account_id), for_service=True)


async def _answer(request: Request[None, Any, Any], account_id: str, *, for_service: bool) -> Response[Any]:
    given = read_given(request.query_params.multi_items(), tuple(_QUERY))
    window = Window(read_moment("from", given), read_moment("to", given), _kind(given))
    database = services(request).database
    if read_one_of("format", given, _FORMATS) != "csv":
        before, limit = read_cursor(given), read_limit(given)
        statement = await in_thread(get_statement, database, account_id, window, before=before, limit=limit)
        return json_response(render(statement, for_service=for_service))
    for name in ("limit", "before"):
        if name in given:
            raise InvalidParameter("has no meaning with format=csv, which is the whole window", param=name)
    pages = iter_statement(database, account_id, window)
    # Read before the answer begins, so that what goes wrong can still be an answer of its own.
    first = await in_thread(next, pages)
    return Stream(
        _csv(first, pages, for_service=for_service),
        media_type="text/csv; header=present",
        headers={"Content-Disposition": f'attachment; filename="transactions-{account_id}.csv"'},
    )


async def _csv(first: list[Line], pages: Iterator[list[Line]], *, for_service: bool) -> AsyncIterator[bytes]:
    """The file, a page of lines at a time."""
    yield csv_header(for_service=for_service)
    page: list[Line] | None = first
    while page is not None:
        yield await in_thread(csv_lines, page, for_service=for_service)
        page = await in_thread(next, pages, None)


def _kind(given: dict[str, str]) -> TransferKind | None:
    kind = read_one_of("kind", given, _KINDS)
    return None if kind is None else TransferKind(kind)


routes = [list_own_transactions, list_transactions]
