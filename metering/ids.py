"""Ids and secrets, made in Python so that a row's id is known before the database sees it."""

from __future__ import annotations

import hashlib
import random
import secrets
import time


def new_id() -> str:
    """A UUIDv7 (RFC 9562) as text; sorts by time made, to a quarter of a microsecond.

    48 bits of Unix milliseconds, 12 bits of the millisecond's fraction (the RFC's method 3), 62 random bits.
    """
    # Ids are no secrets. The system's generator would hand over the interpreter at each call, and a
    # thread that makes a thousand ids would wait for it a thousand times.
    return _id(random.getrandbits(64))


def new_unguessable_id() -> str:
    """The same, of which nobody can foretell the 62 bits: for what is shown to whoever knows the id."""
    return _id(secrets.randbits(64))


def _id(chance: int) -> str:
    milliseconds, nanoseconds = divmod(time.time_ns(), 1_000_000)
    time_hex = f"{milliseconds:012x}"
    fraction = (nanoseconds << 12) // 1_000_000
    bits = f"{chance:016x}"
    # Version 7 stands in the 13th digit; the variant's two bits in the 17th, 8 to b.
    variant = "89ab"[int(bits[0], 16) & 3]
    return f"{time_hex[:8]}-{time_hex[8:]}-7{fraction:03x}-{variant}{bits[1:4]}-{bits[4:]}"


def new_secret(prefix: str) -> str:
    """A secret for a bearer token: the prefix and 256 random bits as URL-safe text."""
    return prefix + secrets.token_urlsafe(32)


def hash_secret(secret: str) -> bytes:
    """SHA-256 of a secret. A slow password hash would add nothing: the secret has 256 random bits."""
    return hashlib.sha256(secret.encode()).digest()
