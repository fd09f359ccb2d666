"""Customers' webhook endpoints: for their owner."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, delete, get, patch, post
from litestar.params import FromPath, FromQuery, QueryParameter
from msgspec import UNSET, Meta, UnsetType

from metering.api.documentation import body_of
from metering.api.encoding import PRINTABLE, json_response, moment, read_json
from metering.api.errors import error_responses
from metering.api.security import needs_api_key
from metering.api.state import services
from metering.api.waiting import in_thread
from metering.ledger.notices import NoticeType
from metering.services import webhook_endpoints
from metering.services.webhook_endpoints import EndpointChanges
from metering.storage.api_keys import ApiKey
from metering.storage.webhook_deliveries import Delivery
from metering.storage.webhook_endpoints import Endpoint

Request_ = Request[None, ApiKey, Any]
Url = Annotated[str, Meta(min_length=1, max_length=2_000, pattern=PRINTABLE)]
Types = Annotated[list[NoticeType], Meta(min_length=1, max_length=len(NoticeType))]
Moment = Annotated[datetime, Meta(tz=True)]


class CreateWebhookEndpoint(msgspec.Struct, forbid_unknown_fields=True):
    """Where to tell, an https URL; and of what, which is everything unless named."""

    url: Url
    types: Types | None = None


class ChangeWebhookEndpoint(msgspec.Struct, forbid_unknown_fields=True):
    """What to change; what is left out stays."""

    url: Url | UnsetType = UNSET
    types: Types | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET


class ReplayNotices(msgspec.Struct, forbid_unknown_fields=True):
    """One notice, or all since a time within the last 30 days."""

    notice_id: UUID | None = None
    since: Moment | None = None


class WebhookEndpointBody(msgspec.Struct):
    """An endpoint; `secret` only in the answer that made it. `off_reason` is why we switched it off."""

    id: str
    object: str
    url: str
    types: list[NoticeType]
    enabled: bool
    off_reason: str | None
    created_at: datetime
    secret: str | UnsetType = UNSET


class WebhookEndpointList(msgspec.Struct):
    """An account's endpoints, oldest first."""

    data: list[WebhookEndpointBody]


class WebhookDeliveryBody(msgspec.Struct):
    """A notice on its way to an endpoint: waiting, delivered or failed. `id` is the notice's."""

    id: str
    object: str
    type: NoticeType
    state: str
    attempts: int
    response_status: int | None
    failure: str | None
    created_at: datetime
    next_attempt_at: datetime | None
    delivered_at: datetime | None


class WebhookDeliveryList(msgspec.Struct):
    """A page of deliveries, newest notice first; `next_cursor` is the `before` of the next."""

    data: list[WebhookDeliveryBody]
    has_more: bool
    next_cursor: str | None


class ReplayedBody(msgspec.Struct):
    """How many notices are sent again."""

    object: str
    replayed: int


@post(
    "/v1/account/webhooks",
    guards=[needs_api_key],
    operation_class=body_of(CreateWebhookEndpoint),
    responses=error_responses(400, 401, 409, 413),
)
async def create_webhook_endpoint(request: Request_) -> Response[WebhookEndpointBody]:
    """Be told by calls to a URL, signed by Standard Webhooks; the answer alone shows the secret."""
    data = await read_json(request, CreateWebhookEndpoint)
    ours = services(request)
    endpoint, secret = await in_thread(
        webhook_endpoints.create_endpoint,
        ours.database,
        request.auth.account_id,
        data.url,
        tuple(NoticeType) if data.types is None else data.types,
        allows_private=ours.webhooks_to_private,
    )
    return json_response({**_body(endpoint), "secret": secret}, 201)


@get("/v1/account/webhooks", guards=[needs_api_key], responses=error_responses(400, 401))
async def list_webhook_endpoints(request: Request_) -> Response[WebhookEndpointList]:
    """Where the account is told."""
    database, account_id = services(request).database, request.auth.account_id
    found = await in_thread(webhook_endpoints.list_endpoints, database, account_id)
    return json_response({"data": [_body(endpoint) for endpoint in found]})


@patch(
    "/v1/account/webhooks/{endpoint_id:uuid}",
    guards=[needs_api_key],
    operation_class=body_of(ChangeWebhookEndpoint),
    responses=error_responses(400, 401, 404, 413),
)
async def update_webhook_endpoint(
    request: Request_, endpoint_id: FromPath[UUID]
) -> Response[WebhookEndpointBody]:
    """Change an endpoint, or switch it on or off; what waits for it when it goes off is given up."""
    data = await read_json(request, ChangeWebhookEndpoint)
    changes: EndpointChanges = {}
    if data.url is not UNSET:
        changes["url"] = data.url
    if data.types is not UNSET:
        changes["types"] = data.types
    if data.enabled is not UNSET:
        changes["is_enabled"] = data.enabled
    ours = services(request)
    changed = await in_thread(
        webhook_endpoints.update_endpoint,
        ours.database,
        request.auth.account_id,
        str(endpoint_id),
        changes,
        allows_private=ours.webhooks_to_private,
    )
    return json_response(_body(changed))


@delete(
    "/v1/account/webhooks/{endpoint_id:uuid}",
    guards=[needs_api_key],
    status_code=200,
    responses=error_responses(400, 401, 404),
)
async def remove_webhook_endpoint(
    request: Request_, endpoint_id: FromPath[UUID]
) -> Response[WebhookEndpointBody]:
    """Remove an endpoint: it is told nothing more."""
    database, account_id = services(request).database, request.auth.account_id
    removed = await in_thread(webhook_endpoints.remove_endpoint, database, account_id, str(endpoint_id))
    return json_response(_body(removed))


@get(
    "/v1/account/webhooks/{endpoint_id:uuid}/deliveries",
    guards=[needs_api_key],
    responses=error_responses(400, 401, 404),
)
async def list_webhook_deliveries(
    request: Request_,
    endpoint_id: FromPath[UUID],
    before: FromQuery[UUID | None] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=200)] = 100,
) -> Response[WebhookDeliveryList]:
    """What was sent to an endpoint, and what it answered; newest notice first."""
    found = await in_thread(
        webhook_endpoints.list_deliveries,
        services(request).database,
        request.auth.account_id,
        str(endpoint_id),
        before=None if before is None else str(before),
        limit=limit + 1,
    )
    page, more = found[:limit], len(found) > limit
    cursor = page[-1].notice_id if more else None
    body = {"data": [_delivery(one) for one in page], "has_more": more, "next_cursor": cursor}
    return json_response(body)


@post(
    "/v1/account/webhooks/{endpoint_id:uuid}/replay",
    guards=[needs_api_key],
    operation_class=body_of(ReplayNotices),
    status_code=200,
    responses=error_responses(400, 401, 404, 413),
)
async def replay_notices(request: Request_, endpoint_id: FromPath[UUID]) -> Response[ReplayedBody]:
    """Send a notice again, or all since a time; those that wait to be sent anyway don't count."""
    data = await read_json(request, ReplayNotices)
    replayed = await in_thread(
        webhook_endpoints.replay,
        services(request).database,
        request.auth.account_id,
        str(endpoint_id),
        notice_id=None if data.notice_id is None else str(data.notice_id),
        since=data.since,
    )
    return json_response({"object": "webhook_replay", "replayed": replayed})


def _body(endpoint: Endpoint) -> dict[str, object]:
    return {
        "id": endpoint.id,
        "object": "webhook_endpoint",
        "url": endpoint.url,
        "types": endpoint.types,
        "enabled": endpoint.is_enabled,
        "off_reason": endpoint.off_reason,
        "created_at": moment(endpoint.created_at),
    }


def _delivery(delivery: Delivery) -> dict[str, object]:
    shown = delivery._asdict()
    kind, notice_id = shown.pop("kind"), shown.pop("notice_id")
    for name in ("created_at", "next_attempt_at", "delivered_at"):
        shown[name] = moment(shown[name])
    return {"id": notice_id, "object": "webhook_delivery", "type": kind, **shown}


routes = [
    create_webhook_endpoint,
    list_webhook_endpoints,
    update_webhook_endpoint,
    remove_webhook_endpoint,
    list_webhook_deliveries,
    replay_notices,
]
