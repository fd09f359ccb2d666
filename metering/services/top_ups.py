"""Top-ups: credit that customers buy on a page of the payment processor's."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from metering import clock, ids
from metering.errors import InvalidParameter, PaymentRefused
from metering.ledger.top_ups import CENT_PICO, bonus_of
from metering.money import to_number
from metering.pricing.top_ups import TopUpPolicy
from metering.services.cashier import Cashier
from metering.services.idempotency import require_same
from metering.services.payment_customers import obtain_customer
from metering.services.texts import checked
from metering.storage import accounts, top_ups
from metering.storage.books import lock_account
from metering.storage.database import Database, driver
from metering.storage.top_ups import TopUp

MAX_URL: Final = 2_000
# A page is open for a day at the most; one that nobody was told of can't be paid.
UNTOLD_AFTER: Final = timedelta(hours=25)
# A customer who comes back from the page is there sooner than the message about it; before, nobody is.
_SOON: Final = timedelta(seconds=2)
# When it is looked whether a page that has ended was paid.
_AFTER_PAGE: Final = timedelta(minutes=2)


class WantedTopUp(NamedTuple):
    """What is to be bought, and where the customer goes from the page: by default, back to us."""

    amount_pico: int
    saves_card: bool = False
    success_url: str | None = None
    cancel_url: str | None = None

    def digest(self) -> bytes:
        """SHA-256 of what is asked for: the same key with another digest is a conflict."""
        return hashlib.sha256("\n".join(map(str, self)).encode()).digest()


class TopUpView(NamedTuple):
    """A top-up, and how much of it goes or went back, tax included."""

    top_up: TopUp
    refunded_pico: int = 0


def create_top_up(
    cashier: Cashier, account_id: str, wanted: WantedTopUp, idempotency_key: str | None
) -> tuple[TopUpView, bool]:
    """Open a page on which the customer pays: the top-up with its URL, and whether it is new.

    With an idempotency key, the same again gets the same top-up, and its page where the first call came to
    none. Raises `AccountNotFound`, `InvalidParameter`, `IdempotencyConflict`, `PaymentRefused` and
    `PaymentsUnavailable`.
    """
    check_amount(cashier.policy, wanted.amount_pico)
    check_urls(success_url=wanted.success_url, cancel_url=wanted.cancel_url)
    key = None if idempotency_key is None else checked(idempotency_key, "idempotency_key")
    with cashier.database.transaction() as connection:
        top_up, is_new = _open(cashier, connection, account_id, wanted, key)
    if top_up.state == "open" and top_up.session_id is None:
        _open_page(cashier, top_up, wanted)
    return get_top_up(cashier.database, account_id, top_up.id), is_new


def get_top_up(database: Database, account_id: str, top_up_id: str) -> TopUpView:
    """The top-up; raises `NotFound`."""
    with database.snapshot() as connection:
        top_up = top_ups.get_top_up(connection, account_id, top_up_id)
        return _views(connection, account_id, [top_up])[0]


def list_top_ups(
    database: Database, account_id: str, *, after: str | None = None, limit: int
) -> list[TopUpView]:
    """Up to `limit` top-ups, newest first, those behind the id `after`; raises `AccountNotFound`."""
    with database.snapshot() as connection:
        accounts.get_account(connection, account_id)
        found = top_ups.list_top_ups(connection, account_id, after=after, limit=limit)
        return _views(connection, account_id, found)


def find_checkout(database: Database, top_up_id: str) -> TopUp | None:
    """For whoever knows the id, which can't be guessed: the top-up, if a customer was to pay it on a page."""
    with database.snapshot() as connection:
        return top_ups.find_checkout(connection, top_up_id)


def may_be_paid(top_up: TopUp) -> bool:
    """Whether it may have been paid on its page without our knowing it yet."""
    is_asked_for = top_up.state == "open" and top_up.session_id is not None
    return is_asked_for and clock.now() - top_up.created_at > _SOON


def check_amount(policy: TopUpPolicy, amount_pico: int, param: str = "amount") -> None:
    """Let an amount pass that can be bought; raises `InvalidParameter` with what is wrong with it."""
    if amount_pico % CENT_PICO:
        raise InvalidParameter("must be in whole cents", param=param)
    if amount_pico < policy.minimum_pico:
        raise InvalidParameter(f"must be at least {to_number(policy.minimum_pico)}", param=param)
    if amount_pico > policy.maximum_pico:
        raise InvalidParameter(f"must be at most {to_number(policy.maximum_pico)}", param=param)


def check_urls(**urls: str | None) -> None:
    """Let URLs pass, by the names of their fields, to which a browser can be sent; `InvalidParameter`."""
    for param, url in urls.items():
        if url is None:
            continue
        checked(url, param, most=MAX_URL)
        try:
            parts = urlsplit(url)
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise InvalidParameter("must be a URL that begins with https:// or http://", param=param)


def _open(
    cashier: Cashier,
    connection: Any,  # noqa: ANN401  (storage's)
    account_id: str,
    wanted: WantedTopUp,
    key: str | None,
) -> tuple[TopUp, bool]:
    """The intent: what is bought, with its bonus; or what was intended before under the same key."""
    _, now = lock_account(driver(connection), account_id)
    first = None if key is None else top_ups.find_by_idempotency_key(connection, account_id, key)
    if first is not None:
        require_same(first.body_digest or b"", wanted.digest(), used="for another top-up")
        if first.session_id is None:
            first = first._replace(attempts=first.attempts + 1)
            top_ups.update_top_up(connection, account_id, first.id, attempts=first.attempts)
        return first, False
    percent = cashier.policy.bonus_percent(wanted.amount_pico)
    top_up = TopUp(
        account_id=account_id,
        id=ids.new_unguessable_id(),
        origin="checkout",
        state="open",
        amount_pico=wanted.amount_pico,
        bonus_percent=percent,
        bonus_pico=bonus_of(wanted.amount_pico, percent),
        saves_card=wanted.saves_card,
        attempts=1,
        next_attempt_at=now + UNTOLD_AFTER + _AFTER_PAGE,
        idempotency_key=key,
        body_digest=wanted.digest(),
        created_at=now,
    )
    top_ups.insert_top_up(connection, top_up)
    return top_up, True


def _open_page(cashier: Cashier, top_up: TopUp, wanted: WantedTopUp) -> None:
    """Open a page for the top-up, and note it. Of several, one is noted, and nobody hears of the others.

    Each attempt has its own key: what an attempt without an answer came to can't be paid, for nobody knows
    its URL; while the processor, asked by the same key, would repeat its own errors for a day.
    """
    account_id = top_up.account_id
    with cashier.database.snapshot() as connection:
        account = accounts.get_account(connection, account_id)
    back = f"{cashier.return_url}{'&' if '?' in cashier.return_url else '?'}top_up={top_up.id}"
    try:
        page = cashier.gateway.open_checkout(
            account_id=account_id,
            top_up_id=top_up.id,
            customer_id=obtain_customer(cashier, account_id),
            amount=top_up.amount_pico // CENT_PICO,
            saves_card=top_up.saves_card,
            success_url=wanted.success_url or back,
            cancel_url=wanted.cancel_url or back,
            receipt_email=account.email,
            idempotency_key=f"topup-{top_up.id}-checkout-{top_up.attempts}",
        )
    except PaymentRefused as error:
        _refuse(cashier.database, top_up, error)
        raise
    with cashier.database.transaction() as connection:
        top_ups.keep_page(
            connection,
            account_id,
            top_up.id,
            session_id=page.id,
            url=page.url,
            url_expires_at=page.expires_at,
            next_attempt_at=page.expires_at + _AFTER_PAGE,
        )


def _refuse(database: Database, top_up: TopUp, error: PaymentRefused) -> None:
    """Close a top-up for which the processor opens no page."""
    with database.transaction() as connection:
        _, now = lock_account(driver(connection), top_up.account_id)
        standing = top_ups.get_top_up(connection, top_up.account_id, top_up.id)
        if standing.state == "open" and standing.session_id is None:
            top_ups.update_top_up(
                connection,
                top_up.account_id,
                top_up.id,
                state="failed",
                failure_code=error.code,
                failure_message=error.message,
                next_attempt_at=None,
                closed_at=now,
                version=standing.version + 1,
            )


def _views(connection: Any, account_id: str, found: Sequence[TopUp]) -> list[TopUpView]:  # noqa: ANN401
    refunded = top_ups.sum_refunded(connection, account_id, [one.id for one in found])
    return [TopUpView(one, refunded.get(one.id, 0)) for one in found]
