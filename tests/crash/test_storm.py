"""A thousand accounts fall below their thresholds in one batch, and the payment processor is slow."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Final

import psycopg
import pytest

from metering.money import to_pico
from metering.services.accounts import create_account
from metering.services.audit import check_books
from metering.services.grants import Wanted, grant_credit
from metering.storage.database import Database
from tests.crash.traffic import new_event
from tests.payments.subscribed import save_cards, turn_on
from tests.payments.town import Town, open_town, wait_for

pytestmark = pytest.mark.slow

ACCOUNTS: Final = 1_000
# Every fifth is declined, however often it is tried.
CARDS: Final = ("pm_card_visa",) * 4 + ("pm_card_chargeCustomerFail",)
AMOUNT: Final = 50
TRIES: Final = 4
SLOW_SECONDS: Final = 0.25
CONFIRM: Final = "/v1/payment_intents/[^/]+/confirm"
# What the calls answered is what the messages say too: one type of them is enough to contradict.
UNTOLD: Final = ("charge.succeeded", "charge.updated", "charge.failed", "payment_intent.created")
OPENING: Final = Wanted("promotional", to_pico("10.001"), "a test", "tests")
NOW: Final = "UPDATE top_ups SET next_attempt_at = now() WHERE state = 'open' AND attempts = %s"
UNTRIED: Final = "SELECT count(*) FROM top_ups WHERE state = 'open' AND attempts < %s"
OUTCOMES: Final = """
    SELECT state, attempts, is_enabled, off_reason, trunc(posted_usd), count(*)
      FROM auto_topups JOIN top_ups USING (account_id) JOIN balances USING (account_id) GROUP BY 1, 2, 3, 4, 5
"""


def test_a_thousand_falls_at_once_are_charged_once_each(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    """Declined cards are tried for as often as the policy says, then auto top-up is off; nothing else is."""
    accounts = open_accounts(database)
    cards = [CARDS[number % len(CARDS)] for number in range(ACCOUNTS)]
    wallets = save_cards(tmp_path / "stripe.jsonl", cards)
    turn_on(database_url, accounts, wallets, threshold=10, amount=AMOUNT)
    with open_town(tmp_path, database, database_url, "smtp://127.0.0.1:9") as town:
        town.control.fault("slow", path=CONFIRM, times=None, seconds=SLOW_SECONDS)
        town.control.webhooks(drop=True, types=list(UNTOLD))
        for event_id in ("fall", "more"):
            use(town, accounts, event_id)
        for tries in range(1, TRIES):
            wait_for(partial(has_tried, database_url, tries), f"{tries} tries of each")
            town.control.clear_faults()
            hasten(database_url, tries)
        wait_for(partial(has_tried, database_url, TRIES + 1), "the end of all purchases")
        charged: Counter[str] = Counter(town.control.counts()["charges_by_customer"])
    good = {wallet.customer_id for wallet, card in zip(wallets, cards, strict=True) if card == CARDS[0]}
    assert charged == Counter(dict.fromkeys(good, 1))
    with psycopg.connect(database_url) as connection:
        assert sorted(connection.execute(OUTCOMES).fetchall()) == [
            ("failed", TRIES, False, "declined", Decimal(9), ACCOUNTS // 5),
            ("succeeded", 0, True, None, Decimal(AMOUNT + 9), ACCOUNTS - ACCOUNTS // 5),
        ]
    assert check_books(database) == []


def open_accounts(database: Database) -> list[str]:
    """Accounts a little above the threshold."""

    def open_one(number: int) -> str:
        account_id = create_account(database, f"Account {number}").account.account_id
        grant_credit(database, account_id, OPENING, "opening")
        return account_id

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(open_one, range(ACCOUNTS)))


def use(town: Town, accounts: list[str], event_id: str) -> None:
    """Let all of them use a little, in one batch."""
    events = [new_event(event_id, account_id) for account_id in accounts]
    results = town.sent(None, "/v1/usage/events", {"events": events})["results"]
    assert {result["status"] for result in results} == {"accepted"}


def has_tried(url: str, times: int) -> bool:
    """Whether each purchase that is open was tried so often."""
    with psycopg.connect(url) as connection:
        return connection.execute(UNTRIED, [times]).fetchone() == (0,)


def hasten(url: str, times: int) -> None:
    """Let the time pass after which those that were tried so often are tried again."""
    with psycopg.connect(url) as connection:
        connection.execute(NOW, [times])
