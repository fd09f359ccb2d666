"""Customers' API keys: for service tokens."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Final
from uuid import UUID

import msgspec
from litestar import Response, delete, get, patch, post
from litestar.params import FromPath
from msgspec import UNSET, Meta, UnsetType

from metering.api.accounts import Dollars, Name, Request_
from metering.api.documentation import body_of
from metering.api.encoding import amount, json_response, moment, read_amount, read_json
from metering.api.errors import error_responses
from metering.api.security import needs_scope
from metering.api.state import services
from metering.api.waiting import in_thread
from metering.ledger.budgets import BudgetPeriod, BudgetTerms
from metering.services import api_keys
from metering.services.api_keys import KeyChanges, KeyView

_MOST_SECONDS: Final = int(api_keys.MAX_OVERLAP.total_seconds())
Moment = Annotated[datetime, Meta(tz=True)]


class WantedBudget(msgspec.Struct, forbid_unknown_fields=True):
    """At most `amount_usd` in each day or month of UTC, or in total."""

    amount_usd: Dollars
    period: BudgetPeriod


class CreateApiKey(msgspec.Struct, forbid_unknown_fields=True):
    """A new API key for the account's customer; without `expires_at` it has no end."""

    name: Name | None = None
    expires_at: Moment | None = None
    budget: WantedBudget | None = None


class RotateApiKey(msgspec.Struct, forbid_unknown_fields=True):
    """For how long the old key goes on working."""

    overlap_seconds: Annotated[int, Meta(ge=0, le=_MOST_SECONDS)] = 0


class ChangeApiKey(msgspec.Struct, forbid_unknown_fields=True):
    """What to change; null takes away, what is left out stays."""

    name: Name | UnsetType | None = UNSET
    expires_at: Moment | UnsetType | None = UNSET
    budget: WantedBudget | UnsetType | None = UNSET


class BudgetBody(msgspec.Struct):
    """What the key may spend in each period, what it was charged in the current one, and what it holds."""

    amount_usd: Decimal
    period: BudgetPeriod
    spent_usd: Decimal
    held_usd: Decimal


class ApiKeyBody(msgspec.Struct):
    """What can be told of a key; `key` itself only in the answer that made it.

    `replaces_id` is the key that it was made for in a rotation; `last_used_at` is right to a minute.
    """

    id: str
    object: str
    account_id: str
    name: str | None
    prefix: str
    last_four: str
    created_at: datetime
    revoked_at: datetime | None
    expires_at: datetime | None
    last_used_at: datetime | None
    replaces_id: str | None
    budget: BudgetBody | None
    key: str | UnsetType = UNSET


class ApiKeyList(msgspec.Struct):
    """An account's keys, oldest first."""

    data: list[ApiKeyBody]


@post(
    "/v1/accounts/{account_id:uuid}/keys",
    guards=[needs_scope("accounts:write")],
    operation_class=body_of(CreateApiKey, is_optional=True),
    responses=error_responses(400, 401, 403, 404, 409, 413),
)
async def create_api_key(request: Request_, account_id: FromPath[UUID]) -> Response[ApiKeyBody]:
    """Make an API key for the account; the answer is the only place that shows it."""
    data = await read_json(request, CreateApiKey) if await request.body() else CreateApiKey()
    ours = services(request)
    key, secret = await in_thread(
        api_keys.create_api_key,
        ours.database,
        str(account_id),
        prefix=ours.api_key_prefix,
        name=data.name,
        expires_at=data.expires_at,
        budget=_budget(data.budget),
    )
    return json_response({**_key_body(KeyView(key)), "key": secret}, 201)


@get(
    "/v1/accounts/{account_id:uuid}/keys",
    guards=[needs_scope("accounts:read")],
    responses=error_responses(400, 401, 403, 404),
)
async def list_api_keys(request: Request_, account_id: FromPath[UUID]) -> Response[ApiKeyList]:
    """The account's keys, by prefix and last four characters."""
    found = await in_thread(api_keys.list_api_keys, services(request).database, str(account_id))
    return json_response({"data": [_key_body(view) for view in found]})


@patch(
    "/v1/accounts/{account_id:uuid}/keys/{key_id:uuid}",
    guards=[needs_scope("accounts:write")],
    operation_class=body_of(ChangeApiKey),
    responses=error_responses(400, 401, 403, 404, 409, 413),
)
async def update_api_key(
    request: Request_, account_id: FromPath[UUID], key_id: FromPath[UUID]
) -> Response[ApiKeyBody]:
    """Change a key's name, end or budget; what is left out stays."""
    data = await read_json(request, ChangeApiKey)
    changes: KeyChanges = {}
    if data.name is not UNSET:
        changes["name"] = data.name
    if data.expires_at is not UNSET:
        changes["expires_at"] = data.expires_at
    if data.budget is not UNSET:
        changes["budget"] = _budget(data.budget)
    ours = services(request)
    view = await in_thread(api_keys.update_api_key, ours.database, str(account_id), str(key_id), changes)
    ours.security.forget()
    return json_response(_key_body(view))


@post(
    "/v1/accounts/{account_id:uuid}/keys/{key_id:uuid}/rotate",
    guards=[needs_scope("accounts:write")],
    operation_class=body_of(RotateApiKey, is_optional=True),
    responses=error_responses(400, 401, 403, 404, 409, 413),
)
async def rotate_api_key(
    request: Request_, account_id: FromPath[UUID], key_id: FromPath[UUID]
) -> Response[ApiKeyBody]:
    """Make the key that replaces this one, with its name, end and budget; the old one ends by the overlap."""
    data = await read_json(request, RotateApiKey) if await request.body() else RotateApiKey()
    ours = services(request)
    key, secret = await in_thread(
        api_keys.rotate_api_key,
        ours.database,
        str(account_id),
        str(key_id),
        prefix=ours.api_key_prefix,
        overlap=timedelta(seconds=data.overlap_seconds),
    )
    ours.security.forget()
    return json_response({**_key_body(KeyView(key)), "key": secret}, 201)


@delete(
    "/v1/accounts/{account_id:uuid}/keys/{key_id:uuid}",
    guards=[needs_scope("accounts:write")],
    status_code=200,
    responses=error_responses(400, 401, 403, 404),
)
async def revoke_api_key(
    request: Request_, account_id: FromPath[UUID], key_id: FromPath[UUID]
) -> Response[ApiKeyBody]:
    """Revoke a key: it is refused from now on, elsewhere within seconds."""
    ours = services(request)
    view = await in_thread(api_keys.revoke_api_key, ours.database, str(account_id), str(key_id))
    ours.security.forget()
    return json_response(_key_body(view))


def _budget(wanted: WantedBudget | None) -> BudgetTerms | None:
    if wanted is None:
        return None
    return BudgetTerms(read_amount(wanted.amount_usd, "budget.amount_usd"), wanted.period)


def _key_body(view: KeyView) -> dict[str, object]:
    key, (spent_pico, held_pico) = view
    shown: dict[str, object] = {"object": "api_key", **key._asdict()}
    for name in ("created_at", "revoked_at", "expires_at", "last_used_at"):
        shown[name] = moment(getattr(key, name))
    if key.budget is not None:
        shown["budget"] = {
            "amount_usd": amount(key.budget.amount_pico),
            "period": key.budget.period,
            "spent_usd": amount(spent_pico),
            "held_usd": amount(held_pico),
        }
    return shown


routes = [create_api_key, list_api_keys, update_api_key, rotate_api_key, revoke_api_key]
