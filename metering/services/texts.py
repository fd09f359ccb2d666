"""What a text from outside must be like before it is kept."""

from __future__ import annotations

from typing import Final

from metering.errors import InvalidParameter

MAX_NAME: Final = 255


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
