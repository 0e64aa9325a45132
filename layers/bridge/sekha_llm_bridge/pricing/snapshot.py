"""The dated price list in `snapshot.json`, made from the data of genai-prices by `infra/prices/refresh`.

Sellers are told apart by the provider's `base_url`, models by genai-prices' own rules: the first that holds, whatever
the case. A model that is listed but cannot be priced by its text tokens stands there without rates, so that no later
and looser rule takes it for another.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import NotRequired, Self, TypeAlias, TypedDict
from urllib.parse import urlsplit

import orjson

from sekha_llm_bridge.config.models import ModelConfig, ProviderConfig, ProviderType
from sekha_llm_bridge.pricing.price import Price, Rates, Tier

FILE = Path(__file__).with_name("snapshot.json")
BEDROCK = "aws"

# The names of models that search the web or draw although nobody asked, and bill that beside the tokens, or that bill
# the tokens of several models at once. OpenAI lists some of them as other names of a model that does not.
_BILLS_MORE = re.compile(r"\b(?:re)?search\b|sonar|\bonline\b|image|banana|gemini-omni|multi-agent")
_COMPACT_DATE = re.compile(r"-(20\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)")

Rule: TypeAlias = "str | list[Rule] | dict[str, str | list[Rule]]"
"""A full name, any of several rules, or one of `starts`, `ends`, `contains`, `regex`, `all`; in lower case."""
ListedRates: TypeAlias = Sequence[str | None]
"""USD per million tokens as decimal texts: input, output (null: it gives embeddings), cached input and cache write
(null: as input). Nulls at the end are left out.
"""


class ListedModel(TypedDict):
    """A model. Its rule is its id unless `match` is there; without `usd`, `unpriced` says why. `tiers` are for prompts
    with more than so many tokens; `request` is USD per request.
    """

    id: str
    match: NotRequired[Rule]
    usd: NotRequired[ListedRates]
    tiers: NotRequired[list[tuple[int, ListedRates]]]
    request: NotRequired[str]
    unpriced: NotRequired[str]


class ListedSeller(TypedDict):
    """A seller of models: where its API is (`at`, the start of the URL, or `like`, an expression for that), its models,
    and the sellers whose prices hold for what else it sells.
    """

    id: str
    at: NotRequired[str]
    like: NotRequired[str]
    also: NotRequired[list[str]]
    models: list[ListedModel]


class Document(TypedDict):
    """The whole file; `date` is the day whose prices it has."""

    date: str
    sellers: list[ListedSeller]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What models cost at their sellers on one day."""

    source: str
    sellers: dict[str, "Seller"]

    @classmethod
    def load(cls) -> Self:
        """The package's own list."""
        return cls.of(orjson.loads(FILE.read_bytes()))

    @classmethod
    def of(cls, document: Document) -> Self:
        """That list."""
        return cls(f"genai-prices {document['date']}", {listed["id"]: Seller(listed) for listed in document["sellers"]})

    def price(self, provider: ProviderConfig, model: ModelConfig) -> Price | None:
        """The price, or None when the list has none that surely holds. A chat model needs one for its output."""
        seller = self._seller(provider)
        listed = None if seller is None else self.find(seller, model.model_id)
        if listed is None or "usd" not in listed or (model.is_chat and not has_output(listed)):
            return None
        if "request" not in listed and bills_more_than_tokens(model.model_id):
            return None
        return price_of(listed, self.source)

    def find(self, seller: "Seller", model_id: str) -> ListedModel | None:
        """What the list says of a model, at that seller or at those whose prices hold there, too."""
        sellers = [seller, *(self.sellers[name] for name in seller.listed.get("also", ()))]
        found = (seller.find(name) for name in _spellings(model_id) for seller in sellers)
        return next((listed for listed in found if listed is not None), None)

    def seller_at(self, base_url: str) -> "Seller | None":
        """Whose API that is; None for a server of one's own, a proxy, or any other that is not listed."""
        address = _address(base_url)
        return next((seller for seller in self.sellers.values() if seller.is_at(address)), None)

    def _seller(self, provider: ProviderConfig) -> "Seller | None":
        if provider.base_url is not None:
            return self.seller_at(provider.base_url)
        return self.sellers.get(BEDROCK) if provider.provider_type is ProviderType.BEDROCK else None


class Seller:
    """A seller, with an index of its models: a configuration may have a thousand of them."""

    def __init__(self, listed: ListedSeller) -> None:
        self.listed = listed

    def is_at(self, address: str) -> bool:
        """Whether its API is at that address; both end where a segment of the path ends."""
        if "at" in self.listed:
            return f"{address}/".startswith(f"{self.listed['at']}/")
        return re.match(rf"(?:{self.listed['like']})(?:/|\Z)", address) is not None

    def find(self, name: str) -> ListedModel | None:
        """The first model whose rule the name, in lower case, obeys."""
        models = self.listed["models"]
        exact = self._exact.get(name, len(models))
        first = next((place for place, rule in self._loose if place >= exact or _obeys(name, rule)), exact)
        place = min(first, exact)
        return models[place] if place < len(models) else None

    @cached_property
    def _exact(self) -> dict[str, int]:
        """Full name → the first place in the list where it stands."""
        exact: dict[str, int] = {}
        for place, rule in self._rules():
            if isinstance(rule, str):
                exact.setdefault(rule, place)
        return exact

    @cached_property
    def _loose(self) -> list[tuple[int, Rule]]:
        """The rules that are no full names, with their models' places."""
        return [(place, rule) for place, rule in self._rules() if not isinstance(rule, str)]

    def _rules(self) -> Iterator[tuple[int, Rule]]:
        for place, model in enumerate(self.listed["models"]):
            rule = model.get("match", model["id"])
            yield from ((place, one) for one in (rule if isinstance(rule, list) else [rule]))


def bills_more_than_tokens(model_id: str) -> bool:
    """Whether a model's name says that it may bill for what no request asked for."""
    return _BILLS_MORE.search(model_id.lower()) is not None


def price_of(listed: ListedModel, source: str) -> Price:
    """The price of a model that has rates."""
    tiers = tuple(Tier(above, _rates(rates)) for above, rates in listed.get("tiers", ()))
    return Price(_rates(listed["usd"]), source, tiers, Decimal(listed.get("request", 0)))


def has_output(listed: ListedModel) -> bool:
    """Whether a model has rates and one of them is for output."""
    return "usd" in listed and len(listed["usd"]) > 1 and listed["usd"][1] is not None


def _rates(listed: ListedRates) -> Rates:
    usual, output, cached, written = [*map(_usd, listed), None, None, None][:4]
    if usual is None:
        raise ValueError("the price snapshot has rates without an input price")
    return Rates(
        input_usd_per_mtok=usual,
        output_usd_per_mtok=output or Decimal(0),
        cached_input_usd_per_mtok=usual if cached is None else cached,
        cache_write_usd_per_mtok=usual if written is None else written,
    )


def _usd(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def _address(base_url: str) -> str:
    """The URL without user, password and port. Its path ends at its first dot: then no path can pass for a host."""
    parts = urlsplit(base_url)
    return f"{parts.scheme}://{parts.hostname}{parts.path.partition('.')[0]}"


def _spellings(model_id: str) -> Iterator[str]:
    """The name, then the same with its date written out: `-20251211` as `-2025-12-11`."""
    name = model_id.lower()
    yield name
    if (dashed := _COMPACT_DATE.sub(_dashed, name)) != name:
        yield dashed


def _dashed(found: re.Match[str]) -> str:
    year, month, day = map(int, found.groups())
    try:
        return f"-{date(year, month, day)}"
    except ValueError:
        return found[0]


def _obeys(name: str, rule: Rule) -> bool:
    match rule:
        case str():
            return name == rule
        case {"starts": str(text)}:
            return name.startswith(text)
        case {"ends": str(text)}:
            return name.endswith(text)
        case {"contains": str(text)}:
            return text in name
        case {"regex": str(text)}:
            return re.search(text, name) is not None
        case {"all": list(rules)}:
            return all(_obeys(name, one) for one in rules)
        case list():
            return any(_obeys(name, one) for one in rule)
    raise ValueError(f"the price snapshot has a rule that this version does not know: {rule}")
