"""Ids and secrets, made in Python so that a row's id is known before the database sees it."""

from __future__ import annotations

import hashlib
import os
import secrets
import time


def new_id() -> str:
    """A UUIDv7 (RFC 9562) as text: 48 bits of Unix milliseconds, then 74 random bits; sorts by time made."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    value = (milliseconds & (1 << 48) - 1) << 80 | random
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def new_secret(prefix: str) -> str:
    """A secret for a bearer token: the prefix and 256 random bits as URL-safe text."""
    return prefix + secrets.token_urlsafe(32)


def hash_secret(secret: str) -> bytes:
    """SHA-256 of a secret. A slow password hash would add nothing: the secret has 256 random bits."""
    return hashlib.sha256(secret.encode()).digest()
