"""From parsed documents to a `PriceBook`, or every reason why not: file, model, charge, reason."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Final, cast

from metering.errors import PriceBookError
from metering.money import PICO_PER_USD, to_pico
from metering.pricing import schema
from metering.pricing.book import Charge, ModelPrices, Plan, PriceBook, Rate, RateCard, Tier
from metering.pricing.checks import check_card, check_neighbours, is_above
from metering.pricing.listing import PlaceholderError, plan_rows, row, tier_text
from metering.usage.meters import REQUESTS, UPSTREAM_COST, Field, Meter, Scalar, Vocabulary

_UNIT: Final = re.compile(r"(?:([0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,15})([KkM]?) )?(([^\s\d]\S*).*)")
_SECONDS: Final = {"second": 1, "seconds": 1, "minute": 60, "minutes": 60, "hour": 3600, "hours": 3600}
_DOLLAR_MODELS: Final = frozenset({"percentage", "dynamic"})

Document = Mapping[str, object]


def compile_book(documents: Mapping[str, object]) -> PriceBook:
    """Compile parsed files, by name: `book.yml`, `meters.yml`, `plans.yml` and any number of provider files.

    Raises `PriceBookError` whose `problems` name file, model, charge and reason.
    """
    compiler = _Compiler()
    book = compiler.compile(documents)
    if compiler.problems:
        raise PriceBookError(compiler.problems)
    return book


def digest(documents: Mapping[str, object]) -> bytes:
    """SHA-256 of the documents as canonical JSON: the same prices give the same digest, however formatted."""
    text = json.dumps(
        documents,
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
        default=lambda moment: moment.isoformat(),
    )
    return hashlib.sha256(text.encode()).digest()


class _Compiler:
    """One compilation; collects problems and goes on, so that one run reports them all."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.vocabulary = Vocabulary()

    def report(self, *where_and_reason: str) -> None:
        self.problems.append(": ".join(where_and_reason))

    def shape(self, value: object, keys: Mapping[str, schema.Key], *where: str) -> Document | None:
        """The value as a mapping if its shape is right, else None with its problems reported."""
        problems = schema.shape_problems(value, keys)
        for problem in problems:
            self.report(*where, problem)
        return None if problems else cast("Document", value)

    def named(self, content: object, *where: str) -> Iterator[tuple[str, object]]:
        """The entries of a mapping whose names are texts; `1:` and `on:` are not, and are reported."""
        for name, body in cast("Mapping[object, object]", content).items():
            if isinstance(name, str):
                yield name, body
            else:
                self.report(*where, f"the name {name!r} must be a text: write it in quotes")

    def compile(self, documents: Mapping[str, object]) -> PriceBook:
        self.shape(documents.get("book.yml", {}), schema.BOOK, "book.yml")
        self.compile_vocabulary(documents.get("meters.yml", {}))
        models: dict[str, ModelPrices] = {}
        plans: dict[str, Plan] = {}
        for name, document in documents.items():
            if name not in {"book.yml", "meters.yml", "plans.yml"}:
                self.compile_provider(name, document, models)
        for problem in check_neighbours(models, self.vocabulary):
            self.report(problem)
        if "plans.yml" in documents:  # last: a fee a month is no neighbour of a fee per request
            self.compile_plans(documents["plans.yml"], plans, models)
        identity = b"" if self.problems else digest(documents)
        return PriceBook(identity, documents, self.vocabulary, dict(sorted(models.items())), plans)

    def compile_vocabulary(self, document: object) -> None:
        file = "meters.yml"
        content = self.shape(document, schema.METERS_FILE, file)
        if content is None:
            return
        meters: dict[str, Meter] = {}
        fields: dict[str, Field] = {}
        for name, body in self.named(content["meters"], file):
            if (meter := self.shape(body, schema.METER, file, name)) is not None:
                meters[name] = Meter(
                    name,
                    meter["type"],  # type: ignore[arg-type]  # one of the two, by its Kind
                    str(meter["unit"]),
                    cast("str | None", meter.get("part_of")),
                    tuple(cast("list[str]", meter.get("sum_of", []))),
                    tuple(cast("list[str]", meter.get("product_of", []))),
                    schema.count(meter.get("default", 0)) or 0,
                )
        for name, body in self.named(content["fields"], file):
            if (field := self.shape(body, schema.FIELD, file, name)) is not None:
                default = cast("Scalar | None", field.get("default"))
                if default is not None and not _is_of(str(field["type"]), default):
                    self.report(file, name, f"`default` must be a {field['type']}, not {default!r}")
                fields[name] = Field(name, field["type"], default)  # type: ignore[arg-type]  # one of the three
        for meter_ in meters.values():
            for other in (*filter(None, [meter_.part_of]), *meter_.sum_of, *meter_.product_of):
                if other not in meters:
                    self.report(file, meter_.name, f"unknown meter `{other}`")
            if meter_.part_of in meters and meters[meter_.part_of].part_of is not None:
                self.report(file, meter_.name, f"`{meter_.part_of}` is itself part of another")
        self.vocabulary = Vocabulary(meters, fields)

    def compile_provider(self, file: str, document: object, models: dict[str, ModelPrices]) -> None:
        content = self.shape(document, schema.PROVIDER, file)
        if content is None:
            return
        for model_id, body in self.named(content["models"], file):
            model = self.shape(body, schema.MODEL, file, model_id)
            if model_id in models:
                self.report(file, model_id, f"this model has prices already, in {models[model_id].file}")
            elif model is not None:
                facts = {
                    key: model[key]
                    for key in schema.MODEL
                    if key in model and key not in {"charges", "editions"}
                }
                cards = self.compile_cards(model, file, model_id)
                provider = str(content["provider"])
                models[model_id] = ModelPrices(model_id, str(model["name"]), provider, file, facts, cards)

    def compile_cards(self, model: Document, file: str, model_id: str) -> tuple[RateCard, ...]:
        cards = [self.compile_card(model, file, model_id)]
        for edition in cast("list[object]", model.get("editions", [])):
            content = self.shape(edition, schema.EDITION, file, model_id, "editions")
            if content is None:
                continue
            effective = schema.parse_date(content["effective"])
            card = self.compile_card(content, file, f"{model_id} from {content['effective']}")
            last = cards[-1].effective
            if last is not None and effective is not None and effective <= last:
                self.report(
                    file, model_id, f"edition {content['effective']} must come after the one before it"
                )
            cards.append(RateCard(effective, card.charges, card.rows, card.minimum_pico, card.maximum_pico))
        window = schema.count(model.get("context_window"))
        for card in cards:
            edition_id = f"{model_id} from {card.effective}" if card.effective else model_id
            for charge, reason in check_card(card.charges, self.vocabulary, window):
                self.report(file, edition_id, charge.name, reason)
            if is_above(card.minimum_pico, card.maximum_pico):
                self.report(file, edition_id, "`minimum` is above `maximum`")
        return tuple(cards)

    def compile_card(self, content: Document, file: str, model_id: str) -> RateCard:
        charges: list[Charge] = []
        rows = []
        for position, body in enumerate(cast("list[object]", content["charges"]), 1):
            named = body.get("charge") if isinstance(body, dict) else None
            where = (file, model_id, f"{named or 'charge'} (line {position})")
            line = self.shape(body, schema.CHARGE, *where)
            if line is None or not self.keys_fit(line, *where):
                continue
            if "note" not in line:
                charge = self.compile_charge(line, *where)
                if charge is None:
                    continue
                charges.append(charge)
            if line.get("listed", True):
                try:
                    rows.append(row(line))
                except PlaceholderError as error:
                    self.report(*where, str(error))
        limits = (amount_pico(content.get("minimum")), amount_pico(content.get("maximum")))
        return RateCard(None, tuple(charges), tuple(rows), *limits)

    def keys_fit(self, line: Document, *where: str) -> bool:
        """Whether the keys of the line belong to its charge model, with exactly one way to say its rate."""
        if "note" in line:
            strange = line.keys() - schema.NOTE_KEYS
            missing: list[str] = []
        else:
            model = str(line.get("model", "per_unit"))
            allowed = schema.CHARGE_MODELS[model]
            strange = line.keys() - allowed - schema.COMMON_KEYS
            missing = _ill_matched_keys(line, model)
        for key in sorted(strange):
            self.report(*where, f"`{key}` does not belong to a {line.get('model', 'per_unit')} charge")
        for reason in missing:
            self.report(*where, reason)
        return not strange and not missing

    def compile_charge(self, line: Document, *where: str) -> Charge | None:
        model = str(line.get("model", "per_unit"))
        meters = _meters(line, model)
        by = str(line.get("tier_by", meters[0]))
        unknown = [meter for meter in dict.fromkeys([*meters, by]) if self.vocabulary.meter(meter) is None]
        for meter in unknown:
            self.report(*where, f"unknown meter `{meter}`")
        when = self.compile_when(line, *where)
        size = self.compile_size(line, meters, *where)
        if unknown or when is None or size is None:
            return None
        tier = None
        if "above" in line or "up_to" in line:
            tier = Tier(by, schema.count(line.get("above")), schema.count(line.get("up_to")))
        return Charge(
            name=str(line["charge"]),
            model=model,
            meters=meters,
            per=cast("str | None", line.get("per")),
            size=size,
            rates=_rates(line, meters, size),
            list_rate=cast("str | None", line.get("list_rate")),
            percent_off=cast("str | None", line.get("percent_off")),
            percent=cast("str | None", line.get("percent")),
            tier=tier,
            when=when or None,
            minimum_pico=amount_pico(line.get("minimum")),
            maximum_pico=amount_pico(line.get("maximum")),
            default_pico=amount_pico(line.get("default")),
            label=_label(line),
            accepts=frozenset(cast("list[str]", line.get("accept", []))),
        )

    def compile_when(self, line: Document, *where: str) -> dict[str, frozenset[Scalar]] | None:
        """The variant's values by field; None, with the problem reported, where one can't be reached."""
        when: dict[str, frozenset[Scalar]] = {}
        sound = True
        for name, choice in cast("dict[str, Scalar | list[Scalar]]", line.get("when", {})).items():
            values = choice if isinstance(choice, list) else [choice]
            kind = self.kind_of(name)
            if kind is None:
                self.report(*where, f"can't be reached: unknown field `{name}`")
                sound = False
                continue
            for value in values:
                if not _is_of(kind, value):
                    self.report(*where, f"can't be reached: `{name}` is a {kind}, not {value!r}")
                    sound = False
            if len(set(values)) < len(values):
                self.report(*where, f"`{name}` lists a value twice")
                sound = False
            when[name] = frozenset(values)
        return when if sound else None

    def kind_of(self, name: str) -> str | None:
        """What a field of a variant holds: declared fields, and meters, which are numbers."""
        field = self.vocabulary.fields.get(name)
        if field is not None:
            return field.kind
        return "number" if name in self.vocabulary.meters else None

    def compile_size(self, line: Document, meters: tuple[str, ...], *where: str) -> int | None:
        """How many units of the meter `per` names; None, with the problem reported, where it is no unit."""
        per = str(line.get("per", "unit"))
        unit = _UNIT.fullmatch(per)
        number = schema.count(unit[1].replace(",", "") + unit[2].upper()) if unit and unit[1] else None
        if unit is None or number == 0:
            self.report(*where, f"`per: {per}` is no unit, such as `1M tokens`, `1,000 words` or `minute`")
            return None
        if line.get("model") == "package" and number is None:
            self.report(*where, "a package's `per` begins with its size, such as `5 URLs`")
            return None
        seconds = _SECONDS.get(unit[4])
        units = {meter.unit for name in meters if (meter := self.vocabulary.meter(name)) is not None}
        if "per" in line and line.get("model") not in _DOLLAR_MODELS:
            if seconds is not None and units - {"second"}:
                self.report(*where, f"`per: {per}` needs a meter in seconds")
                return None
            if seconds is None and "second" in units:
                self.report(*where, f"`per: {per}` is no time, but the meter is in seconds")
                return None
        return (number or 1) * (seconds or 1)

    def compile_plans(self, document: object, plans: dict[str, Plan], models: dict[str, ModelPrices]) -> None:
        """A plan is also a model of the price list: its fee is a flat charge, what it includes is free."""
        file = "plans.yml"
        content = self.shape(document, schema.PLANS, file)
        if content is None:
            return
        for slug, body in self.named(content["plans"], file):
            plan = self.shape(body, schema.PLAN, file, slug)
            if slug in models:
                self.report(file, slug, f"this model has prices already, in {models[slug].file}")
            if plan is None:
                continue
            included = {
                name: schema.count(limit) or 0
                for name, limit in self.named(plan.get("included", {}), file, slug, "included")
            }
            for meter in included:
                if self.vocabulary.meter(meter) is None:
                    self.report(file, slug, "included", f"unknown meter `{meter}`")
            fee = str(plan["monthly_fee"])
            plans[slug] = Plan(slug, str(plan["name"]), to_pico(fee), included)
            charges = [Charge("Monthly fee", "flat", (REQUESTS,), "month", 1, {REQUESTS: _rate(fee, 1)})]
            charges += [
                Charge(
                    f"Included {meter}",
                    "graduated",
                    (meter,),
                    None,
                    1,
                    {meter: _rate("0", 1)},
                    tier=Tier(meter, None, limit),
                )
                for meter, limit in included.items()
            ]
            card = RateCard(None, tuple(charges), plan_rows(fee, included))
            facts = {"name": plan["name"], "category": plan["category"]}
            models[slug] = ModelPrices(str(slug), str(plan["name"]), "plans", file, facts, (card,))


def amount_pico(text: object) -> int | None:
    """An amount of the book in picodollars; None where it is absent."""
    return None if text is None else to_pico(str(text))


def _ill_matched_keys(line: Document, model: str) -> list[str]:
    """What the keys that are there, or are not, leave open; a reason each."""
    needed, reasons = [], []
    ways = [key for key in ("rate", "rates", "percent_off") if key in line]
    if model in _DOLLAR_MODELS:
        needed += ["percent"] if model == "percentage" else []
        if isinstance(line.get("meter"), list):
            reasons.append("`meter` must be one: the task is charged once")
    else:
        if len(ways) > 1:
            reasons.append(f"only one of {' and '.join(f'`{way}`' for way in ways)} can hold")
        needed += [] if ways else ["rate"]
        needed += [] if "percent_off" in ways else ["per"]
        needed += [] if model == "flat" or "rates" in ways else ["meter"]
    meter = line.get("meter")
    if isinstance(meter, list) and len(set(meter)) < len(meter):
        reasons.append("`meter` lists one twice")
    priced = _meters(line, model) if meter or "rates" in ways else ()
    if model not in _DOLLAR_MODELS and UPSTREAM_COST in priced:
        reasons.append(f"`{UPSTREAM_COST}` is priced by percentage and dynamic charges only")
    if "rates" in ways and "meter" in line:
        reasons.append("only one of `rates` and `meter` can hold: `rates` names the meters")
    if model in {"volume", "graduated"} and not {"above", "up_to"} & line.keys():
        reasons.append("`above` or `up_to` is missing")
    if model == "volume" and isinstance(line.get("meter"), list):
        needed.append("tier_by")
    return reasons + [f"`{key}` is missing" for key in needed if key not in line]


def _is_of(kind: str, value: object) -> bool:
    """Whether a value of the book is of a field's kind; a boolean is no number."""
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, str if kind == "string" else int) and kind != "boolean"


def _meters(line: Document, model: str) -> tuple[str, ...]:
    if model == "flat":
        return (REQUESTS,)
    if "rates" in line:
        return tuple(cast("dict[str, str]", line["rates"]))
    meter = line.get("meter", UPSTREAM_COST)
    return tuple(meter) if isinstance(meter, list) else (str(meter),)


def _rate(text: str, size: int) -> Rate:
    return Rate(text, Fraction(Decimal(text)) * PICO_PER_USD / size)


def _rates(line: Document, meters: tuple[str, ...], size: int) -> dict[str, Rate]:
    if "rates" in line:
        return {meter: _rate(text, size) for meter, text in cast("dict[str, str]", line["rates"]).items()}
    return {meter: _rate(str(line["rate"]), size) for meter in meters} if "rate" in line else {}


def _label(line: Document) -> str | None:
    if "label" in line:
        return str(line["label"])
    return tier_text(line) or (str(line["charge"]) if "when" in line else None)
