"""The demo account that `metering up` opens: a key, a service token and a hundred dollars to try."""

from __future__ import annotations

from typing import Final, NamedTuple

from metering.errors import AccountNotFound, InvalidApiKey
from metering.money import PICO_PER_USD
from metering.services.accounts import create_account, get_account
from metering.services.api_keys import authenticate_api_key, create_api_key
from metering.services.grants import Wanted, grant_credit
from metering.services.service_tokens import Scope, authenticate_service_token, create_service_token
from metering.storage.database import Database

_CREDIT: Final = Wanted("promotional", 100 * PICO_PER_USD, "Credit to try the demo", actor="metering up")
# A domain that nobody has: such mail is for the directory that `metering up` keeps it in.
_EMAIL: Final = "demo@example.com"


class Demo(NamedTuple):
    """What somebody needs to use the demo; the last two are secrets."""

    account_id: str
    api_key: str
    service_token: str


def open_demo(
    database: Database, known: Demo | None, *, api_key_prefix: str, low_balance_pico: int | None = None
) -> Demo:
    """The known demo where its account and keys still work, else new ones; with its credit, given once."""
    account_id = None if known is None else _usable_account(database, known)
    if account_id is None:
        opened = create_account(
            database, "Demo", metadata={"demo": True}, email=_EMAIL, low_balance_pico=low_balance_pico
        )
        account_id = opened.account.account_id
        known = None
    if known is None or not _opens(database, known):
        _, api_key = create_api_key(database, account_id, prefix=api_key_prefix, name="demo")
    else:
        api_key = known.api_key
    service_token = known.service_token if known is not None and _is_token(database, known) else None
    if service_token is None:
        _, service_token = create_service_token(database, name="demo", scopes=Scope)
    grant_credit(database, account_id, _CREDIT, "demo-credit")
    return Demo(account_id, api_key, service_token)


def _usable_account(database: Database, known: Demo) -> str | None:
    try:
        return get_account(database, known.account_id).account.account_id
    except AccountNotFound:
        return None


def _opens(database: Database, known: Demo) -> bool:
    try:
        return authenticate_api_key(database, known.api_key).account_id == known.account_id
    except InvalidApiKey:
        return False


def _is_token(database: Database, known: Demo) -> bool:
    try:
        token = authenticate_service_token(database, known.service_token)
    except InvalidApiKey:
        return False
    return token.scopes >= {scope.value for scope in Scope}
