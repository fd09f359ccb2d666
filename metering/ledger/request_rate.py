"""Requests and tokens per minute: a sliding window of two counters, in whole numbers.

What counts at a moment is the current minute-long window, and of the one before it as much as still lies
within the last sixty seconds. A window opens with the first request after a pause, so that a fresh account
gets its whole limit at once.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, NamedTuple

WINDOW: Final = timedelta(minutes=1)
_MICROSECOND: Final = timedelta(microseconds=1)
_LENGTH: Final = WINDOW // _MICROSECOND
_SECOND: Final = 1_000_000


class Limits(NamedTuple):
    """What an account may ask for in a minute, over all its keys."""

    requests: int
    tokens: int


class Rate(NamedTuple):
    """What an account was granted in the window that began at `started_at`, and in the one before."""

    started_at: datetime
    requests: int = 0
    tokens: int = 0
    previous_requests: int = 0
    previous_tokens: int = 0

    def at(self, now: datetime) -> Rate:
        """The same at a later moment: a window that is full of time becomes the previous one.

        One that began in the future, by a clock that was ahead, begins now; so it ends, and is to be kept.
        """
        if self.started_at > now:
            return self._replace(started_at=now)
        passed = (now - self.started_at) // WINDOW
        if not passed:
            return self
        if passed == 1:
            return Rate(self.started_at + WINDOW, 0, 0, self.requests, self.tokens)
        return Rate(now)

    def plus(self, tokens: int) -> Rate:
        """One more request of so many tokens."""
        return self._replace(requests=self.requests + 1, tokens=self.tokens + tokens)

    def wait_seconds(self, limits: Limits, tokens: int, now: datetime) -> int:
        """Zero where one more request of so many tokens is within the limits at `now`, the rate's own moment.

        Else the whole seconds, at least one, after which it is, if nothing else is granted meanwhile. What
        is beyond a limit by itself is told to wait a minute.
        """
        elapsed = (now - self.started_at) // _MICROSECOND
        return max(
            _wait(limits.requests, 1, self.requests, self.previous_requests, elapsed),
            _wait(limits.tokens, tokens, self.tokens, self.previous_tokens, elapsed),
        )


def _wait(limit: int, wanted: int, current: int, previous: int, elapsed: int) -> int:
    """Whole seconds until `wanted` fits; `elapsed` microseconds of the current window have passed."""
    room = limit - wanted
    if limit == 0 or room < 0:
        return _LENGTH // _SECOND
    if current <= room:
        microseconds = _fits_at(previous, room - current) - elapsed
    else:
        # Only once the current window is the previous one.
        microseconds = _LENGTH - elapsed + _fits_at(current, room)
    return max(0, -(-microseconds // _SECOND))


def _fits_at(previous: int, room: int) -> int:
    """The microsecond of the window from which on no more than `room` of the previous one counts."""
    return 0 if previous <= room else -(-_LENGTH * (previous - room) // previous)
