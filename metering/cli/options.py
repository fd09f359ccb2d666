"""Options that several commands have, and what they are read as."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import click

from metering.errors import InvalidParameter
from metering.money import AmountError, to_pico

# An amount may be negative, which would look like an option.
WITH_AMOUNT: Final = {"ignore_unknown_options": True}
CUSTOMER_REASON: Final = click.option(
    "--reason", required=True, help="Why; the customer reads it in the statement."
)
IDEMPOTENCY_KEY: Final = click.option(
    "--idempotency-key", help="Repeat a call safely by giving its key again; a new one unless given."
)


def _utc(_context: click.Context, _option: click.Parameter, value: datetime | None) -> datetime | None:
    return None if value is None else value.replace(tzinfo=UTC)


EXPIRES_AT: Final = click.option(
    "--expires-at",
    type=click.DateTime(("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d")),
    callback=_utc,
    help="When it ends, in UTC: 2027-01-31 or 2027-01-31T12:00:00Z.",
)


def read_dollars(text: str, param: str) -> int:
    """An amount in picodollars; raises `InvalidParameter` naming the argument."""
    try:
        return to_pico(text)
    except AmountError as error:
        raise InvalidParameter(str(error), param=param) from error
