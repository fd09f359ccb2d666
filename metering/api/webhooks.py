"""The door of the payment processor: what it tells is kept, answered, and settled behind the answer."""

from __future__ import annotations

from typing import Any, Final

import anyio
import anyio.to_thread
import msgspec
from litestar import Request, Response, post
from litestar.background_tasks import BackgroundTask

from metering import telemetry
from metering.api.encoding import json_response
from metering.api.errors import error_responses
from metering.api.state import cashier, services
from metering.api.waiting import in_thread
from metering.errors import InvalidSignature, MeteringError
from metering.services.cashier import Cashier
from metering.services.processor_events import receive, settle_message

HEADER: Final = "Stripe-Signature"
# Far more than the processor ever sends.
_MAX_BODY_BYTES: Final = 1024 * 1024
# A customer who has just paid waits for these. All others are the worker's, so that a storm of them costs the
# service no more than keeping them.
_AWAITED: Final = "checkout.session."
_LOG: Final = telemetry.log(__name__)


class Received(msgspec.Struct):
    """The message is on disk."""

    received: bool


@post(
    "/webhooks/stripe",
    status_code=200,
    request_max_body_size=_MAX_BODY_BYTES,
    responses=error_responses(401, 413),
)
async def receive_stripe(request: Request[None, None, Any]) -> Response[Received]:
    """For Stripe alone: an event, signed with the endpoint's secret in the header `Stripe-Signature`."""
    payments = cashier(request)
    signature = request.headers.get(HEADER)
    if signature is None:
        raise InvalidSignature(f"Sign the body in the header {HEADER}.", param=HEADER)
    message = await in_thread(receive, payments, await request.body(), signature)
    response = json_response({"received": True})
    if message is not None and message.type.startswith(_AWAITED):
        response.background = BackgroundTask(_settle, services(request).settlers, payments, message.id)
    return response


async def _settle(settlers: anyio.CapacityLimiter, payments: Cashier, message_id: str) -> None:
    """Settle it now; where that fails, the worker will."""
    try:
        await anyio.to_thread.run_sync(settle_message, payments, message_id, limiter=settlers)
    except MeteringError as error:
        _LOG.warning("a message was not settled at once", message_id=message_id, reason=error.message)


routes = [receive_stripe]
