"""Accounts as a call names them: by id, by the secret of one of their keys, or by one of their holds."""

from __future__ import annotations

from typing import Final, NamedTuple

from metering.storage.copying import array, text_array

# An array of the accounts' ids; its parameters are those of an `Asked`.
ACCOUNTS_ASKED: Final = """ARRAY(
    SELECT unnest(%s::uuid[])
     UNION SELECT account_id FROM api_keys WHERE key_hash = ANY(%s::bytea[])
     UNION SELECT account_id FROM holds WHERE id = ANY(%s::uuid[]))
"""


class Asked(NamedTuple):
    """The names, as PostgreSQL's arrays; each stands for the account that it belongs to, if there is one."""

    account_ids: str
    key_hashes: str
    hold_ids: str

    @classmethod
    def of(cls, account_ids: set[str], key_hashes: set[bytes], hold_ids: set[str]) -> Asked:
        """From ids and the keys' hashes."""
        return cls(array(account_ids), binary_array(key_hashes), array(hold_ids))


def binary_array(values: set[bytes] | list[bytes | None]) -> str:
    """An array parameter of bytea; None is NULL."""
    return text_array(None if value is None else f"\\x{value.hex()}" for value in values)
