"""The composition root: the one file that knows every room."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from threading import Event

import anyio.to_thread
from litestar import Litestar

from metering import clock
from metering.api.application import create_application
from metering.api.security import Security
from metering.api.state import Services
from metering.config import Settings
from metering.jobs.registry import CHECK_EVERY, Means, list_jobs
from metering.jobs.running import Job
from metering.messages.letterhead import Letterhead
from metering.messages.mail import Transport, open_transport
from metering.messages.webhooks import WebhookSender
from metering.pricing.book import PriceBook
from metering.pricing.loader import load, load_policy
from metering.rating.engine import Rater
from metering.services.cashier import Cashier
from metering.services.group_commit import GroupCommit
from metering.services.holds import Holds
from metering.services.ingest import Ingest
from metering.services.price_books import keep_price_book
from metering.storage.database import Database
from metering.storage.embedded import EmbeddedServer
from metering.web import returning


def _silent(_text: str) -> None:
    """Say nothing."""


@dataclass(frozen=True, slots=True)
class Storage:
    """The database this process works on; `owner_url` is its owner's, which may migrate it."""

    database: Database
    owner_url: str

    @classmethod
    def open(cls, settings: Settings, say: Callable[[str], None] = _silent) -> Storage:
        """The configured database, or the embedded one of the home directory, started if need be.

        An embedded server is left when the process ends, and stopped by the last process that leaves.
        """
        if settings.database_url is not None:
            return cls(Database(settings.database_url), settings.database_url)
        server = EmbeddedServer(settings.home, say)
        url = server.ensure()
        return cls(Database(url, reconnect=server.ensure), url)


@dataclass(frozen=True, slots=True)
class App:
    """Everything that a running service needs."""

    database: Database
    services: Services

    def close(self) -> None:
        """Record what was accepted, then let go of the database."""
        self.stop()
        self.database.close()

    def stop(self) -> None:
        """Record what was accepted; nothing more is."""
        self.services.commits.close()
        self.services.hold_commits.close()


def load_price_book(settings: Settings) -> PriceBook:
    """The configured price book; raises `PriceBookError`."""
    return load(settings.price_book)


def open_cashier(settings: Settings, database: Database) -> Cashier | None:
    """What takes payments, where that is configured; raises `PriceBookError` for a bad policy of top-ups."""
    if settings.stripe is None:
        return None
    # The SDK takes a quarter of a second to import: not for those who take no payments.
    from metering.payments.stripe_gateway import StripeGateway  # noqa: PLC0415

    policy = load_policy(settings.price_book)
    gateway = StripeGateway(
        settings.stripe.api_key,
        settings.stripe.webhook_secret,
        descriptor=policy.statement_descriptor,
        base_url=settings.stripe.api_base,
        collects_tax=settings.stripe.automatic_tax,
    )
    return Cashier(database, gateway, policy, settings.public_url + returning.PATH)


def build(settings: Settings, database: Database, book: PriceBook | None = None) -> App:
    """The service's parts; raises `ConfigurationError` unless the schema is at its head."""
    database.require_head()
    book = load_price_book(settings) if book is None else book
    keep_price_book(database, book, clock.now())
    ages = {"max_age": settings.max_event_age, "max_future": settings.max_event_future}
    rater = Rater(book)
    ingest, holds = Ingest(database, rater, **ages), Holds(database, rater)
    most = settings.max_waiting_events
    services = Services(
        database=database,
        book=book,
        ingest=ingest,
        commits=GroupCommit(ingest.record, max_waiting=most),
        holds=holds,
        hold_commits=GroupCommit(holds.apply, max_waiting=most),
        security=Security(database),
        api_key_prefix=settings.api_key_prefix,
        cashier=open_cashier(settings, database),
        webhooks_to_private=settings.webhooks_to_private_addresses,
    )
    return App(database, services)


def prepare_jobs(
    settings: Settings, database: Database, stopping: Event, *, check_every: timedelta = CHECK_EVERY
) -> list[Job]:
    """The jobs that can be done with these settings; long runs end early once `stopping` is set."""
    means = Means(
        database=database,
        price_book=settings.price_book,
        cashier=open_cashier(settings, database),
        mail=_open_mail(settings),
        webhooks=WebhookSender(settings.webhooks_to_private_addresses),
        stopping=stopping,
        check_every=check_every,
    )
    return list_jobs(means)


def _open_mail(settings: Settings) -> tuple[Transport, Letterhead] | None:
    """How mail is sent, and who writes; raises `ConfigurationError`."""
    if settings.mail_url is None:
        return None
    policy = load_policy(settings.price_book)
    return open_transport(settings.mail_url), Letterhead.of(policy, settings.mail_from)


def create_asgi(app: App) -> Litestar:
    """The HTTP application over them; its end waits for what was accepted."""

    async def stop() -> None:
        await anyio.to_thread.run_sync(app.stop)

    cashier = app.services.cashier
    pages = [] if cashier is None else [returning.create_page(cashier)]
    return create_application(app.services, pages=pages, on_shutdown=stop)
