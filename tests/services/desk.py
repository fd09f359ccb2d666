"""The use cases of holds over a real database, told one command at a time."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from metering import ids
from metering.errors import MeteringError
from metering.money import PICO_PER_USD, to_pico
from metering.rating.engine import Rater
from metering.services.accounts import create_account, get_account
from metering.services.api_keys import create_api_key
from metering.services.authorizing import Authorize, Command, Extend, Held
from metering.services.grants import Wanted, grant_credit
from metering.services.holds import Holds
from metering.storage.database import Database
from tests.services.correcting import OLD

CENT: Final = PICO_PER_USD // 100
DOLLAR: Final = PICO_PER_USD
TEN_MINUTES: Final = timedelta(minutes=10)


class Desk:
    """The use case, told one command at a time or several."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.holds = Holds(database, Rater(OLD))

    def account(self, credit: str = "1", *, requests: int = 10_000, tokens: int = 10**9) -> str:
        """A new account with credit."""
        view = create_account(self.database, "Ada", requests_per_minute=requests, tokens_per_minute=tokens)
        account_id = view.account.account_id
        if credit != "0":
            wanted = Wanted("paid", to_pico(credit), "bank transfer", "finance")
            grant_credit(self.database, account_id, wanted, "opening")
        return account_id

    def key(self, account_id: str, **wanted: Any) -> tuple[str, bytes]:  # noqa: ANN401  (fields)
        """A new key of the account: its id and hash."""
        key, secret = create_api_key(self.database, account_id, prefix="sk-test-", **wanted)
        return key.id, ids.hash_secret(secret)

    def tell(self, command: Command) -> Held:
        """What is held; raises the refusal."""
        (outcome,) = self.holds.apply([command])
        if isinstance(outcome, MeteringError):
            raise outcome
        return outcome

    def authorize(self, account_id: str | None, amount_pico: int = CENT, **changes: Any) -> Held:  # noqa: ANN401  (fields)
        """Set a cent aside for ten minutes, or what is asked for."""
        return self.tell(authorize(account_id, amount_pico, **changes))

    def extend(self, held: Held, increment_pico: int, **changes: Any) -> Held:  # noqa: ANN401  (fields)
        """Add an increment."""
        return self.tell(extend(held, increment_pico, **changes))

    def available(self, account_id: str) -> int:
        """As anybody sees it."""
        return get_account(self.database, account_id).balance.available_pico


def authorize(account_id: str | None, amount_pico: int = CENT, **changes: Any) -> Authorize:  # noqa: ANN401  (fields)
    """The command for a cent and ten minutes, or what is asked for."""
    fields: dict[str, Any] = {
        "id": ids.new_id(), "account_id": account_id, "key_hash": None, "api_key_id": None,
        "amount_pico": amount_pico, "model": None, "tokens": 0, "lasts": TEN_MINUTES,
        "idempotency_key": None, "body_digest": b"a body",
    }  # fmt: skip
    return Authorize(**{**fields, **changes})


def extend(held: Held, increment_pico: int, **changes: Any) -> Extend:  # noqa: ANN401  (fields)
    """The command for an increment."""
    fields: dict[str, Any] = {"lasts": None, "idempotency_key": None, "body_digest": b"a body"}
    return Extend(ids.new_id(), held.hold.id, increment_pico, **{**fields, **changes})
