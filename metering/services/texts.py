"""What a text from outside must be like before it is kept."""

from __future__ import annotations

import re
from typing import Final

from metering.errors import InvalidParameter

MAX_NAME: Final = 255
# RFC 5321's limit, and as much of RFC 5322 as is in use: nothing in it needs quotes in a header.
MAX_EMAIL: Final = 254
_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
EMAIL_PATTERN: Final = rf"^{_ATOM}(\.{_ATOM})*@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$"
_EMAIL: Final = re.compile(EMAIL_PATTERN.removeprefix("^").removesuffix("$"))


def checked(text: str, param: str, *, most: int = MAX_NAME) -> str:
    """The text without space around it; `InvalidParameter` where it is empty, too long or has a NUL."""
    stripped = text.strip()
    if not stripped:
        raise InvalidParameter("must not be empty", param=param)
    if len(stripped) > most:
        raise InvalidParameter(f"must not be longer than {most} characters", param=param)
    if "\0" in stripped:
        raise InvalidParameter("must not contain the character U+0000", param=param)
    return stripped


def checked_email(text: str, param: str) -> str:
    """The address without space around it; raises `InvalidParameter` where it is none."""
    stripped = text.strip()
    if len(stripped) > MAX_EMAIL or not _EMAIL.fullmatch(stripped):
        raise InvalidParameter("must be an e-mail address, such as ada@example.com", param=param)
    return stripped
