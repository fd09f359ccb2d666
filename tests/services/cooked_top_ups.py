"""What a hand may do to the books of top-ups that `paid_in` made, and the laws that this breaks."""

from __future__ import annotations

from typing import Final

from metering import ids
from metering.ledger.invariants import Law
from metering.money import PICO_PER_USD
from metering.services.accounts import create_account
from metering.services.corrections import WantedAdjustment, adjust_credit
from metering.storage.database import Database
from tests.services.money_in import MoneyIn


def paid_in(database: Database) -> MoneyIn:
    """An account that paid 1,000, refunded in part; 200, disputed; 300, lost; 400, won; and 5 not at all."""
    money = MoneyIn(database, create_account(database, "Ada").account.account_id)
    refunded = money.top_up("1000", "50", tax="100", fee="30")
    disputed, lost, won = money.top_up("200", "10"), money.top_up("300"), money.top_up("400", "20")
    money.give_up("5")
    wanted = WantedAdjustment("adjustment", -360 * PICO_PER_USD, "a test", "tests")
    adjust_credit(database, money.account_id, wanted, ids.new_id())
    money.refund(refunded, credit="400", bonus="20", tax="40")
    failed = money.refund(refunded, credit="100", bonus="5", tax="10")
    money.fail_refund(refunded, failed, "110")
    money.refund(refunded, moved=False, credit="10", bonus="0.5", tax="1")
    money.freeze(disputed, "dp_open", "200")
    money.freeze(lost, "dp_lost", "300")
    money.lose(lost, "dp_lost", credit="300")
    money.freeze(won, "dp_won", "400")
    money.lose(won, "dp_won", credit="400", bonus="20")
    money.win(won, "dp_won", "400")
    return money


_LOT: Final = "(SELECT transfer_id FROM top_ups WHERE amount_usd = {})"
COOKED: Final[dict[str, tuple[tuple[str, ...], set[Law]]]] = {
    "a top-up of another amount": (
        ("UPDATE top_ups SET amount_usd = amount_usd + 0.000000000001 WHERE amount_usd = 300",),
        {Law.TOP_UP, Law.PROCESSOR},
    ),
    "a bonus that nobody gave": (
        ("UPDATE top_ups SET bonus_usd = bonus_usd + 1 WHERE amount_usd = 300",),
        {Law.TOP_UP},
    ),
    "tax that nobody paid": (
        ("UPDATE top_ups SET tax_usd = tax_usd + 1 WHERE amount_usd = 300",),
        {Law.TOP_UP, Law.PROCESSOR},
    ),
    "a top-up credited by another transfer": (
        ("UPDATE top_ups SET transfer_id = gen_random_uuid() WHERE amount_usd = 300",),
        {Law.TOP_UP},
    ),
    "a top-up credited twice": (
        (
            f"""UPDATE top_up_transfers SET top_up_id = (SELECT id FROM top_ups WHERE amount_usd = 400)
                 WHERE transfer_id = {_LOT.format(200)}""",
        ),
        {Law.TOP_UP},
    ),
    "a paid top-up that was canceled": (
        ("UPDATE top_ups SET state = 'canceled', transfer_id = NULL WHERE amount_usd = 300",),
        {Law.TOP_UP, Law.PROCESSOR},
    ),
    "an unpaid top-up that succeeded": (
        ("UPDATE top_ups SET state = 'succeeded', transfer_id = gen_random_uuid() WHERE amount_usd = 5",),
        {Law.TOP_UP},
    ),
    "credit that no top-up names": (
        (f"DELETE FROM top_up_transfers WHERE transfer_id = {_LOT.format(200)}",),
        {Law.TOP_UP},
    ),
    "a fee that no top-up names": (
        (
            """DELETE FROM top_up_transfers USING transfers WHERE transfer_id = id AND kind = 'fee'
                  AND amount_usd = 30""",
        ),
        {Law.TOP_UP, Law.PROCESSOR},
    ),
    "a refund undone that no top-up names": (
        (
            """DELETE FROM top_up_transfers USING transfers WHERE transfer_id = id AND kind = 'reversal'
                  AND from_account = 'refunds' AND to_account = 'tax:payable'""",
        ),
        {Law.TOP_UP, Law.REFUND},
    ),
    "a top-up's transfer of another amount": (
        (f"UPDATE transfers SET amount_usd = amount_usd + 1 WHERE id = {_LOT.format(300)}",),
        {Law.TOP_UP, Law.BALANCE, Law.CHAIN, Law.CHECKSUM, Law.LOTS},
    ),
    "a grant among a top-up's transfers": (
        (
            """INSERT INTO top_up_transfers SELECT t.account_id, t.id, top_ups.id
                 FROM transfers AS t, top_ups WHERE t.kind = 'adjustment' AND top_ups.amount_usd = 5""",
        ),
        {Law.TOP_UP},
    ),
    "a refund of more": (
        (
            """UPDATE refunds SET credit_usd = credit_usd + 1, amount_usd = amount_usd + 1
                WHERE amount_usd = 440""",
        ),
        {Law.REFUND, Law.TOP_UP},
    ),
    "a refund of less tax": (
        ("UPDATE refunds SET tax_usd = tax_usd - 1, amount_usd = amount_usd - 1 WHERE amount_usd = 440",),
        {Law.REFUND},
    ),
    "a refund that left the bonus": (
        ("UPDATE refunds SET bonus_usd = 0 WHERE amount_usd = 440",),
        {Law.REFUND, Law.TOP_UP},
    ),
    "a refund that is not its parts": (
        ("UPDATE refunds SET amount_usd = amount_usd + 1 WHERE amount_usd = 440",),
        {Law.REFUND},
    ),
    "a failed refund that was not given back": (
        ("UPDATE refunds SET state = 'failed' WHERE amount_usd = 440",),
        {Law.REFUND, Law.TOP_UP},
    ),
    "a refund that was given back": (
        ("UPDATE refunds SET state = 'succeeded' WHERE state = 'failed'",),
        {Law.REFUND, Law.TOP_UP},
    ),
    "a refund of another top-up": (
        (
            """UPDATE refunds SET top_up_id = (SELECT id FROM top_ups WHERE amount_usd = 400)
                WHERE amount_usd = 440""",
        ),
        {Law.REFUND, Law.TOP_UP},
    ),
    "a refund taken away": (("DELETE FROM refunds WHERE amount_usd = 440",), {Law.REFUND, Law.TOP_UP}),
    "what a refund took, called used": (
        (f"UPDATE lots SET used_usd = used_usd + 1 WHERE id = {_LOT.format(1000)}",),
        {Law.LOTS},
    ),
    "a lost dispute that was won": (
        ("UPDATE disputes SET stage = 'released' WHERE id = 'dp_lost'",),
        {Law.DISPUTE, Law.TOP_UP},
    ),
    "a won dispute that was lost": (
        ("UPDATE disputes SET stage = 'lost' WHERE id = 'dp_won'",),
        {Law.DISPUTE, Law.TOP_UP},
    ),
    "a lost dispute of less": (
        ("UPDATE disputes SET credit_usd = credit_usd - 1 WHERE id = 'dp_lost'",),
        {Law.DISPUTE, Law.TOP_UP},
    ),
    "a dispute taken away": (
        ("DELETE FROM disputes WHERE id = 'dp_lost'",),
        {Law.DISPUTE, Law.TOP_UP},
    ),
    "more frozen than is": (
        ("UPDATE balances SET frozen_usd = frozen_usd + 0.000000000001 WHERE frozen_usd > 0",),
        {Law.FROZEN},
    ),
    "more frozen of a top-up than is left": (
        ("UPDATE top_ups SET frozen_usd = frozen_usd + 1 WHERE amount_usd = 200",),
        {Law.FROZEN},
    ),
    "what is frozen of one top-up, said of another": (
        ("UPDATE top_ups SET frozen_usd = 210 - frozen_usd WHERE amount_usd IN (200, 5)",),
        {Law.FROZEN},
    ),
    "a disputed lot that can be spent": (
        (f"UPDATE lots SET is_frozen = false WHERE id = {_LOT.format(200)}",),
        {Law.FROZEN},
    ),
    "a disputed lot with nothing left that can be spent": (
        ("UPDATE lots SET is_frozen = false WHERE is_frozen AND rest_usd = 0",),
        {Law.FROZEN},
    ),
    "a frozen lot that nobody disputes": (
        (f"UPDATE lots SET is_frozen = true WHERE id = {_LOT.format(400)}",),
        {Law.FROZEN},
    ),
    "a dispute that was won and left the credit frozen": (
        ("UPDATE disputes SET stage = 'released' WHERE id = 'dp_open'",),
        {Law.FROZEN},
    ),
    "a movement of another amount": (
        ("UPDATE processor_movements SET amount_usd = amount_usd - 1 WHERE kind = 'refund_failure'",),
        {Law.PROCESSOR},
    ),
    "a movement of another fee": (
        ("UPDATE processor_movements SET fee_usd = -fee_usd WHERE kind = 'dispute_reversal'",),
        {Law.PROCESSOR},
    ),
    "a payment of another amount": (
        ("UPDATE processor_movements SET amount_usd = amount_usd + 1 WHERE amount_usd = 1100",),
        {Law.PROCESSOR},
    ),
    "a refund's money that went for a dispute": (
        ("UPDATE processor_movements SET kind = 'dispute' WHERE kind = 'refund'",),
        {Law.PROCESSOR},
    ),
    "money that the processor did not move": (
        ("DELETE FROM processor_movements WHERE kind = 'refund_failure'",),
        {Law.PROCESSOR},
    ),
    "a fee that the processor did not take": (
        ("DELETE FROM processor_movements WHERE amount_usd = 1100",),
        {Law.PROCESSOR},
    ),
    "money that moved once, and is told twice": (
        (
            """INSERT INTO processor_movements
               SELECT account_id, 'again', top_up_id, kind, amount_usd, fee_usd, transfer_id, fee_transfer_id,
                      occurred_at, recorded_at
                 FROM processor_movements WHERE kind = 'refund_failure'""",
        ),
        {Law.PROCESSOR},
    ),
    "money that moved for another top-up": (
        (
            """UPDATE processor_movements
                  SET top_up_id = (SELECT id FROM top_ups WHERE amount_usd = 400)
                WHERE kind = 'refund_failure'""",
        ),
        {Law.PROCESSOR},
    ),
}  # fmt: skip
FINE: Final = {
    "an unpaid top-up of another amount": "UPDATE top_ups SET amount_usd = 6 WHERE amount_usd = 5",
    "a dispute of more than was paid": "UPDATE disputes SET amount_usd = amount_usd + 1",
    "a refund that has arrived": "UPDATE refunds SET state = 'succeeded' WHERE state = 'pending'",
    "what an open dispute would take": "UPDATE disputes SET credit_usd = 1 WHERE stage = 'frozen'",
}
