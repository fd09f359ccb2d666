"""Every failure leaves in one shape: `{"error": {"message", "type", "code", "param"}}`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec
from litestar import MediaType, Request, Response
from litestar.exceptions import (
    HTTPException,
    InternalServerException,
    MethodNotAllowedException,
    NotFoundException,
    ValidationException,
)
from litestar.openapi.datastructures import ResponseSpec
from litestar.status_codes import HTTP_413_REQUEST_ENTITY_TOO_LARGE, HTTP_500_INTERNAL_SERVER_ERROR

from metering import errors, telemetry
from metering.api.encoding import amount
from metering.api.parameters import sent_names
from metering.errors import MeteringError

_RETRY_SECONDS: Final = "2"
_KEY: Final = re.compile(r"`\$\.?([^`]+)`|field `([^`]+)`")
_TO_WAIT_OUT: Final = (errors.Unavailable, errors.PaymentsUnavailable)
_ABOUT_KEYS: Final = (errors.MissingApiKey, errors.InvalidApiKey)
_LOG: Final = telemetry.log(__name__)


class ErrorDetail(msgspec.Struct):
    """What went wrong: `code` for programs, `message` for people, `param` the field at fault.

    The contract knows no null here: where no field is at fault, `param` is empty.
    """

    message: str
    type: str
    code: str
    param: str


class ErrorBody(msgspec.Struct):
    """The envelope of every error."""

    error: ErrorDetail


class CreditErrorDetail(ErrorDetail):
    """Less is available than was wanted, of the account's credit or of the key's budget: US dollars."""

    available_usd: Decimal
    wanted_usd: Decimal


class CreditErrorBody(msgspec.Struct):
    """The envelope of an error about credit."""

    error: CreditErrorDetail


def error_responses(*statuses: int) -> dict[int, ResponseSpec]:
    """The documented errors of a route; every route can be answered 500 and 503."""
    about_credit = errors.InsufficientCredits.http_status
    return {
        status: ResponseSpec(
            CreditErrorBody if status == about_credit else ErrorBody,
            generate_examples=False,
            description="An error",
        )
        for status in (*statuses, 500, 503)
    }


def handle(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """An exception as an answer; only our own messages are shown, all others are logged instead."""
    known = error if isinstance(error, MeteringError) else _translate(request, error)
    if _is_gone(error):
        _LOG.info("the client went away", path=request.url.path, method=request.method)
    elif isinstance(error, errors.PaymentsUnavailable):
        _LOG.warning("request failed", path=request.url.path, method=request.method, reason=error.message)
    elif known.http_status >= HTTP_500_INTERNAL_SERVER_ERROR:
        _LOG.error("request failed", path=request.url.path, method=request.method, exc_info=error)
    headers = {}
    if isinstance(known, _TO_WAIT_OUT):
        headers["Retry-After"] = _RETRY_SECONDS
    if isinstance(known, errors.RateLimitExceeded):
        headers["Retry-After"] = str(known.retry_after_seconds)
    if isinstance(known, _ABOUT_KEYS):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, MethodNotAllowedException) and error.headers:
        headers |= error.headers
    return Response(
        msgspec.json.encode({"error": _with_amounts(known, detail(known))}),
        status_code=known.http_status,
        media_type=MediaType.JSON,
        headers=headers,
    )


def detail(error: MeteringError) -> ErrorDetail:
    """The envelope's content; an error that is ours says nothing of its cause."""
    if error.http_status >= HTTP_500_INTERNAL_SERVER_ERROR:
        shown = error.message if isinstance(error, _TO_WAIT_OUT) else "Something went wrong on our side."
        return ErrorDetail(shown, "api_error", error.code, "")
    param = error.param or ("Authorization" if isinstance(error, _ABOUT_KEYS) else "")
    return ErrorDetail(error.message, "invalid_request_error", error.code, param)


def _is_gone(error: Exception) -> bool:
    """Whether the client hung up before it had sent its request; the framework's words are all that tells."""
    return isinstance(error, InternalServerException) and "disconnected" in str(error.detail)


def _with_amounts(error: MeteringError, told: ErrorDetail) -> object:
    """The envelope's content, with what was available and wanted where it is about credit."""
    if not isinstance(error, errors.InsufficientCredits):
        return told
    amounts = {"available_usd": amount(error.available_pico), "wanted_usd": amount(error.wanted_pico)}
    return {**msgspec.structs.asdict(told), **amounts}


def _translate(request: Request[Any, Any, Any], error: Exception) -> MeteringError:
    """The framework's own exceptions in our words."""
    if isinstance(error, NotFoundException):
        return errors.NotFound("There is nothing at this address.")
    if isinstance(error, MethodNotAllowedException):
        return errors.MethodNotAllowed("This address does not know that method.")
    if isinstance(error, ValidationException):
        return _invalid(error, sent_names(request.route_handler))
    if isinstance(error, HTTPException) and error.status_code == HTTP_413_REQUEST_ENTITY_TOO_LARGE:
        return errors.PayloadTooLarge("A call takes up to 16 MiB.")
    if isinstance(error, HTTPException) and error.status_code < HTTP_500_INTERNAL_SERVER_ERROR:
        return errors.InvalidParameter("The request could not be read.", param="body")
    return MeteringError("internal error")


def _invalid(error: ValidationException, sent: Mapping[str, str]) -> errors.InvalidParameter:
    """The field that a framework's validation complains of, by the name under which it was sent."""
    extra: list[Any] = error.extra if isinstance(error.extra, list) else []
    first = extra[0] if extra and isinstance(extra[0], dict) else {}
    message = str(first.get("message") or error.detail)
    match = _KEY.search(message)
    named = (match[1] or match[2] if match else None) or first.get("key") or "body"
    return errors.InvalidParameter(message, param=sent.get(named, named))
