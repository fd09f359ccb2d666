"""Parameters as clients know them: by the names that they send, and no others."""

from __future__ import annotations

from typing import Annotated, Any, Final

from litestar import Request
from litestar.handlers import BaseRouteHandler
from litestar.params import HeaderParameter, ParameterKwarg, QueryParameter

from metering.api.account_usage import read_given
from metering.errors import InvalidParameter
from metering.services.texts import checked

# The option of a handler that reads its query by itself, and refuses what it doesn't know.
READS_QUERY: Final = "reads_query"

IdempotencyKey = Annotated[str | None, HeaderParameter(name="Idempotency-Key", max_length=255)]


def read_idempotency_key(in_body: str | None, header: str | None) -> str | None:
    """The key, wherever it was given; raises `InvalidParameter` where it is two different ones."""
    given = {checked(key, "idempotency_key") for key in (in_body, header) if key is not None}
    if len(given) > 1:
        raise InvalidParameter("differs from the header Idempotency-Key", param="idempotency_key")
    return next(iter(given), None)


def require_idempotency_key(in_body: str | None, header: str | None, *, verb: str) -> str:
    """The same, where there must be one: a call that is repeated shall not `verb` twice."""
    key = read_idempotency_key(in_body, header)
    if key is None:
        raise InvalidParameter(f"is missing: a repeated call must not {verb} twice", param="idempotency_key")
    return key


async def refuse_unknown(request: Request[Any, Any, Any]) -> None:
    """Before a handler: raise `InvalidParameter` for a query parameter that is unknown, or given twice."""
    handler = request.route_handler
    if request.scope["query_string"] and READS_QUERY not in handler.opt:
        read_given(request.query_params.multi_items(), tuple(sent_names(handler, QueryParameter).values()))


def sent_names(handler: BaseRouteHandler, kind: type[ParameterKwarg] = ParameterKwarg) -> dict[str, str]:
    """The names under which a client sends a handler's parameters, by those they have in Python."""
    return {
        name: field.kwarg_definition.name or name
        for name, field in handler.parsed_fn_signature.parameters.items()
        if isinstance(field.kwarg_definition, kind)
    }
