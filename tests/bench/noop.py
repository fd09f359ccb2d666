"""A Litestar application whose POST does nothing, served exactly as `metering serve` serves ours."""

from __future__ import annotations

import os

import uvicorn
from litestar import Litestar, get, post

from metering.cli.serve import server_config


@post("/", status_code=200)
async def nothing() -> dict[str, str]:
    """Answer at once."""
    return {}


@get("/healthz")
async def healthz() -> dict[str, str]:
    """It answers."""
    return {}


if __name__ == "__main__":
    noop = Litestar([nothing, healthz], openapi_config=None, logging_config=None)
    uvicorn.Server(server_config(noop, port=int(os.environ["METERING_PORT"]))).run()
