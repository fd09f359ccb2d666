"""What is written in the tests: one buyer, one seller, a notice of each type."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from metering.config import Settings
from metering.ledger.notices import NoticeType
from metering.ledger.receipts import Receipt
from metering.messages.letterhead import Letterhead
from metering.messages.rendering import Notice
from metering.money import PICO_PER_USD
from metering.pricing.loader import load_policy
from metering.pricing.top_ups import Seller

NOW: Final = datetime(2026, 11, 21, 14, 5, tzinfo=UTC)
NOTICE_ID: Final = "0197b9a2-aaaa-7c31-9a3e-2f5a6b7c8d90"
SELLER: Final = Seller("Acme Labs", ("1 Example Street", "Wilmington"), "billing@acme.example", "EU372000000")
POLICY: Final = load_policy(Settings.from_environment({}).price_book)._replace(seller=SELLER)
LETTERHEAD: Final = Letterhead.of(POLICY, "Acme Büro <noreply@acme.example>")
RECEIPT: Final = Receipt(
    number="2F5A6B7C8D90-0003",
    paid_at=NOW,
    account_id="0197b9a2-5f4e-7c31-9a3e-2f5a6b7c8d90",
    name="Zoë & <b>Sons</b>",
    email="zoe@customer.example",
    amount_pico=1_000 * PICO_PER_USD,
    bonus_percent=5,
    bonus_pico=50 * PICO_PER_USD,
    tax_pico=70 * PICO_PER_USD,
    paid_with="Visa •••• 4242",
    is_automatic=False,
)
_AUTO: Final = {"threshold": "10", "amount": "20", "currency": "USD"}
DATA: Final[dict[NoticeType, dict[str, Any]]] = {
    NoticeType.TOP_UP_SUCCEEDED: {"balance": "1054.371299"},
    NoticeType.TOP_UP_FAILED: {
        "origin": "auto",
        "amount": "20",
        "failure_code": "card_declined",
        "failure_message": "Your card has <insufficient> funds.",
        "next_attempt_at": "2026-11-22T14:05:00+00:00",
    },
    NoticeType.TOP_UP_REFUNDED: {
        "receipt_number": "2F5A6B7C8D90-0003",
        "amount": "428",
        "credit": "400",
        "bonus": "20",
        "tax": "28",
        "balance": "-3.2",
    },
    NoticeType.AUTO_TOPUP_PAUSED: {
        "reason": "ceiling_day",
        "paused_until": "2026-11-22T00:00:00+00:00",
        **_AUTO,
    },
    NoticeType.AUTO_TOPUP_OFF: {
        "reason": "declined",
        "failure_message": "Your card has <insufficient> funds.",
        **_AUTO,
    },
    NoticeType.CARD_EXPIRING: {
        "card": "Visa •••• 4242",
        "last_four": "4242",
        "expires_month": 12,
        "expires_year": 2026,
    },
    NoticeType.BALANCE_LOW: {"balance": "4.371283912", "threshold": "5"},
}


def a_notice(kind: NoticeType, **changes: Any) -> Notice:  # noqa: ANN401  (what it says)
    """A notice of the type, with other data where `changes` name them."""
    receipt = RECEIPT if kind is NoticeType.TOP_UP_SUCCEEDED else None
    data = {**DATA[kind], **changes}
    return Notice(NOTICE_ID, kind, data, NOW, RECEIPT.name, "zoe@customer.example", receipt)
