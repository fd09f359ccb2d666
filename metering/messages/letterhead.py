"""How what we write looks to people: who writes, and how amounts and times are spelt."""

from __future__ import annotations

from datetime import UTC, datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.utils import parseaddr
from typing import Final, NamedTuple

from metering.errors import ConfigurationError
from metering.ledger.top_ups import CENT_PICO
from metering.pricing.top_ups import Seller, TopUpPolicy

# Not strftime's: those change with the machine's language.
_MONTHS: Final = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_BAD_SENDER: Final = "METERING_MAIL_FROM must be an e-mail address, such as Acme <billing@acme.example>"


class Letterhead(NamedTuple):
    """Who writes: the seller, the address that mail comes from, and what stands on the card's statement."""

    seller: Seller
    sender: Address
    statement_descriptor: str

    @classmethod
    def of(cls, policy: TopUpPolicy, sender: str | None = None) -> Letterhead:
        """The policy's seller; `sender` is METERING_MAIL_FROM. Raises `ConfigurationError`."""
        name, address = (policy.seller.name, policy.seller.email) if sender is None else parseaddr(sender)
        try:
            read = Address(name, addr_spec=address)
        except (MessageError, ValueError, IndexError) as error:
            raise ConfigurationError(_BAD_SENDER) from error
        if not read.username or not read.domain:
            raise ConfigurationError(_BAD_SENDER)
        return cls(policy.seller, read, policy.statement_descriptor)


def dollars(pico: int) -> str:
    """An amount as people read it, to the cent below: `"$1,050.00"`, `"-$0.01"`."""
    cents = pico // CENT_PICO
    return f"{'-' if cents < 0 else ''}${abs(cents) // 100:,}.{abs(cents) % 100:02d}"


def day(at: datetime) -> str:
    """The day in UTC: `"21 November 2026"`."""
    at = at.astimezone(UTC)
    return f"{at.day} {_MONTHS[at.month - 1]} {at.year}"


def moment(at: datetime) -> str:
    """The minute in UTC: `"21 November 2026, 14:05 UTC"`."""
    return f"{day(at)}, {at.astimezone(UTC):%H:%M} UTC"


def month(year: int, number: int) -> str:
    """A month: `"November 2026"`."""
    return f"{_MONTHS[number - 1]} {year}"
