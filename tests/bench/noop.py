"""A Litestar application whose POST does nothing, served exactly as `metering serve` serves ours."""

from __future__ import annotations

import os

import uvicorn
from litestar import Litestar, get, post

from metering.cli.serve import KEEP_ALIVE_SECONDS, STOP_SECONDS


@post("/", status_code=200)
async def nothing() -> dict[str, str]:
    """Answer at once."""
    return {}


@get("/healthz")
async def healthz() -> dict[str, str]:
    """It answers."""
    return {}


if __name__ == "__main__":
    uvicorn.run(
        Litestar([nothing, healthz], openapi_config=None, logging_config=None),
        port=int(os.environ["METERING_PORT"]),
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
