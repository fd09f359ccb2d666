"""Settings from the environment: the one place that reads it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from metering.errors import ConfigurationError

STRIPE_URL: Final = "https://api.stripe.com"
_LIVE_KEYS: Final = ("sk_live_", "rk_live_")
_TEST_KEYS: Final = ("sk_test_", "rk_test_")
_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")
_ANYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (read, not bound)


@dataclass(frozen=True, slots=True)
class StripeSettings:
    """The account at Stripe that takes the payments; `api_base` is another's address only for a simulator."""

    api_key: str = field(repr=False)
    webhook_secret: str = field(repr=False)
    api_base: str = STRIPE_URL
    automatic_tax: bool = False

    @property
    def is_live(self) -> bool:
        """Whether real money moves."""
        return self.api_key.startswith(_LIVE_KEYS)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that an operator can set; each field is `METERING_<NAME>` in the environment.

    `database_url` None means the embedded server in `home`, `stripe` None that nothing can be bought here,
    `mail_url` None that no mail is sent. `public_url` is where customers come back to when they have paid.
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
    public_url: str
    stripe: StripeSettings | None
    mail_url: str | None = field(repr=False)
    mail_from: str | None
    webhooks_to_private_addresses: bool

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """The settings of this process; raises `ConfigurationError` naming the variable."""
        given = os.environ if environment is None else environment
        level = given.get("METERING_LOG_LEVEL", "INFO").upper()
        if level not in _LEVELS:
            raise ConfigurationError(f"METERING_LOG_LEVEL must be one of {', '.join(_LEVELS)}, not {level!r}")
        host = given.get("METERING_HOST") or "127.0.0.1"
        port = _whole(given, "METERING_PORT", 8080, most=65_535)
        return cls(
            database_url=given.get("METERING_DATABASE_URL") or None,
            home=Path(given.get("METERING_HOME") or ".metering").absolute(),
            host=host,
            port=port,
            price_book=Path(given.get("METERING_PRICE_BOOK") or _own_price_book()).absolute(),
            api_key_prefix=given.get("METERING_API_KEY_PREFIX") or "sk-empiriolabs-",
            max_event_age=timedelta(days=_whole(given, "METERING_MAX_EVENT_AGE_DAYS", 90, most=36_500)),
            max_event_future=timedelta(
                seconds=_whole(given, "METERING_MAX_EVENT_FUTURE_SECONDS", 300, most=86_400)
            ),
            max_waiting_events=_whole(given, "METERING_MAX_WAITING_EVENTS", 100_000, most=10_000_000),
            log_level=level,
            public_url=_url(given, "METERING_PUBLIC_URL", http_url(host, port)),
            stripe=_stripe(given),
            mail_url=given.get("METERING_MAIL_URL") or None,
            mail_from=given.get("METERING_MAIL_FROM") or None,
            webhooks_to_private_addresses=_flag(given, "METERING_WEBHOOKS_TO_PRIVATE_ADDRESSES"),
        )


def own_environment() -> dict[str, str]:
    """A copy of this process's environment, for those that it starts."""
    return dict(os.environ)


def http_url(host: str, port: int) -> str:
    """Where a client on this machine finds what listens there."""
    host = _ANYWHERE.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _stripe(given: Mapping[str, str]) -> StripeSettings | None:
    """What makes payments possible; raises `ConfigurationError` for half of it."""
    key, secret = given.get("METERING_STRIPE_API_KEY"), given.get("METERING_STRIPE_WEBHOOK_SECRET")
    if not key:
        return None
    if not key.startswith((*_LIVE_KEYS, *_TEST_KEYS)):
        raise ConfigurationError("METERING_STRIPE_API_KEY must be a secret or restricted key: sk_… or rk_…")
    if not secret:
        raise ConfigurationError(
            "METERING_STRIPE_WEBHOOK_SECRET must be set, too: it is shown with the webhook endpoint at Stripe"
        )
    base = _url(given, "METERING_STRIPE_API_BASE", STRIPE_URL)
    return StripeSettings(key, secret, base, _flag(given, "METERING_STRIPE_AUTOMATIC_TAX"))


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


def _flag(given: Mapping[str, str], name: str) -> bool:
    text = (given.get(name) or "false").lower()
    if text not in {"true", "false"}:
        raise ConfigurationError(f"{name} must be true or false, not {text!r}")
    return text == "true"


def _url(given: Mapping[str, str], name: str, default: str) -> str:
    """An address without a slash at its end."""
    text = given.get(name) or default
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ConfigurationError(f"{name} must be an address, such as https://example.com, not {text!r}")
    return text.rstrip("/")
