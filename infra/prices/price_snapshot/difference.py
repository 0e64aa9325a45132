"""What has changed from one snapshot to the next, in lines for people: by seller, then in all."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, zip_longest
from textwrap import wrap

from sekha_llm_bridge.pricing.snapshot import Document, ListedModel, ListedRates, ListedSeller

_KINDS = ("input", "output", "cached input", "cache write")
_MOST_NAMES = 40
_WIDTH = 110


@dataclass(frozen=True, slots=True)
class Change:
    """What has changed at one seller. `changed` has a line for each model whose price or rule is another one."""

    seller: str
    new: list[str]
    gone: list[str]
    changed: list[str]

    def __bool__(self) -> bool:
        return bool(self.new or self.gone or self.changed)

    @property
    def counts(self) -> str:
        """How many models each of the three has."""
        return f"{len(self.new)} new, {len(self.gone)} gone, {len(self.changed)} changed"

    def lines(self) -> Iterator[str]:
        """The seller's own part."""
        yield f"{self.seller}: {self.counts}"
        yield from _names("+", self.new)
        yield from _names("-", self.gone)
        yield from (f"  ~ {line}" for line in self.changed)


def difference(before: Document | None, after: Document) -> list[str]:
    """The lines; none when only the date differs."""
    sellers = {seller["id"]: seller for seller in (before["sellers"] if before else ())}
    now = {seller["id"]: seller for seller in after["sellers"]}
    changes = [_change(name, sellers.get(name), now.get(name)) for name in sorted({*sellers, *now})]
    told = [line for change in changes if change for line in change.lines()]
    return [*told, _sum(changes, after)] if told else []


def _sum(changes: list[Change], after: Document) -> str:
    columns = zip(*((change.new, change.gone, change.changed) for change in changes), strict=True)
    in_all = Change("in all", *(list(chain(*column)) for column in columns))
    models = [model for seller in after["sellers"] for model in seller["models"]]
    priced = f"{sum('usd' in model for model in models)} of {len(models)} models"
    return f"in all: {in_all.counts}; {priced} of {len(after['sellers'])} sellers have a price"


def _change(name: str, before: ListedSeller | None, after: ListedSeller | None) -> Change:
    old, new = _models(before), _models(after)
    changed = [line for key in sorted(old.keys() & new.keys()) if (line := _changed(old[key], new[key]))]
    if before and after and _place(before) != _place(after):
        changed.insert(0, f"its place {_place(before)} → {_place(after)}")
    return Change(name, sorted(new.keys() - old.keys()), sorted(old.keys() - new.keys()), changed)


def _models(seller: ListedSeller | None) -> dict[str, ListedModel]:
    return {model["id"]: model for model in seller["models"]} if seller else {}


def _place(seller: ListedSeller) -> str:
    place = seller.get("at") or seller.get("like", "")
    return " and ".join([place, *seller.get("also", ())])


def _changed(before: ListedModel, after: ListedModel) -> str:
    """The line of one model: what differs, old → new; empty when nothing does."""
    old, new = _facts(before), _facts(after)
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    told = [f"{key} {old.get(key, 'none')} → {new.get(key, 'none')}" for key in keys]
    if before.get("match") != after.get("match"):
        told.append("other names")
    return f"{after['id']}: {', '.join(told)}" if told else ""


def _facts(model: ListedModel) -> dict[str, str]:
    """What is known of the price, by words."""
    if "usd" not in model:
        return {"unpriced": model["unpriced"]}
    facts = _figures(model["usd"], "")
    for above, rates in model.get("tiers", ()):
        facts |= _figures(rates, f" above {above}")
    return {**facts, "a request": model["request"]} if "request" in model else facts


def _figures(rates: ListedRates, where: str) -> dict[str, str]:
    return {f"{kind}{where}": usd for kind, usd in zip_longest(_KINDS, rates) if usd is not None}


def _names(sign: str, names: list[str]) -> Iterator[str]:
    more = len(names) - _MOST_NAMES
    shown = [*names[:_MOST_NAMES], f"and {more} more"] if more > 0 else names
    lines = wrap(", ".join(shown), _WIDTH, break_on_hyphens=False, break_long_words=False)
    yield from (f"  {sign if place == 0 else ' '} {line}" for place, line in enumerate(lines))
