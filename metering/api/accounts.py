"""Accounts and their credit: for service tokens."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, cast
from uuid import UUID

import msgspec
from litestar import Request, Response, get, patch, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, FromQuery, QueryParameter
from msgspec import UNSET, Meta, UnsetType

from metering.api.documentation import body_of
from metering.api.encoding import (
    AMOUNT_PATTERN,
    PRINTABLE,
    amount,
    json_response,
    moment,
    read_amount,
    read_json,
)
from metering.api.errors import error_responses
from metering.api.parameters import IdempotencyKey, require_idempotency_key
from metering.api.security import needs_scope
from metering.api.state import services
from metering.api.waiting import in_thread
from metering.errors import InvalidParameter
from metering.ledger.balance import Balance
from metering.ledger.grants import DEFAULT_PRIORITY
from metering.services import accounts, grants
from metering.services.accounts import AccountChanges, AccountView
from metering.services.cashier import low_balance_of
from metering.services.texts import EMAIL_PATTERN, MAX_EMAIL
from metering.storage.service_tokens import ServiceToken

Name = Annotated[str, Meta(min_length=1, max_length=255, pattern=PRINTABLE)]
Note = Annotated[str, Meta(min_length=1, max_length=2_000, pattern=PRINTABLE)]
Key = Annotated[str, Meta(max_length=255, pattern=PRINTABLE)]
Whole = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Dollars = Annotated[
    msgspec.Raw,
    Meta(
        extra_json_schema={
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0, "maximum": 10**9},
                {"type": "string", "pattern": AMOUNT_PATTERN, "maxLength": 40},
            ]
        }
    ),
]
# Checked where it is kept; this is what the documentation says.
Email = Annotated[
    str, Meta(max_length=MAX_EMAIL, extra_json_schema={"pattern": EMAIL_PATTERN, "format": "email"})
]
Metadata = dict[Key, Note | int | bool | None]
Request_ = Request[None, ServiceToken, Any]


class CreateAccount(msgspec.Struct, forbid_unknown_fields=True):
    """A new account; the limits' defaults are 50 keys, 50 requests and 2,000,000 tokens a minute.

    Receipts and warnings are mailed to `email`.
    """

    name: Name
    metadata: Metadata | None = None
    key_limit: Whole = accounts.KEY_LIMIT
    requests_per_minute: Whole = accounts.REQUESTS_PER_MINUTE
    tokens_per_minute: Whole = accounts.TOKENS_PER_MINUTE
    email: Email | None = None


class ChangeAccount(msgspec.Struct, forbid_unknown_fields=True):
    """What to change; what is left out stays. `metadata` are replaced as a whole.

    null takes metadata, or the email, away.
    """

    name: Name | UnsetType = UNSET
    metadata: Metadata | UnsetType | None = UNSET
    key_limit: Whole | UnsetType = UNSET
    requests_per_minute: Whole | UnsetType = UNSET
    tokens_per_minute: Whole | UnsetType = UNSET
    email: Email | UnsetType | None = UNSET


class CreateGrant(msgspec.Struct, forbid_unknown_fields=True):
    """Credit: `paid` outside the card processor, or `promotional`; `amount_usd` as a number or a string.

    `amount` is the same as `amount_usd`; the idempotency key may come as a header instead.
    """

    kind: Literal["paid", "promotional"]
    reason: Note
    idempotency_key: Name | None = None
    priority: Whole = DEFAULT_PRIORITY
    expires_at: Annotated[datetime, Meta(tz=True)] | None = None
    amount_usd: Dollars = msgspec.field(default_factory=msgspec.Raw)
    amount: Annotated[Dollars, Meta(extra_json_schema={"deprecated": True})] = msgspec.field(
        default_factory=msgspec.Raw
    )


class BalanceBody(msgspec.Struct):
    """US dollars: `available` is `posted` less `held` and less `frozen`, which is credit under dispute."""

    posted: Decimal
    held: Decimal
    frozen: Decimal
    available: Decimal
    currency: str
    updated_at: datetime | None


class AccountBody(msgspec.Struct):
    """An account and its balance."""

    id: str
    object: str
    name: str
    metadata: dict[str, str | int | bool | None] | None
    key_limit: int
    requests_per_minute: int
    tokens_per_minute: int
    created_at: datetime
    email: str | None
    balance: BalanceBody


class GrantBody(msgspec.Struct):
    """Credit as granted; `balance` is the posted balance that it left."""

    id: str
    object: str
    account_id: str
    kind: str
    amount_usd: Decimal
    reason: str
    priority: int
    expires_at: datetime | None
    transfer_id: str
    balance: Decimal
    created_at: datetime


class AccountList(msgspec.Struct):
    """A page of accounts; `next_cursor` is the `after` of the next."""

    data: list[AccountBody]
    has_more: bool
    next_cursor: str | None


def balance_body(balance: Balance) -> dict[str, object]:
    """The balance as an answer has it."""
    return {
        "posted": amount(balance.posted_pico),
        "held": amount(balance.held_pico),
        "frozen": amount(balance.frozen_pico),
        "available": amount(balance.available_pico),
        "currency": "USD",
        "updated_at": moment(balance.updated_at),
    }


def account_body(view: AccountView) -> dict[str, object]:
    """The account as an answer has it."""
    fields = view.account._asdict()
    account_id = fields.pop("account_id")
    fields["created_at"] = moment(view.account.created_at)
    return {"id": account_id, "object": "account", **fields, "balance": balance_body(view.balance)}


@post(
    "/v1/accounts",
    guards=[needs_scope("accounts:write")],
    operation_class=body_of(CreateAccount),
    responses=error_responses(400, 401, 403, 413),
)
async def create_account(request: Request_) -> Response[AccountBody]:
    """Open an account."""
    data = await read_json(request, CreateAccount)
    ours = services(request)
    view = await in_thread(
        accounts.create_account,
        ours.database,
        data.name,
        metadata=data.metadata,
        key_limit=data.key_limit,
        requests_per_minute=data.requests_per_minute,
        tokens_per_minute=data.tokens_per_minute,
        email=data.email,
        low_balance_pico=low_balance_of(ours.cashier),
    )
    return json_response(account_body(view), 201)


@get("/v1/accounts", guards=[needs_scope("accounts:read")], responses=error_responses(400, 401, 403))
async def list_accounts(
    request: Request_,
    after: FromQuery[UUID | None] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=200)] = 100,
) -> Response[AccountList]:
    """Accounts in the order they were opened."""
    start = None if after is None else str(after)
    found = await in_thread(accounts.list_accounts, services(request).database, after=start, limit=limit + 1)
    page = found[:limit]
    more = len(found) > limit
    cursor = page[-1].account.account_id if more else None
    return json_response(
        {"data": [account_body(view) for view in page], "has_more": more, "next_cursor": cursor}
    )


@get(
    "/v1/accounts/{account_id:uuid}",
    guards=[needs_scope("accounts:read")],
    responses=error_responses(400, 401, 403, 404),
)
async def get_account(request: Request_, account_id: FromPath[UUID]) -> Response[AccountBody]:
    """An account and its balance."""
    view = await in_thread(accounts.get_account, services(request).database, str(account_id))
    return json_response(account_body(view))


@patch(
    "/v1/accounts/{account_id:uuid}",
    guards=[needs_scope("accounts:write")],
    operation_class=body_of(ChangeAccount),
    responses=error_responses(400, 401, 403, 404, 413),
)
async def update_account(request: Request_, account_id: FromPath[UUID]) -> Response[AccountBody]:
    """Change an account's name, metadata, email or limits; limits hold from the next request on."""
    data = await read_json(request, ChangeAccount)
    given = {name: value for name, value in msgspec.structs.asdict(data).items() if value is not UNSET}
    changes = cast("AccountChanges", given)
    view = await in_thread(accounts.update_account, services(request).database, str(account_id), changes)
    return json_response(account_body(view))


@post(
    "/v1/accounts/{account_id:uuid}/grants",
    guards=[needs_scope("credits:write")],
    operation_class=body_of(CreateGrant, required=("amount_usd",)),
    responses=error_responses(400, 401, 403, 404, 409, 413)
    | {200: ResponseSpec(GrantBody, generate_examples=False, description="It was granted before.")},
)
async def create_grant(
    request: Request_,
    account_id: FromPath[UUID],
    idempotency_header: IdempotencyKey = None,
) -> Response[GrantBody]:
    """Give credit, once per idempotency key: 201 where it was given now, 200 where it was before."""
    data = await read_json(request, CreateGrant)
    key = require_idempotency_key(data.idempotency_key, idempotency_header, verb="grant")
    if bytes(data.amount_usd) and bytes(data.amount):
        raise InvalidParameter("is the same as amount_usd: send one of them", param="amount")
    pico = read_amount(data.amount if bytes(data.amount) else data.amount_usd, "amount_usd")
    wanted = grants.Wanted(data.kind, pico, data.reason, request.auth.name, data.priority, data.expires_at)
    grant, is_new = await in_thread(
        grants.grant_credit, services(request).database, str(account_id), wanted, key
    )
    body = {
        "id": grant.id,
        "object": "grant",
        "account_id": grant.account_id,
        "kind": grant.kind,
        "amount_usd": amount(grant.amount_pico),
        "reason": grant.reason,
        "priority": grant.priority,
        "expires_at": moment(grant.expires_at),
        "transfer_id": grant.transfer_id,
        "balance": amount(grant.balance_after_pico),
        "created_at": moment(grant.created_at),
    }
    return json_response(body, 201 if is_new else 200)


routes = [
    create_account,
    list_accounts,
    get_account,
    update_account,
    create_grant,
]
