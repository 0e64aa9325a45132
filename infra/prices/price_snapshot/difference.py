"""Lists the differences of two snapshots as lines for people: for each seller, then the totals."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, zip_longest
from textwrap import wrap

from sekha_llm_bridge.pricing.snapshot import Document, ListedModel, ListedRates, ListedSeller

_KINDS = ("input", "output", "cached input", "cache write")
_MAX_NAMES = 40
_WIDTH = 110


@dataclass(frozen=True, slots=True)
class Change:
    """The differences of one seller. `changed` has a line for each model with another price or match rule."""

    seller: str
    new: list[str]
    removed: list[str]
    changed: list[str]

    def __bool__(self) -> bool:
        return bool(self.new or self.removed or self.changed)

    @property
    def counts(self) -> str:
        """The number of new, removed and changed models, as text."""
        return f"{len(self.new)} new, {len(self.removed)} removed, {len(self.changed)} changed"

    def lines(self) -> Iterator[str]:
        """Yields the lines of this seller."""
        yield f"{self.seller}: {self.counts}"
        yield from _names("+", self.new)
        yield from _names("-", self.removed)
        yield from (f"  ~ {line}" for line in self.changed)


def difference(before: Document | None, after: Document) -> list[str]:
    """Returns the lines; an empty list when only the date differs."""
    sellers = {seller["id"]: seller for seller in (before["sellers"] if before else ())}
    now = {seller["id"]: seller for seller in after["sellers"]}
    changes = [_change(name, sellers.get(name), now.get(name)) for name in sorted({*sellers, *now})]
    lines = [line for change in changes if change for line in change.lines()]
    return [*lines, _total(changes, after)] if lines else []


def _total(changes: list[Change], after: Document) -> str:
    columns = zip(*((change.new, change.removed, change.changed) for change in changes), strict=True)
    total = Change("total", *(list(chain(*column)) for column in columns))
    models = [model for seller in after["sellers"] for model in seller["models"]]
    priced = f"{sum('usd' in model for model in models)} of {len(models)} models"
    return f"total: {total.counts}; {priced} of {len(after['sellers'])} sellers have a price"


def _change(name: str, before: ListedSeller | None, after: ListedSeller | None) -> Change:
    old, new = _models(before), _models(after)
    changed = [line for key in sorted(old.keys() & new.keys()) if (line := _changed(old[key], new[key]))]
    if before and after and _address(before) != _address(after):
        changed.insert(0, f"address {_address(before)} → {_address(after)}")
    return Change(name, sorted(new.keys() - old.keys()), sorted(old.keys() - new.keys()), changed)


def _models(seller: ListedSeller | None) -> dict[str, ListedModel]:
    return {model["id"]: model for model in seller["models"]} if seller else {}


def _address(seller: ListedSeller) -> str:
    address = seller.get("at") or seller.get("like", "")
    return " and ".join([address, *seller.get("also", ())])


def _changed(before: ListedModel, after: ListedModel) -> str:
    """Returns the line of one model with the old and new values; empty when nothing differs."""
    old, new = _facts(before), _facts(after)
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    texts = [f"{key} {old.get(key, 'none')} → {new.get(key, 'none')}" for key in keys]
    if before.get("match") != after.get("match"):
        texts.append("other match rule")
    return f"{after['id']}: {', '.join(texts)}" if texts else ""


def _facts(model: ListedModel) -> dict[str, str]:
    """Returns the parts of the price by name."""
    if "usd" not in model:
        return {"unpriced": model["unpriced"]}
    facts = _figures(model["usd"], "")
    for above, rates in model.get("tiers", ()):
        facts |= _figures(rates, f" above {above}")
    return {**facts, "a request": model["request"]} if "request" in model else facts


def _figures(rates: ListedRates, where: str) -> dict[str, str]:
    return {f"{kind}{where}": usd for kind, usd in zip_longest(_KINDS, rates) if usd is not None}


def _names(sign: str, names: list[str]) -> Iterator[str]:
    more = len(names) - _MAX_NAMES
    shown = [*names[:_MAX_NAMES], f"and {more} more"] if more > 0 else names
    lines = wrap(", ".join(shown), _WIDTH, break_on_hyphens=False, break_long_words=False)
    yield from (f"  {sign if index == 0 else ' '} {line}" for index, line in enumerate(lines))
