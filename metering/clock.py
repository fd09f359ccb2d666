"""The one place that asks what time it is; everything below takes the time as a value."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_ahead = timedelta(0)


def now() -> datetime:
    """The current time, aware, in UTC."""
    return datetime.now(UTC) + _ahead


def run_ahead(by: timedelta) -> None:
    """Let this process's clock run so far ahead of the machine's: how tests let time pass."""
    global _ahead  # noqa: PLW0603  (a process has one clock)
    _ahead = by
