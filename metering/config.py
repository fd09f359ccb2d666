"""Settings from the environment: the one place that reads it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from metering.errors import ConfigurationError

_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that an operator can set; each field is `METERING_<NAME>` in the environment.

    `database_url` None means the embedded server in `home`.
    """

    database_url: str | None
    home: Path
    host: str
    port: int
    price_book: Path
    api_key_prefix: str
    max_event_age: timedelta
    max_event_future: timedelta
    max_waiting_events: int
    log_level: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """The settings of this process; raises `ConfigurationError` naming the variable."""
        given = os.environ if environment is None else environment
        level = given.get("METERING_LOG_LEVEL", "INFO").upper()
        if level not in _LEVELS:
            raise ConfigurationError(f"METERING_LOG_LEVEL must be one of {', '.join(_LEVELS)}, not {level!r}")
        return cls(
            database_url=given.get("METERING_DATABASE_URL") or None,
            home=Path(given.get("METERING_HOME") or ".metering").absolute(),
            host=given.get("METERING_HOST") or "127.0.0.1",
            port=_whole(given, "METERING_PORT", 8080, most=65_535),
            price_book=Path(given.get("METERING_PRICE_BOOK") or _own_price_book()).absolute(),
            api_key_prefix=given.get("METERING_API_KEY_PREFIX") or "sk-empiriolabs-",
            max_event_age=timedelta(days=_whole(given, "METERING_MAX_EVENT_AGE_DAYS", 90, most=36_500)),
            max_event_future=timedelta(
                seconds=_whole(given, "METERING_MAX_EVENT_FUTURE_SECONDS", 300, most=86_400)
            ),
            max_waiting_events=_whole(given, "METERING_MAX_WAITING_EVENTS", 100_000, most=10_000_000),
            log_level=level,
        )


def _own_price_book() -> Path:
    """The price book that comes with the product: beside the package in a checkout, inside it in a wheel."""
    package = Path(__file__).parent
    places = package / "_pricing_rules", package.parent / "pricing_rules"
    return next((place for place in places if place.is_dir()), places[1])


def _whole(given: Mapping[str, str], name: str, default: int, *, most: int) -> int:
    text = given.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and int(text) <= most):
        raise ConfigurationError(f"{name} must be a whole number from 0 to {most}, not {text!r}")
    return int(text)
