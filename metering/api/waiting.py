"""How a request waits for what isn't done on the event loop, and when it stops waiting."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable
from functools import partial
from typing import Final, ParamSpec, TypeVar

import anyio
import anyio.to_thread

from metering.errors import Unavailable

P = ParamSpec("P")
R = TypeVar("R")

# Below what a graceful stop and the clients' own patience allow. A database that hangs, not even refusing
# connections, would otherwise keep every caller for ever.
ANSWER_SECONDS: Final = 20
_TOO_LONG: Final = "The database takes too long. Send the same again in a few seconds."


async def in_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a use case, which is synchronous, without holding up other requests.

    Raises `Unavailable` after `ANSWER_SECONDS`; what the use case comes to is not known then.
    """
    try:
        with anyio.fail_after(ANSWER_SECONDS):
            return await anyio.to_thread.run_sync(partial(function, *args, **kwargs), abandon_on_cancel=True)
    except TimeoutError as error:
        raise Unavailable(_TOO_LONG) from error


async def committed(future: concurrent.futures.Future[R]) -> R:
    """What a group commit answers; raises `Unavailable` after `ANSWER_SECONDS`, when it is not known."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await asyncio.wrap_future(future)
    except TimeoutError as error:
        raise Unavailable(_TOO_LONG) from error
