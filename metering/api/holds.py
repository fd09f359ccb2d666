"""Holds: what a gateway asks before each request, while it streams, and when nothing comes of it."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Final, NamedTuple
from uuid import UUID

import msgspec
from litestar import Response, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, FromQuery, QueryParameter
from msgspec import Meta

from metering import clock, ids
from metering.api.accounts import BalanceBody, Dollars, Name, Request_, balance_body
from metering.api.documentation import body_of
from metering.api.encoding import amount, json_response, moment, read_amount, read_json
from metering.api.errors import error_responses
from metering.api.parameters import IdempotencyKey, read_idempotency_key
from metering.api.security import needs_scope
from metering.api.state import Services, services
from metering.api.waiting import committed, in_thread
from metering.errors import InvalidParameter, MeteringError
from metering.ledger.holds import MAX_HOLD_PICO, Hold, HoldState
from metering.money import to_number
from metering.services.authorizing import Authorize, Command, Extend, Held, Void
from metering.usage.normalize import LIMIT

_CANONICAL: Final = msgspec.json.Encoder(order="sorted", decimal_format="number")
# An estimate names a few figures; what nests deeper or has more parts is none.
_MAX_PARTS: Final = 64
_LASTS_SECONDS: Final = 600

Secret = Annotated[str, Meta(min_length=1, max_length=512)]
Lasts = Annotated[int, Meta(ge=1, le=86_400)]


class _Priced(msgspec.Struct, forbid_unknown_fields=True):
    """`amount_usd`, or a `model` with an upper estimate of its `usage` that the price book turns into one."""

    model: Name | None = None
    usage: dict[str, Any] | None = None
    idempotency_key: Name | None = None
    amount_usd: Dollars = msgspec.field(default_factory=msgspec.Raw)


class CreateHold(_Priced, forbid_unknown_fields=True):
    """Money to be set aside: `amount_usd`, or a `model` with an upper estimate of its `usage`.

    For an account, named by `account_id` (and the key by `api_key_id`), or by the customer's `api_key` as
    it was presented. `tokens` count in the account's tokens per minute; by default the estimate's.
    """

    account_id: UUID | None = None
    api_key: Secret | None = None
    api_key_id: UUID | None = None
    tokens: Annotated[int, Meta(ge=0, lt=LIMIT)] | None = None
    expires_in_seconds: Lasts = _LASTS_SECONDS


class ExtendHold(_Priced, forbid_unknown_fields=True):
    """An increment: `amount_usd`, or a `model` with an upper estimate of its `usage`.

    With `expires_in_seconds` the hold lasts so long from now at the least.
    """

    expires_in_seconds: Lasts | None = None


class HoldBody(msgspec.Struct):
    """A hold and its account's balance. `amount_usd` is what is set aside, extensions included.

    `captured_usd` and `event_id` are of the event that ended it; `tokens` count in the tokens per minute.
    """

    id: str
    object: str
    account_id: str
    api_key_id: str | None
    state: HoldState
    amount_usd: Decimal
    authorized_usd: Decimal
    captured_usd: Decimal | None
    event_id: str | None
    model: str | None
    tokens: int
    created_at: datetime
    expires_at: datetime
    closed_at: datetime | None
    balance: BalanceBody | msgspec.UnsetType = msgspec.UNSET


class ExtendedBody(HoldBody, kw_only=True):
    """The hold after an extension; `overspend_usd` is by how much that went beyond what was available."""

    overspend_usd: Decimal


class HoldList(msgspec.Struct):
    """A page of holds, and their account's balance; `next_cursor` is the `after` of the next."""

    data: list[HoldBody]
    has_more: bool
    next_cursor: str | None
    balance: BalanceBody


class _Wanted(NamedTuple):
    """What is to be set aside, or why that can't be said; and what the body says of it, for the digest."""

    amount_pico: int
    tokens: int
    body: tuple[object, ...]
    refusal: MeteringError | None = None


@post(
    "/v1/holds",
    guards=[needs_scope("holds:write")],
    operation_class=body_of(CreateHold),
    responses=error_responses(400, 401, 402, 403, 404, 409, 413, 429)
    | {200: ResponseSpec(HoldBody, generate_examples=False, description="It was granted before.")},
)
async def create_hold(request: Request_, idempotency_header: IdempotencyKey = None) -> Response[HoldBody]:
    """Let a request in: good key, requests and tokens per minute, budget and credit; and set money aside.

    201 where it was granted now, 200 where it was before under the same idempotency key. An event with the
    hold's id captures it; until then it counts as held, and for nothing once it has expired. Where no
    answer comes, send the same with the same idempotency key again.
    """
    data = await read_json(request, CreateHold)
    if (data.account_id is None) == (data.api_key is None):
        raise InvalidParameter("send either account_id or api_key", param="account_id")
    if data.api_key is not None and data.api_key_id is not None:
        raise InvalidParameter("goes with account_id: api_key names the key itself", param="api_key_id")
    ours = services(request)
    key = read_idempotency_key(data.idempotency_key, idempotency_header)
    wanted = _priced(data, ours, may_repeat=key is not None)
    account_id = None if data.account_id is None else str(data.account_id)
    key_hash = None if data.api_key is None else ids.hash_secret(data.api_key)
    api_key_id = None if data.api_key_id is None else str(data.api_key_id)
    tokens, seconds = data.tokens, data.expires_in_seconds
    secret = None if key_hash is None else key_hash.hex()
    command = Authorize(
        id=ids.new_id(),
        account_id=account_id,
        key_hash=key_hash,
        api_key_id=api_key_id,
        amount_pico=wanted.amount_pico,
        model=data.model,
        tokens=wanted.tokens if tokens is None else tokens,
        lasts=timedelta(seconds=seconds),
        idempotency_key=key,
        body_digest=_digest(account_id, secret, api_key_id, *wanted.body, tokens, seconds),
        refusal=wanted.refusal,
    )
    held = await _apply(ours, command)
    return json_response(_body(held), 200 if held.verb == "repeated" else 201)


@post(
    "/v1/holds/{hold_id:uuid}/extend",
    guards=[needs_scope("holds:write")],
    status_code=200,
    operation_class=body_of(ExtendHold),
    responses=error_responses(400, 401, 402, 403, 404, 409, 413),
)
async def extend_hold(
    request: Request_, hold_id: FromPath[UUID], idempotency_header: IdempotencyKey = None
) -> Response[ExtendedBody]:
    """Add an increment to the hold of a running stream, as long as anything is available.

    So a stream overspends by less than one increment: `overspend_usd` says by how much the balance may go
    below zero, and the next extension is refused. The key is not looked at again: work that has begun goes
    on, within the key's budget.
    """
    data = await read_json(request, ExtendHold)
    ours = services(request)
    key = read_idempotency_key(data.idempotency_key, idempotency_header)
    wanted = _priced(data, ours, may_repeat=key is not None)
    seconds = data.expires_in_seconds
    command = Extend(
        id=ids.new_id(),
        hold_id=str(hold_id),
        increment_pico=wanted.amount_pico,
        lasts=None if seconds is None else timedelta(seconds=seconds),
        idempotency_key=key,
        body_digest=_digest(*wanted.body, seconds),
        refusal=wanted.refusal,
    )
    held = await _apply(ours, command)
    return json_response({**_body(held), "overspend_usd": amount(held.overspend_pico)})


@post(
    "/v1/holds/{hold_id:uuid}/void",
    guards=[needs_scope("holds:write")],
    status_code=200,
    responses=error_responses(400, 401, 403, 404, 409),
)
async def void_hold(request: Request_, hold_id: FromPath[UUID]) -> Response[HoldBody]:
    """Release a hold; one that was voided or has expired is answered as it is."""
    return json_response(_body(await _apply(services(request), Void(str(hold_id)))))


@get(
    "/v1/holds/{hold_id:uuid}",
    guards=[needs_scope("holds:write")],
    responses=error_responses(400, 401, 403, 404),
)
async def get_hold(request: Request_, hold_id: FromPath[UUID]) -> Response[HoldBody]:
    """A hold as it is now, and its account's balance."""
    return json_response(_body(await in_thread(services(request).holds.get_hold, str(hold_id))))


@get(
    "/v1/accounts/{account_id:uuid}/holds",
    guards=[needs_scope("holds:write")],
    responses=error_responses(400, 401, 403, 404),
)
async def list_holds(
    request: Request_,
    account_id: FromPath[UUID],
    wanted_state: Annotated[HoldState | None, QueryParameter(name="state")] = None,
    after: FromQuery[UUID | None] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=200)] = 100,
) -> Response[HoldList]:
    """The account's holds, oldest first; of one state, as they are now."""
    start = None if after is None else str(after)
    page = await in_thread(
        services(request).holds.list_holds, str(account_id), state=wanted_state, after=start, limit=limit + 1
    )
    shown = page.holds[:limit]
    more = len(page.holds) > limit
    body = {
        "data": [_hold_body(hold) for hold in shown],
        "has_more": more,
        "next_cursor": shown[-1].id if more else None,
        "balance": balance_body(page.balance),
    }
    return json_response(body)


async def _apply(ours: Services, command: Command) -> Held:
    """The command's outcome, after COMMIT; raises the refusal."""
    (outcome,) = await committed(ours.hold_commits.submit([command]))
    if isinstance(outcome, MeteringError):
        raise outcome
    return outcome


def _priced(data: _Priced, ours: Services, *, may_repeat: bool) -> _Wanted:
    """The amount that is named, or that the price book gives for the estimate.

    Where the call may repeat another, what the book refuses is left to the command: the book may be a newer
    one than the first call's, whose answer stands.
    """
    if bytes(data.amount_usd):
        if data.usage is not None:
            raise InvalidParameter("send either amount_usd or a model with its usage", param="usage")
        pico = read_amount(data.amount_usd, "amount_usd")
        _require_possible(pico, "amount_usd")
        return _Wanted(pico, 0, (pico, data.model, None))
    if data.model is None or data.usage is None:
        raise InvalidParameter("send amount_usd, or a model with its usage", param="amount_usd")
    try:
        usage = _CANONICAL.encode(data.usage)
    except RecursionError as error:
        raise InvalidParameter("nests too deeply", param="usage") from error
    if usage.count(b"{") + usage.count(b"[") > _MAX_PARTS:
        raise InvalidParameter(f"has more than {_MAX_PARTS} objects and lists", param="usage")
    body = None, data.model, usage.decode()
    try:
        estimate = ours.holds.estimate(data.model, data.usage, clock.now())
        _require_possible(estimate.amount_pico, "usage")
    except MeteringError as refusal:
        if not may_repeat:
            raise
        return _Wanted(0, 0, body, refusal)
    return _Wanted(estimate.amount_pico, estimate.tokens, body)


def _require_possible(pico: int, param: str) -> None:
    if pico > MAX_HOLD_PICO:
        raise InvalidParameter(f"must be at most {to_number(MAX_HOLD_PICO)} dollars", param=param)


def _digest(*parts: object) -> bytes:
    """SHA-256 of what is asked for: the same idempotency key with another digest is a conflict."""
    return hashlib.sha256(_CANONICAL.encode(parts)).digest()


def _body(held: Held) -> dict[str, object]:
    return {**_hold_body(held.hold), "balance": balance_body(held.balance)}


def _hold_body(hold: Hold) -> dict[str, object]:
    return {
        "id": hold.id,
        "object": "hold",
        "account_id": hold.account_id,
        "api_key_id": hold.api_key_id,
        "state": hold.state.value,
        "amount_usd": amount(hold.amount_pico),
        "authorized_usd": amount(hold.authorized_pico),
        "captured_usd": None if hold.captured_pico is None else amount(hold.captured_pico),
        "event_id": hold.event_id,
        "model": hold.model,
        "tokens": hold.tokens,
        "created_at": moment(hold.created_at),
        "expires_at": moment(hold.expires_at),
        "closed_at": moment(hold.closed_at),
    }


routes = [create_hold, extend_hold, void_hold, get_hold, list_holds]
