"""JSON out: amounts as numbers in plain decimals, times in UTC. JSON in: strict, with the field's name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Any, Final, TypeVar

import msgspec
from litestar import MediaType, Request, Response

from metering.errors import InvalidParameter
from metering.money import AmountError, to_number, to_pico

T = TypeVar("T")
# What a decoder raises for input that nests too deeply or is not UTF-8, beside its own errors.
UNREADABLE: Final = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)
_JSON: Final = msgspec.json.Encoder(decimal_format="number")
_AT: Final = re.compile(r" - at (?:`key` in )?`\$(?:\[\.\.\.\]|\[\d+\])?\.?([^`]*)`$")
_QUOTED: Final = re.compile(r"field `([^`]+)`")
# A JSON number, or one in quotes, which is how clients without decimals keep an amount exact.
AMOUNT_PATTERN: Final = r"^[0-9]+(\.[0-9]+)?$"
SIGNED_AMOUNT_PATTERN: Final = r"^-?[0-9]+(\.[0-9]+)?$"
# No control characters: PostgreSQL keeps no U+0000, and a name with the others is no name.
PRINTABLE: Final = r"^[^\x00-\x1f]*$"
_UNPRINTABLE: Final = f"Expected `str` matching regex {PRINTABLE!r}"
_AMOUNT: Final = re.compile(rb'-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,4})?|"-?[0-9]+(?:\.[0-9]+)?"')
_MAX_AMOUNT_TEXT: Final = 64


def json_response(
    content: object, status_code: int = 200, headers: Mapping[str, str] | None = None
) -> Response[Any]:
    """The content as JSON; already encoded where it is bytes."""
    body = content if isinstance(content, bytes) else _JSON.encode(content)
    return Response(body, status_code=status_code, media_type=MediaType.JSON, headers=dict(headers or {}))


def amount(pico: int) -> msgspec.Raw:
    """An amount as a JSON number in plain decimals."""
    return msgspec.Raw(to_number(pico).encode())


def moment(value: datetime | None) -> str | None:
    """A time as RFC 3339 in UTC."""
    return None if value is None else value.astimezone(UTC).isoformat().replace("+00:00", "Z")


async def read_json(request: Request[Any, Any, Any], kind: type[T]) -> T:
    """The request's body as a `kind`, nothing converted and no number through a float.

    Raises `InvalidParameter` naming the field.
    """
    body = await request.body()
    known: Any = kind
    decoder: msgspec.json.Decoder[T] = _decoder(known)
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise invalid_field(error) from error
    except UNREADABLE as error:
        raise not_json(error) from error


@cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:  # noqa: ANN401  (a type)
    return msgspec.json.Decoder(kind, float_hook=read_number)


def read_number(text: str) -> Decimal:
    """The number as it is spelt; an exponent of twenty digits is more than even a Decimal holds."""
    try:
        return Decimal(text)
    except InvalidOperation as error:
        raise ValueError("Number out of range") from error


def read_amount(raw: msgspec.Raw, param: str) -> int:
    """A positive amount of dollars, as it was spelt, in picodollars; raises `InvalidParameter`."""
    pico = read_signed_amount(raw, param)
    if pico <= 0:
        raise InvalidParameter("must be more than zero", param=param)
    return pico


def read_signed_amount(raw: msgspec.Raw, param: str) -> int:
    """An amount of dollars of either sign, as it was spelt, in picodollars; raises `InvalidParameter`."""
    text = bytes(raw)
    if len(text) > _MAX_AMOUNT_TEXT or not _AMOUNT.fullmatch(text):
        raise InvalidParameter("must be an amount of US dollars, such as 12.50", param=param)
    try:
        return to_pico(text.decode().strip('"'))
    except AmountError as error:
        raise InvalidParameter(str(error), param=param) from error


def not_json(error: Exception) -> InvalidParameter:
    """The error of a body that is no JSON at all."""
    reason = "it nests too deeply" if isinstance(error, RecursionError) else str(error)
    return InvalidParameter(f"The body is not valid JSON: {reason}.", param="body")


def invalid_field(error: Exception) -> InvalidParameter:
    """A decoder's complaint with the path of the field it is about."""
    if isinstance(error, RecursionError):
        return InvalidParameter("nests too deeply", param="body")
    message = str(error)
    if not isinstance(error, msgspec.ValidationError):
        return InvalidParameter(f"is not valid JSON: {message}", param="body")
    at = _AT.search(message)
    quoted = _QUOTED.search(message)
    path = ".".join(filter(None, [at[1] if at else "", quoted[1] if quoted else ""]))
    told = _AT.sub("", message).replace(_UNPRINTABLE, "must not contain control characters")
    return InvalidParameter(told, param=path.replace("[...]", "") or "body")
