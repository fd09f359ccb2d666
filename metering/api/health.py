"""Is it alive, is it ready, and how is it doing: for the operator and the load balancer."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Response, get
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from metering.api.encoding import json_response
from metering.api.errors import error_responses
from metering.api.state import services
from metering.api.waiting import in_thread


class Health(msgspec.Struct):
    """`ok`, or the error's envelope instead."""

    status: str
    price_book: str | msgspec.UnsetType = msgspec.UNSET


@get("/healthz", responses=error_responses())
async def healthz() -> Response[Health]:
    """The process answers; it asks nothing of the database."""
    return json_response({"status": "ok"})


@get("/readyz", responses=error_responses())
async def readyz(request: Request[None, None, Any]) -> Response[Health]:
    """The database answers and the price book is loaded; 503 otherwise."""
    ours = services(request)
    await in_thread(ours.database.ping)
    return json_response({"status": "ok", "price_book": ours.book.digest.hex()})


@get("/metrics", media_type="text/plain", responses=error_responses())
async def metrics() -> Response[bytes]:
    """Prometheus metrics."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


routes = [healthz, readyz, metrics]
