"""Money in, as the books see it: top-ups, refunds, disputes and movements, posted without any processor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from metering import ids
from metering.ledger.books import Books
from metering.ledger.chart import LedgerAccount
from metering.ledger.posting_rules import (
    Part,
    post_bonus,
    post_fee,
    post_reversal,
    post_settlement,
    post_taken_back,
    post_tax,
    post_top_up,
)
from metering.ledger.transfers import Transfer, TransferKind
from metering.money import to_number, to_pico
from metering.services.laid_lots import LaidLots
from metering.storage.books import keep_books, lock_account
from metering.storage.database import Database, driver

WHY: Final[dict[str, Any]] = {"reason": "as agreed", "actor": "tests"}


class Bought(NamedTuple):
    """A top-up and its lots; `bonus` is empty where there was none."""

    id: str
    credit: str
    bonus: str = ""

    @property
    def lots(self) -> tuple[str, ...]:
        return tuple(lot for lot in (self.credit, self.bonus) if lot)

    def lots_of(self, transfer: Transfer) -> tuple[str, ...]:
        """Those that such a part concerns, its own one first."""
        if not transfer.effect_pico:
            return ()
        return self.lots[::-1] if transfer.target is LedgerAccount.PROMO_EXPENSE else self.lots


class Session:
    """One transaction under both locks; rows of what was posted are written when it is kept."""

    def __init__(self, raw: Any, account_id: str) -> None:  # noqa: ANN401  (the driver's)
        self.raw = raw
        self.account_id = account_id
        self.books: Books
        self.books, self.now = lock_account(raw, account_id)
        self.laid = LaidLots.lock(raw, self.books, self.now)
        self._rows: list[tuple[str, dict[str, object]]] = []

    def post(self, transfer: Transfer, top_up_id: str, lots: Sequence[str] = (), **named: str) -> str:
        """Post a transfer of a top-up."""
        self.laid.post(transfer, lots)
        self.row("top_up_transfers", transfer_id=transfer.id, top_up_id=top_up_id, **named)
        return transfer.id

    def row(self, table: str, **columns: object) -> None:
        """A row to be written."""
        self._rows.append((table, {"account_id": self.account_id, **columns}))

    def keep(self) -> None:
        """Record it all."""
        if self.books.posted:
            keep_books(self.raw, [self.books], self.now)
        # What names a top-up comes after it.
        for table, columns in sorted(self._rows, key=lambda row: row[0] != "top_ups"):
            marks = ", ".join(["%s"] * len(columns))
            query = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"
            self.raw.execute(query.encode(), list(columns.values()))

    def update(self, table: str, row_id: str, **columns: object) -> None:
        """Change a row at once."""
        changes = ", ".join(f"{name} = %s" for name in columns)
        query = f"UPDATE {table} SET {changes} WHERE account_id = %s AND id = %s"
        self.raw.execute(query.encode(), [*columns.values(), self.account_id, row_id])

    def note_frozen(self, bought: Bought, *, is_frozen: bool) -> None:
        """Note what is frozen of a top-up."""
        rest = self.laid.rest_pico(bought.lots) if is_frozen else 0
        self.update("top_ups", bought.id, frozen_usd=to_number(rest))


class MoneyIn:
    """What an account paid, and what became of it; amounts are dollars as text."""

    def __init__(self, database: Database, account_id: str) -> None:
        self.database = database
        self.account_id = account_id

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A transaction, kept at its end."""
        with self.database.transaction() as connection:
            session = Session(driver(connection), self.account_id)
            yield session
            session.keep()

    def top_up(self, amount: str, bonus: str = "0", tax: str = "0", fee: str = "0") -> Bought:
        """A payment that succeeded."""
        bought = Bought(ids.new_id(), ids.new_id(), ids.new_id() if to_pico(bonus) else "")
        rules: list[tuple[Callable[..., Transfer], str, str]] = [
            (post_top_up, bought.credit, amount),
            (post_bonus, bought.bonus, bonus),
            (post_tax, ids.new_id(), tax),
        ]
        with self.session() as session:
            for rule, transfer_id, dollars in rules:
                if to_pico(dollars):
                    transfer = rule(transfer_id, self.account_id, to_pico(dollars), session.now)
                    session.post(transfer, bought.id)
            session.row(
                "top_ups",
                id=bought.id,
                origin="checkout",
                state="succeeded",
                amount_usd=amount,
                bonus_percent=5,
                bonus_usd=bonus,
                tax_usd=tax,
                transfer_id=bought.credit,
                bonus_transfer_id=bought.bonus or None,
                created_at=session.now,
                succeeded_at=session.now,
                closed_at=session.now,
            )
            paid = to_number(to_pico(amount) + to_pico(tax))
            self._move(session, bought, "payment", paid, fee=fee)
        return bought

    def give_up(self, amount: str) -> None:
        """A top-up that nobody paid."""
        with self.session() as session:
            session.row(
                "top_ups",
                id=ids.new_id(),
                origin="checkout",
                state="canceled",
                amount_usd=amount,
                bonus_percent=5,
                bonus_usd=amount,
                created_at=session.now,
                closed_at=session.now,
            )

    def refund(self, bought: Bought, *, moved: bool = True, **parts: str) -> str:
        """A refund of so much credit, bonus and tax; `moved` by the processor."""
        refund_id = ids.new_id()
        paid = to_number(to_pico(parts.get("credit", "0")) + to_pico(parts.get("tax", "0")))
        with self.session() as session:
            self._take(session, bought, TransferKind.REFUND, parts, refund_id=refund_id)
            session.row(
                "refunds",
                id=refund_id,
                top_up_id=bought.id,
                origin="service",
                state="pending",
                amount_usd=paid,
                **_columns(parts),
                created_at=session.now,
                **WHY,
            )
            if moved:
                self._move(session, bought, "refund", f"-{paid}", clearing=LedgerAccount.REFUNDS)
        return refund_id

    def fail_refund(self, bought: Bought, refund_id: str, paid: str) -> None:
        """A refund that did not arrive, and comes back."""
        with self.session() as session:
            self._undo(session, bought, refund_id=refund_id)
            session.update("refunds", refund_id, state="failed")
            self._move(session, bought, "refund_failure", paid, clearing=LedgerAccount.REFUNDS)

    def freeze(self, bought: Bought, dispute_id: str, amount: str) -> None:
        """A dispute opened, and its money withdrawn."""
        with self.session() as session:
            session.laid.freeze(bought.lots)
            session.note_frozen(bought, is_frozen=True)
            session.row(
                "disputes",
                id=dispute_id,
                top_up_id=bought.id,
                status="needs_response",
                stage="frozen",
                reason="fraudulent",
                amount_usd=amount,
                **_columns({}),
                opened_at=session.now,
                updated_at=session.now,
            )
            self._move(session, bought, "dispute", f"-{amount}", fee="15", clearing=LedgerAccount.DISPUTES)

    def lose(self, bought: Bought, dispute_id: str, **parts: str) -> None:
        """A frozen dispute lost."""
        with self.session() as session:
            self._thaw(session, bought)
            self._take(session, bought, TransferKind.DISPUTE, parts, dispute_id=dispute_id)
            session.update("disputes", dispute_id, stage="lost", **_columns(parts))

    def win(self, bought: Bought, dispute_id: str, amount: str) -> None:
        """A dispute won, frozen or lost before, and its money given back."""
        with self.session() as session:
            self._thaw(session, bought)
            self._undo(session, bought, dispute_id=dispute_id)
            session.update("disputes", dispute_id, stage="released")
            clearing = LedgerAccount.DISPUTES
            self._move(session, bought, "dispute_reversal", amount, fee="-15", clearing=clearing)

    @staticmethod
    def _thaw(session: Session, bought: Bought) -> None:
        session.laid.thaw(bought.lots)
        session.note_frozen(bought, is_frozen=False)

    def _take(
        self,
        session: Session,
        bought: Bought,
        kind: TransferKind,
        parts: Mapping[str, str],
        **named: str,
    ) -> None:
        order: tuple[Part, ...] = ("credit", "bonus", "tax")
        for part in order:
            if pico := to_pico(parts.get(part, "0")):
                transfer = post_taken_back(
                    ids.new_id(), self.account_id, kind, part, pico, session.now, **WHY
                )
                session.post(transfer, bought.id, bought.lots_of(transfer), **named)

    def _undo(self, session: Session, bought: Bought, **named: str) -> None:
        ((name, value),) = named.items()
        query = f"""SELECT id::text, kind, from_account, to_account, amount_usd
                      FROM top_up_transfers JOIN transfers USING (account_id)
                     WHERE id = transfer_id AND {name} = %s ORDER BY sequence"""
        for transfer_id, kind, source, target, amount in session.raw.execute(query.encode(), [value]):
            first = Transfer(
                transfer_id,
                self.account_id,
                TransferKind(kind),
                LedgerAccount(source),
                LedgerAccount(target),
                to_pico(amount),
                session.now,
            )
            mirror = post_reversal(ids.new_id(), first, session.now, **WHY)
            session.post(mirror, bought.id, bought.lots_of(first), **named)

    def _move(
        self,
        session: Session,
        bought: Bought,
        kind: str,
        amount: str,
        *,
        fee: str = "0",
        clearing: LedgerAccount | None = None,
    ) -> None:
        settled = kept = None
        if clearing is not None:
            moved = post_settlement(ids.new_id(), self.account_id, clearing, to_pico(amount), session.now)
            settled = session.post(moved, bought.id)
        if to_pico(fee):
            kept = session.post(post_fee(ids.new_id(), self.account_id, to_pico(fee), session.now), bought.id)
        session.row(
            "processor_movements",
            id=f"txn_{ids.new_id()}",
            top_up_id=bought.id,
            kind=kind,
            amount_usd=amount,
            fee_usd=fee,
            transfer_id=settled,
            fee_transfer_id=kept,
            occurred_at=session.now,
            recorded_at=session.now,
        )


def _columns(parts: Mapping[str, str]) -> dict[str, str]:
    return {f"{part}_usd": parts.get(part, "0") for part in ("credit", "bonus", "tax")}
