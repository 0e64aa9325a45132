"""The dated price list in `snapshot.json`, made from the data of genai-prices by `infra/prices/refresh`.

A seller is found by the provider's `base_url`, a model by genai-prices' own rules: the first rule that matches,
ignoring case. A listed model whose price does not follow from its text tokens has no rates in the list, so that no
later rule matches it as another model.
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
from sekha_llm_bridge.pricing.price import CLAUDE_HOUR_WRITE_FACTOR, CLAUDE_WRITE_FACTOR, Price, Rates, Tier

FILE = Path(__file__).with_name("snapshot.json")
BEDROCK = "aws"

# Names of models that search the web or generate images without being asked and bill it besides the tokens, or that
# bill the tokens of several models. OpenAI lists some of them as aliases of a model that does not.
_BILLS_MORE = re.compile(r"\b(?:re)?search\b|sonar|\bonline\b|image|banana|gemini-omni|multi-agent")
_COMPACT_DATE = re.compile(r"-(20\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)")

Rule: TypeAlias = "str | list[Rule] | dict[str, str | list[Rule]]"
"""A full name, a list of rules of which one must match, or one of `starts`, `ends`, `contains`, `regex`, `all`; lower
case."""
ListedRates: TypeAlias = Sequence[str | None]
"""USD per million tokens as decimal texts: input, output (null for embedding models), cached input and cache write
(null: as input). Nulls at the end are omitted.
"""


class ListedModel(TypedDict):
    """A model. `match` is its rule, by default its id. Where `usd` is missing, `unpriced` has the reason. `tiers` are
    (prompt tokens to exceed, rates); `request` is USD per request.
    """

    id: str
    match: NotRequired[Rule]
    usd: NotRequired[ListedRates]
    tiers: NotRequired[list[tuple[int, ListedRates]]]
    request: NotRequired[str]
    unpriced: NotRequired[str]


class ListedSeller(TypedDict):
    """A seller of models. `at` is the start of its API's URL, `like` a regular expression for that. `also` has the
    sellers whose prices apply to its other models.
    """

    id: str
    at: NotRequired[str]
    like: NotRequired[str]
    also: NotRequired[list[str]]
    models: list[ListedModel]


class Document(TypedDict):
    """The whole file; `date` is the day of its prices."""

    date: str
    sellers: list[ListedSeller]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The prices of models at their sellers on one day."""

    source: str
    sellers: dict[str, "Seller"]

    @classmethod
    def load(cls) -> Self:
        """Returns the list that is part of the package."""
        return cls.of(orjson.loads(FILE.read_bytes()))

    @classmethod
    def of(cls, document: Document) -> Self:
        """Returns the list of a document."""
        return cls(f"genai-prices {document['date']}", {listed["id"]: Seller(listed) for listed in document["sellers"]})

    def price(self, provider: ProviderConfig, model: ModelConfig) -> Price | None:
        """Returns the price; None where the list has none that certainly applies. A chat model needs an output rate."""
        seller = self._seller(provider)
        listed = None if seller is None else self.find(seller, model.model_id)
        if listed is None or "usd" not in listed or (model.is_chat and not has_output(listed)):
            return None
        if "request" not in listed and bills_more_than_tokens(model.model_id):
            return None
        return price_of(listed, self.source)

    def find(self, seller: "Seller", model_id: str) -> ListedModel | None:
        """Returns the listed model, of that seller or of those whose prices apply to it."""
        sellers = [seller, *(self.sellers[name] for name in seller.listed.get("also", ()))]
        found = (seller.find(name) for name in _spellings(model_id) for seller in sellers)
        return next((listed for listed in found if listed is not None), None)

    def seller_at(self, base_url: str) -> "Seller | None":
        """Returns the seller of an API; None for a self-hosted server, a proxy, or another host that is not listed."""
        address = _address(base_url)
        return next((seller for seller in self.sellers.values() if seller.is_at(address)), None)

    def _seller(self, provider: ProviderConfig) -> "Seller | None":
        if provider.base_url is not None:
            return self.seller_at(provider.base_url)
        return self.sellers.get(BEDROCK) if provider.provider_type is ProviderType.BEDROCK else None


class Seller:
    """A seller, with an index of its models, because a configuration may have a thousand of them."""

    def __init__(self, listed: ListedSeller) -> None:
        self.listed = listed

    def is_at(self, address: str) -> bool:
        """Returns whether its API is at that address, compared by whole path segments."""
        if "at" in self.listed:
            return f"{address}/".startswith(f"{self.listed['at']}/")
        return re.match(rf"(?:{self.listed['like']})(?:/|\Z)", address) is not None

    def find(self, name: str) -> ListedModel | None:
        """Returns the first model whose rule matches the name, which is in lower case."""
        models = self.listed["models"]
        exact = self._exact.get(name, len(models))
        first = next((place for place, rule in self._patterns if place >= exact or _matches(name, rule)), exact)
        place = min(first, exact)
        return models[place] if place < len(models) else None

    @cached_property
    def _exact(self) -> dict[str, int]:
        """The first place in the list of each full name."""
        exact: dict[str, int] = {}
        for place, rule in self._rules():
            if isinstance(rule, str):
                exact.setdefault(rule, place)
        return exact

    @cached_property
    def _patterns(self) -> list[tuple[int, Rule]]:
        """The rules that are not full names, with the places of their models."""
        return [(place, rule) for place, rule in self._rules() if not isinstance(rule, str)]

    def _rules(self) -> Iterator[tuple[int, Rule]]:
        for place, model in enumerate(self.listed["models"]):
            rule = model.get("match", model["id"])
            yield from ((place, one) for one in (rule if isinstance(rule, list) else [rule]))


def bills_more_than_tokens(model_id: str) -> bool:
    """Returns whether a model's name shows that it may bill for more than tokens."""
    return _BILLS_MORE.search(model_id.lower()) is not None


def price_of(listed: ListedModel, source: str) -> Price:
    """Returns the price of a model that has rates."""
    is_claude = "claude" in listed["id"]
    tiers = tuple(Tier(above, _rates(rates, is_claude=is_claude)) for above, rates in listed.get("tiers", ()))
    rates = _rates(listed["usd"], is_claude=is_claude)
    return Price(rates, source, tiers, Decimal(listed.get("request", 0)))


def has_output(listed: ListedModel) -> bool:
    """Returns whether a model has an output rate."""
    return "usd" in listed and len(listed["usd"]) > 1 and listed["usd"][1] is not None


def _rates(listed: ListedRates, *, is_claude: bool) -> Rates:
    """Returns the rates. What the list does not have of Claude's cache writes follows from the rate of the input: the
    list has no rates of an hour, and those of some models are incomplete.
    """
    input_usd, output, cached, written = [*map(_usd, listed), None, None, None][:4]
    if input_usd is None:
        raise ValueError("the price snapshot has rates without an input price")
    if written is None:
        written = input_usd * (CLAUDE_WRITE_FACTOR if is_claude else 1)
    return Rates(
        input_usd_per_mtok=input_usd,
        output_usd_per_mtok=output or Decimal(0),
        cached_input_usd_per_mtok=input_usd if cached is None else cached,
        cache_write_usd_per_mtok=written,
        hour_cache_write_usd_per_mtok=input_usd * CLAUDE_HOUR_WRITE_FACTOR if is_claude else None,
    )


def _usd(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def _address(base_url: str) -> str:
    """Returns the URL without user, password and port. The path is cut at its first dot, so that it cannot imitate a
    host."""
    parts = urlsplit(base_url)
    return f"{parts.scheme}://{parts.hostname}{parts.path.partition('.')[0]}"


def _spellings(model_id: str) -> Iterator[str]:
    """Yields the name, then the same with hyphens in its date: `-20251211` as `-2025-12-11`."""
    name = model_id.lower()
    yield name
    if (hyphenated := _COMPACT_DATE.sub(_hyphenated, name)) != name:
        yield hyphenated


def _hyphenated(found: re.Match[str]) -> str:
    year, month, day = map(int, found.groups())
    try:
        return f"-{date(year, month, day)}"
    except ValueError:
        return found[0]


def _matches(name: str, rule: Rule) -> bool:
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
            return all(_matches(name, one) for one in rules)
        case list():
            return any(_matches(name, one) for one in rule)
    raise ValueError(f"the price snapshot has a rule that this version does not know: {rule}")
