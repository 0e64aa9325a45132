"""What was used: the call of `usage`, and its reply."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Literal
from urllib.parse import urlencode

from sekha_llm_bridge.client.call import Call, get


@dataclass(frozen=True, slots=True)
class UsageSum:
    """Requests, tokens and costs of one day, one model (`provider/model`) or one API key; `name` says which, and is
    None for requests without a key. Costs are in USD.

    `input_tokens` includes `cached_input_tokens`. `cost` is the sum of the costs that are known, `max_cost` the most
    that the providers can have billed. Calls of models without a known price are in neither: `unpriced_attempts` counts
    them.
    """

    name: str | None
    requests: int
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    cost: Decimal
    max_cost: Decimal
    unpriced_attempts: int


@dataclass(frozen=True, slots=True)
class UsageReport:
    """What was used in the days from `first` to `last` (UTC, both included), and the total. `key_id` is the API key
    whose usage this is, None where the bridge needs no keys: then it is that of all requests.
    """

    first: date
    last: date
    by: str
    key_id: str | None
    sums: tuple[UsageSum, ...]
    total: UsageSum
    raw: Mapping[str, Any]


def usage(
    by: Literal["day", "model", "key"] = "day", *, first: date | str | None = None, last: date | str | None = None
) -> Call[UsageReport]:
    """Asks what the API key has used, by day, model or key; without keys, what was used by all. It costs nothing.

    `first` and `last` are days, such as `2026-11-28`; by default the last thirty days. A request is counted within a
    minute or two after its end.
    """
    parameters = {"from": first, "to": last, "by": by}
    query = urlencode({name: str(value) for name, value in parameters.items() if value is not None})
    return get(f"/api/v1/usage?{query}", lambda document, _request_id: report_of(document))


def report_of(document: Mapping[str, Any]) -> UsageReport:
    """Returns the report that the JSON of the bridge describes."""
    by = document["by"]
    return UsageReport(
        first=date.fromisoformat(document["from"]),
        last=date.fromisoformat(document["to"]),
        by=by,
        key_id=document["key_id"],
        sums=tuple(_sum(row, row[by]) for row in document["data"]),
        total=_sum(document["total"], None),
        raw=document,
    )


def _sum(row: Mapping[str, Any], name: str | None) -> UsageSum:
    return UsageSum(
        name=name,
        requests=row["requests"],
        input_tokens=row["input_tokens"],
        cached_input_tokens=row["cached_input_tokens"],
        output_tokens=row["output_tokens"],
        cost=Decimal(str(row["cost"])),
        max_cost=Decimal(str(row["max_cost"])),
        unpriced_attempts=row["unpriced_attempts"],
    )
