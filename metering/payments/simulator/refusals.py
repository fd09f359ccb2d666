"""What Stripe answers when it won't: a type, a code, a message, the parameter at fault."""

from __future__ import annotations

from typing import Any, Final

Json = dict[str, Any]

_DOCUMENTATION: Final = "https://docs.stripe.com/error-codes/"


class Refusal(ValueError):
    """An answer that is an error. `more` are further fields of Stripe's error object."""

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        status: int = 400,
        type: str = "invalid_request_error",
        **more: object,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error: Json = {"type": type, "message": message}
        if code:
            self.error |= {"code": code, "doc_url": _DOCUMENTATION + code.replace("_", "-")}
        if param:
            self.error["param"] = param
        self.error |= {name: value for name, value in more.items() if value is not None}


def missing(kind: str, id: str, param: str = "id") -> Refusal:
    """There is no such object. Stripe says 404 where it is the path's and 400 where it is a parameter's."""
    return Refusal(
        f"No such {kind}: '{id}'",
        code="resource_missing",
        param=param,
        status=404 if param == "id" else 400,
    )


def refuse_checkouts(intent: Json, verb: str) -> None:
    """An intent that Checkout made is moved by its page alone."""
    if intent.get("_checkout_session"):
        raise Refusal(
            f"You cannot {verb} an intent that was created by a Checkout Session. To cancel it, expire the "
            "Checkout Session instead.",
            code=f"{intent['object']}_unexpected_state",
        )
