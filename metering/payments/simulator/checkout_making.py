"""How a Checkout session begins: what Stripe refuses of the parameters together, and all the fields."""

from __future__ import annotations

from typing import Final

from metering.payments.simulator.checkout_lines import make_line_item, taxed, totals
from metering.payments.simulator.customers import merged
from metering.payments.simulator.payment_intents import check_descriptors
from metering.payments.simulator.refusals import Json, Refusal
from metering.payments.simulator.setup_intents import make_setup_intent
from metering.payments.simulator.state import State

METHODS: Final = ("card", "us_bank_account")
_MINUTE: Final = 60
_DAY: Final = 24 * 60 * _MINUTE
_LEAST_CENTS: Final = 50
_MOST_CENTS: Final = 99_999_999


def make_session(state: State, form: Json) -> Json:
    """A new session of a call's parameters."""
    _check(form)
    customer = state.get("customer", form["customer"], "customer") if form.get("customer") else None
    session_id = state.new_id("cs_test")
    details = _known_of(customer, form.get("customer_email"))
    session = {
        **_as_asked(form),
        **_never_here(),
        "id": session_id,
        "object": "checkout.session",
        "created": state.now(),
        "customer_details": details,
        "expires_at": _expiry(state, form.get("expires_at")),
        "url": f"{state.settings.base_url}/c/pay/{session_id}",
    }
    if form["mode"] == "setup":
        session |= _for_setup(state, form)
    else:
        session |= _for_payment(state, form, customer)
    if setup := state.find("setup_intent", session["setup_intent"]):
        state.change(setup, _checkout_session=session_id)
    return state.add(session)


def _check(form: Json) -> None:
    """What Stripe refuses of the parameters together."""
    others = {
        "payment": ("setup_intent_data",),
        "setup": ("line_items", "payment_intent_data", "submit_type"),
    }
    mode = form["mode"]
    for name in ("success_url", "cancel_url"):
        if not (form.get(name) or "https://").startswith(("https://", "http://")):
            raise Refusal("Not a valid URL", code="url_invalid", param=name)
    for name in others[mode]:
        if name in form:
            raise Refusal(f"You can not pass `{name}` in `{mode}` mode.", param=name)
    if form.get("customer") and form.get("customer_email"):
        raise Refusal(
            "You may only specify one of these parameters: customer, customer_email.", param="customer"
        )
    if form.get("customer") and form.get("customer_creation"):
        raise Refusal(
            "You may only specify one of these parameters: customer, customer_creation.",
            param="customer_creation",
        )
    if form.get("customer_update") and not form.get("customer"):
        raise Refusal("`customer_update` can only be used with `customer`.", param="customer_update")
    if form.get("invoice_creation", {}).get("enabled"):
        raise Refusal("Invoices are Stripe's but not simulated.", param="invoice_creation[enabled]")
    if mode == "setup" and not form.get("allowed_payment_method_types") and not form.get("currency"):
        raise Refusal(
            "Missing required param: currency (in setup mode without allowed_payment_method_types).",
            code="parameter_missing",
            param="currency",
        )


def _as_asked(form: Json) -> Json:
    """The fields that answer what was sent, or its defaults."""
    saved = form.get("saved_payment_method_options")
    saving: Json = {"allow_redisplay_filters": ["always"], "payment_method_remove": "disabled"}
    return {
        "allowed_payment_method_types": form.get("allowed_payment_method_types"),
        "allow_promotion_codes": form.get("allow_promotion_codes"),
        "automatic_tax": _tax(form, None),
        "billing_address_collection": form.get("billing_address_collection"),
        "cancel_url": form.get("cancel_url"),
        "client_reference_id": form.get("client_reference_id"),
        "customer": form.get("customer"),
        "customer_email": form.get("customer_email"),
        "locale": form.get("locale"),
        "metadata": merged({}, form.get("metadata", {})),
        "mode": form["mode"],
        "payment_method_options": _method_options(form),
        "payment_method_types": form.get("allowed_payment_method_types") or list(METHODS),
        "saved_payment_method_options": saved and {**saving, "payment_method_save": None, **saved},
        "submit_type": form.get("submit_type"),
        "success_url": form["success_url"],
        "_customer_update": form.get("customer_update") or {},
        "_intent_data": form.get("payment_intent_data", {}),
    }


def _never_here() -> Json:
    """What a fresh session of a hosted page says of everything that isn't simulated."""
    nothing = (
        "after_expiration",
        "client_secret",
        "consent",
        "consent_collection",
        "currency_conversion",
        "customer_account",
        "integration_identifier",
        "invoice",
        "origin_context",
        "payment_intent",
        "payment_link",
        "payment_method_configuration_details",
        "permissions",
        "recovered_from",
        "setup_intent",
        "shipping_address_collection",
        "shipping_cost",
        "subscription",
        "wallet_options",
    )
    texts = ("after_submit", "shipping_address", "submit", "terms_of_service_acceptance")
    return {
        **dict.fromkeys(nothing),
        "adaptive_pricing": {"enabled": False},
        "branding_settings": {
            "background_color": "#ffffff",
            "border_style": "rounded",
            "button_color": "#0074d4",
            "display_name": "Stripe simulator",
            "font_family": "default",
            "icon": None,
            "logo": None,
        },
        "collected_information": {"business_name": None, "individual_name": None, "shipping_details": None},
        "custom_fields": [],
        "custom_text": dict.fromkeys(texts),
        "livemode": False,
        "managed_payments": {"enabled": False},
        "phone_number_collection": {"enabled": False},
        "shipping_options": [],
        "status": "open",
        "ui_mode": "hosted_page",
    }


def _for_payment(state: State, form: Json, customer: Json | None) -> Json:
    if "line_items" not in form:
        raise Refusal("Missing required param: line_items.", code="parameter_missing", param="line_items")
    address = customer and customer["address"]
    if form.get("automatic_tax", {}).get("enabled") and customer and not address:
        _check_address_comes(form)
    tax = _tax(form, address)
    lines = [make_line_item(state, line) for line in form["line_items"]]
    if tax["status"] == "complete":
        lines = [taxed(line, state.settings.tax_percent) for line in lines]
    sums = totals(lines)
    if not _LEAST_CENTS <= sums["amount_total"] <= _MOST_CENTS:
        code = "amount_too_small" if sums["amount_total"] < _LEAST_CENTS else "amount_too_large"
        raise Refusal(
            "The Checkout Session's total amount due must add up to at least $0.50 usd and at most "
            "$999,999.99 usd (a session that costs nothing is not simulated).",
            code=code,
        )
    check_descriptors(form.get("payment_intent_data", {}), form.get("allowed_payment_method_types") or [])
    return {
        **sums,
        "automatic_tax": tax,
        "currency": "usd",
        "customer_creation": None if customer else form.get("customer_creation", "if_required"),
        "discounts": [],
        "invoice_creation": {
            "enabled": False,
            "invoice_data": {
                **dict.fromkeys(("account_tax_ids", "custom_fields", "description", "footer", "issuer")),
                "metadata": {},
                "rendering_options": None,
            },
        },
        "payment_method_collection": "if_required",
        "payment_status": "unpaid",
        "_line_items": lines,
    }


def _for_setup(state: State, form: Json) -> Json:
    asked = form.get("setup_intent_data", {})
    setup = make_setup_intent(
        state,
        {
            **asked,
            "customer": form.get("customer"),
            "allowed_payment_method_types": form.get("allowed_payment_method_types"),
        },
    )
    return {
        **dict.fromkeys(
            ("amount_subtotal", "amount_total", "discounts", "invoice_creation", "total_details")
        ),
        "currency": form.get("currency"),
        "customer_creation": None if form.get("customer") else form.get("customer_creation", "if_required"),
        "payment_method_collection": "always",
        "payment_status": "no_payment_required",
        "setup_intent": setup["id"],
        "_line_items": [],
    }


def _tax(form: Json, address: Json | None) -> Json:
    if not form.get("automatic_tax", {}).get("enabled"):
        return {"enabled": False, "liability": None, "provider": None, "status": None}
    status = "complete" if address else "requires_location_inputs"
    liability = {"account": None, "type": "self"}
    return {"enabled": True, "liability": liability, "provider": "stripe", "status": status}


def _check_address_comes(form: Json) -> None:
    if (form.get("customer_update") or {}).get("address") != "auto":
        raise Refusal(
            "Automatic tax calculation in Checkout requires a valid address on the Customer. Add a valid "
            "address to the Customer or set either `customer_update[address]` to 'auto' or "
            "`customer_update[shipping]` to 'auto' to save the address entered in Checkout to the Customer.",
            code="customer_tax_location_invalid",
        )


def _method_options(form: Json) -> Json:
    asked = form.get("payment_method_options", {})
    return {**asked, "card": {"request_three_d_secure": "automatic", **asked.get("card", {})}}


def _known_of(customer: Json | None, email: str | None) -> Json | None:
    """`customer_details` before anybody came to the page."""
    known = {"email": email, "name": None, "phone": None} if email else None
    if customer:
        known = {name: customer[name] for name in ("email", "name", "phone")}
    return known and {
        "address": customer and customer["address"],
        "business_name": None,
        **known,
        "individual_name": None,
        "tax_exempt": "none",
        "tax_ids": None,
    }


def _expiry(state: State, asked: int | None) -> int:
    now = state.now()
    if asked is None:
        return now + _DAY
    if asked < now + 30 * _MINUTE:
        raise Refusal(
            "The `expires_at` timestamp must be at least 30 minutes from Checkout Session creation.",
            param="expires_at",
        )
    if asked > now + _DAY:
        raise Refusal(
            "The `expires_at` timestamp must be less than 24 hours from Checkout Session creation.",
            param="expires_at",
        )
    return asked
