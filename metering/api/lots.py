"""An account's lots: what is left of each credit, in the order of spending; for service tokens."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, get
from litestar.params import FromPath, FromQuery, QueryParameter

from metering.api.encoding import amount, json_response, moment
from metering.api.errors import error_responses
from metering.api.security import needs_scope
from metering.api.state import services
from metering.api.waiting import in_thread
from metering.services import lots
from metering.storage.lot_history import KeptLot
from metering.storage.service_tokens import ServiceToken

Request_ = Request[None, ServiceToken, Any]
WithEmpty = Annotated[bool, QueryParameter(name="all", description="Also lots with nothing left.")]


class LotBody(msgspec.Struct):
    """Credit and what became of it: `amount_usd` is the sum of the four amounts behind it.

    `id` is the transfer that brought it; `grant_id` or `top_up_id` say more about it, both null for goodwill
    and adjustments. `is_frozen`: its top-up is disputed, and what is left can't be used meanwhile.
    """

    id: str
    object: str
    account_id: str
    kind: str
    priority: int
    expires_at: datetime | None
    amount_usd: Decimal
    rest_usd: Decimal
    used_usd: Decimal
    expired_usd: Decimal
    taken_back_usd: Decimal
    grant_id: str | None
    top_up_id: str | None
    is_frozen: bool
    reason: str | None
    created_at: datetime


class LotList(msgspec.Struct):
    """A page of lots, the next to be spent first; `next_cursor` is the `after` of the next page.

    Over all of the account's lots: `rest_usd` less `receivable_usd`, which no lot has paid yet, is
    `balance_usd`, the posted balance.
    """

    data: list[LotBody]
    has_more: bool
    next_cursor: str | None
    rest_usd: Decimal
    receivable_usd: Decimal
    balance_usd: Decimal
    currency: str


@get(
    "/v1/accounts/{account_id:uuid}/lots",
    guards=[needs_scope("accounts:read")],
    responses=error_responses(400, 401, 403, 404),
)
async def list_lots(
    request: Request_,
    account_id: FromPath[UUID],
    after: FromQuery[UUID | None] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=200)] = 100,
    with_empty: WithEmpty = False,  # noqa: FBT002  (a query parameter)
) -> Response[LotList]:
    """What is left of each credit, brought up to date; credit whose time is up has expired first."""
    page = await in_thread(
        lots.list_lots,
        services(request).database,
        str(account_id),
        with_empty=with_empty,
        after=None if after is None else str(after),
        limit=limit,
    )
    body = {
        "data": [_lot_body(lot, str(account_id)) for lot in page.lots],
        "has_more": page.has_more,
        "next_cursor": page.lots[-1].id if page.has_more else None,
        "rest_usd": amount(page.totals.rest_pico),
        "receivable_usd": amount(page.totals.owed_pico),
        "balance_usd": amount(page.totals.balance_pico),
        "currency": "USD",
    }
    return json_response(body)


def _lot_body(lot: KeptLot, account_id: str) -> dict[str, object]:
    return {
        "id": lot.id,
        "object": "lot",
        "account_id": account_id,
        "kind": lot.kind,
        "priority": lot.priority,
        "expires_at": moment(lot.expires_at),
        "amount_usd": amount(lot.amount_pico),
        "rest_usd": amount(lot.rest_pico),
        "used_usd": amount(lot.used_pico),
        "expired_usd": amount(lot.expired_pico),
        "taken_back_usd": amount(lot.taken_back_pico),
        "grant_id": lot.grant_id,
        "top_up_id": lot.top_up_id,
        "is_frozen": lot.is_frozen,
        "reason": lot.reason,
        "created_at": moment(lot.created_at),
    }


routes = [list_lots]
