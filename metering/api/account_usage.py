"""`GET /v1/account/usage`: the contract's parameters, one service, its answer."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

from metering.api.usage_rendering import SEQUENCE_DIGITS
from metering.errors import InvalidParameter
from metering.usage.event import SOURCES
from metering.usage.history import Cursor, Filters

MAX_LIMIT: Final = 200
DEFAULT_LIMIT: Final = 100
PARAMETERS: Final = ("limit", "before", "from", "to", "source", "model", "status")
_MOMENT: Final = re.compile(r"(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(?:\.(\d+))?([Zz]|[+ -]\d\d:\d\d)")
_MICRO_DIGITS: Final = 6
_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST: Final = datetime(9999, 1, 1, tzinfo=UTC)


def parse_query(query: Iterable[tuple[str, str]]) -> tuple[Filters, Cursor | None, int]:
    """The contract's query parameters: filters, where to begin, and how many.

    Raises `InvalidParameter` naming the parameter that is unknown, doubled or not what the contract says.
    """
    given = read_given(query, PARAMETERS)
    filters = Filters(
        since=read_moment("from", given),
        until=read_moment("to", given),
        source=read_one_of("source", given, SOURCES),
        model=_text("model", given),
        status=read_one_of("status", given, ("success", "error")),
    )
    return filters, read_cursor(given), read_limit(given)


def read_given(query: Iterable[tuple[str, str]], known: tuple[str, ...]) -> dict[str, str]:
    """The parameters by name; raises `InvalidParameter` for one that is unknown or doubled."""
    given: dict[str, str] = {}
    for name, value in query:
        if name not in known:
            raise InvalidParameter(f"unknown parameter; known are {', '.join(known) or 'none'}", param=name)
        if name in given:
            raise InvalidParameter("was given twice", param=name)
        given[name] = value
    return given


def read_limit(given: dict[str, str]) -> int:
    """How many to return."""
    text = given.get("limit", str(DEFAULT_LIMIT))
    # ASCII digits only: int() would also read other scripts' digits, signs and underscores.
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= MAX_LIMIT:
        raise InvalidParameter(f"must be a whole number from 1 to {MAX_LIMIT}", param="limit")
    return int(text)


def read_one_of(name: str, given: dict[str, str], allowed: tuple[str, ...]) -> str | None:
    """One of the allowed values, None where it is not given."""
    value = given.get(name)
    if value is not None and value not in allowed:
        raise InvalidParameter(f"must be one of {', '.join(allowed)}", param=name)
    return value


def _text(name: str, given: dict[str, str]) -> str | None:
    value = given.get(name)
    if value is not None and "\0" in value:
        raise InvalidParameter("must not contain the character U+0000", param=name)
    return value


def read_cursor(given: dict[str, str]) -> Cursor | None:
    """Any date-time; one of our own has the sequence behind its microseconds."""
    at = read_moment("before", given)
    if at is None:
        return None
    match = _MOMENT.fullmatch(given["before"])
    digits = (match[2] or "") if match is not None else ""
    if len(digits) == _MICRO_DIGITS + SEQUENCE_DIGITS:
        return Cursor(at, int(digits[_MICRO_DIGITS:]))
    # Times are kept in microseconds: what is finer than that rounds up, so that nothing before it is missed.
    finer = digits[_MICRO_DIGITS:].strip("0")
    return Cursor(at + timedelta(microseconds=1) if finer else at)


def read_moment(name: str, given: dict[str, str]) -> datetime | None:
    """A date-time with its zone, to the microsecond; an unescaped `+` has become a space."""
    text = given.get(name)
    if text is None:
        return None
    at = _parse_moment(text)
    # Room for an hour on either side, which spend over whole hours needs.
    if at is None or not _FIRST <= at < _LAST:
        raise InvalidParameter("must be a date-time with its zone, such as 2026-05-06T00:12:03Z", param=name)
    return at


def _parse_moment(text: str) -> datetime | None:
    match = _MOMENT.fullmatch(text)
    if match is None:
        return None
    zone = match[3].upper().replace(" ", "+")
    fraction = (match[2] or "").ljust(_MICRO_DIGITS, "0")[:_MICRO_DIGITS]
    try:
        return datetime.fromisoformat(f"{match[1]}.{fraction}{zone}").astimezone(UTC)
    except (ValueError, OverflowError):
        return None
