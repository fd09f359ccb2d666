"""What a customer asks of auto top-up: the only way to turn it on (billing-rules: "Auto top-up")."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, Literal, NamedTuple, Required, TypedDict

from metering import ids
from metering.errors import InvalidParameter
from metering.ledger.auto_topups import AutoTopUp, OffReason
from metering.ledger.books import Books
from metering.ledger.top_ups import CENT_PICO
from metering.money import to_number
from metering.pricing.top_ups import TopUpPolicy
from metering.services.auto_topups import watch
from metering.services.cards import NO_SUCH_CARD, sync_cards
from metering.services.cashier import Cashier
from metering.services.top_ups import check_amount
from metering.storage import auto_topups, cards, purchases
from metering.storage.books import lock_account
from metering.storage.cards import SavedCard
from metering.storage.database import Database, driver
from metering.storage.purchases import Purchase

_NO_CARD: Final = (
    "only cards can be charged off-session: save one first with POST /v1/account/payment_methods"
)


class AutoTopUpChanges(TypedDict, total=False):
    """What is asked for now; what is left out stays as it is. Amounts are picodollars."""

    is_enabled: Required[bool]
    threshold_pico: int
    amount_pico: int
    card_id: str | None
    most_per_month_pico: int | None


class AutoTopUpView(NamedTuple):
    """What was asked for, None if nothing ever was; the card that would be charged; the open purchase."""

    asked: AutoTopUp | None
    card: SavedCard | None
    purchase: Purchase | None

    @property
    def status(self) -> Literal["on", "off", "paused", "buying", "retrying"]:
        """What it does now."""
        if self.asked is None or not self.asked.is_enabled:
            return "off"
        if self.purchase is not None:
            return "retrying" if self.purchase.attempts else "buying"
        return "on" if self.asked.paused_until is None else "paused"


def get_auto_topup(database: Database, account_id: str) -> AutoTopUpView:
    """The account's auto top-up as it stands."""
    with database.snapshot() as connection:
        return _view(driver(connection), account_id)


def set_auto_topup(cashier: Cashier, account_id: str, changes: AutoTopUpChanges) -> AutoTopUpView:
    """Change it, turn it on or off. Turned on while the balance is below the threshold, it buys at once.

    Raises `AccountNotFound` and `InvalidParameter`; `PaymentsUnavailable` where a card isn't known here and
    the processor can't be asked.
    """
    try:
        return _set(cashier, account_id, changes)
    except InvalidParameter as error:
        if error.param != "payment_method":
            raise
    # The card may have been saved a moment ago, and the message about it be under way.
    sync_cards(cashier, account_id)
    return _set(cashier, account_id, changes)


def _set(cashier: Cashier, account_id: str, changes: AutoTopUpChanges) -> AutoTopUpView:
    with cashier.database.transaction() as connection:
        raw = driver(connection)
        books, now = lock_account(raw, account_id)
        before = auto_topups.find(raw, account_id)
        if before is None and not changes["is_enabled"] and len(changes) == 1:
            return _view(raw, account_id)
        asked = _asked(before, account_id, changes, now)
        _check(cashier.policy, asked)
        _check_card(cards.list_cards(raw, account_id), asked)
        if asked != before:
            _keep(raw, books, before, asked, now)
        return _view(raw, account_id)


def _asked(before: AutoTopUp | None, account_id: str, changes: AutoTopUpChanges, now: datetime) -> AutoTopUp:
    """What is asked for with the changes made."""
    if before is None:
        for field, param in (("threshold_pico", "threshold"), ("amount_pico", "amount")):
            if field not in changes:
                raise InvalidParameter("is missing, and was never set before", param=param)
        amounts = changes["threshold_pico"], changes["amount_pico"]
        before = AutoTopUp(account_id, False, *amounts, None, None, None, None, None, now)  # noqa: FBT003  (off)
    asked = before._replace(**changes)
    if asked.is_enabled:
        return asked._replace(off_reason=None, enabled_at=before.enabled_at if before.is_enabled else now)
    return asked._replace(off_reason=OffReason.CUSTOMER) if before.is_enabled else asked


def _check(policy: TopUpPolicy, asked: AutoTopUp) -> None:
    auto, threshold_pico, amount_pico = policy.auto, asked.threshold_pico, asked.amount_pico
    if threshold_pico < auto.minimum_threshold_pico:
        raise InvalidParameter(
            f"must be at least {to_number(auto.minimum_threshold_pico)}", param="threshold"
        )
    if threshold_pico % CENT_PICO:
        raise InvalidParameter("must be in whole cents", param="threshold")
    check_amount(policy, amount_pico)
    times = auto.minimum_amount_of_threshold
    if amount_pico < times * threshold_pico:
        least = to_number(times * threshold_pico)
        raise InvalidParameter(f"must be at least {times} times the threshold: {least}", param="amount")
    daily_pico = min(auto.per_day.amount_pico, auto.per_month.amount_pico)
    if amount_pico > daily_pico:
        told = f"must be at most {to_number(daily_pico)}: more is not bought by itself in a day"
        raise InvalidParameter(told, param="amount")
    if asked.most_per_month_pico is not None and asked.most_per_month_pico < amount_pico:
        raise InvalidParameter("must be at least the amount of one purchase", param="max_per_month")


def _check_card(saved: list[SavedCard], asked: AutoTopUp) -> None:
    if asked.is_enabled and not saved:
        raise InvalidParameter(_NO_CARD, param="payment_method")
    if asked.card_id is not None and asked.card_id not in {card.id for card in saved}:
        raise InvalidParameter(NO_SUCH_CARD, param="payment_method")


def _keep(raw: Any, books: Books, before: AutoTopUp | None, asked: AutoTopUp, now: datetime) -> None:  # noqa: ANN401  (the driver's)
    auto_topups.keep_asked(raw, asked._replace(paused_until=None, updated_at=now))
    watch(raw, books, asked.threshold_pico if asked.is_enabled else None)
    # What is open may have to be charged to another card, or not at all.
    purchases.hasten(raw, books.account_id, now)
    # A fall that was bought for already is not bought for again.
    is_served = (
        before is not None
        and before.is_enabled
        and before.paused_until is None
        and books.posted_pico < before.threshold_pico
    )
    if books.posted_pico < asked.threshold_pico and not is_served:
        auto_topups.open_purchase(raw, books.account_id, ids.new_id(), now)


def _view(raw: Any, account_id: str) -> AutoTopUpView:  # noqa: ANN401  (the driver's)
    asked = auto_topups.find(raw, account_id)
    card_id = None if asked is None else asked.card_id
    card = cards.find_charged(cards.list_cards(raw, account_id), card_id)
    return AutoTopUpView(asked, card, purchases.find_open(raw, account_id))
