"""JSON out: amounts as numbers in plain decimals, times in UTC. JSON in: strict, with the field's name."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, TypeVar

import msgspec
from litestar import MediaType, Response

from metering.errors import InvalidParameter
from metering.money import AmountError, to_number, to_pico

T = TypeVar("T")
_JSON: Final = msgspec.json.Encoder(decimal_format="number")


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


def read_amount(value: Decimal | str, param: str) -> int:
    """A positive amount of dollars in picodollars; raises `InvalidParameter`."""
    try:
        pico = to_pico(value)
    except AmountError as error:
        raise InvalidParameter(str(error), param=param) from error
    if pico <= 0:
        raise InvalidParameter("must be more than zero", param=param)
    return pico
