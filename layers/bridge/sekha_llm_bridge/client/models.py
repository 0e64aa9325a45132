"""What the bridge has and would do: the calls of `route`, `models` and `health`, and their replies."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sekha_llm_bridge.client.call import Call, Usd, get, post, sent_usd, usd_of
from sekha_llm_bridge.client.messages import Message

_OWNER_OF_OWN_NAMES = "sekha-llm-bridge"


@dataclass(frozen=True, slots=True)
class RouteCandidate:
    """A configured model in the order of the plan. Costs are in USD, None where the price is not known.

    `excluded` is the reason why it would not be tried, None for one that would.
    """

    provider_id: str
    model_id: str
    provider_type: str | None
    priority: int | None
    estimated_cost: Decimal | None
    cost_bound: Decimal | None
    circuit_breaker: str | None
    excluded: str | None


@dataclass(frozen=True, slots=True)
class Route:
    """What a request would do: the model that is tried first, the reason, and every model with its place.

    `estimated_cost` is in USD, None where the price is not known.
    """

    provider_id: str
    model_id: str
    provider_type: str
    estimated_cost: Decimal | None
    reason: str
    notes: tuple[str, ...]
    candidates: tuple[RouteCandidate, ...]
    request_id: str | None
    raw: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Model:
    """A configured model of one provider. Prices are in USD for a million tokens, None where they are not known."""

    model_id: str
    provider_id: str
    provider_type: str | None
    tasks: tuple[str, ...]
    context_window: int | None
    max_output_tokens: int | None
    dimension: int | None
    supports_vision: bool
    supports_audio: bool
    supports_function_calling: bool | None
    input_usd_per_mtok: Decimal | None
    output_usd_per_mtok: Decimal | None
    raw: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ProviderHealth:
    """The health of one provider: the result of its last check, and the state of its circuit breaker."""

    status: str
    models_count: int | None
    breaker_state: str | None
    failure_count: int | None
    latency_ms: float | None
    last_checked: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Health:
    """The health of the bridge: `status` is healthy, degraded or unhealthy; the providers are in its order.

    A bridge that needs API keys tells only the status and the version to who sends no valid one.
    """

    status: str
    version: str | None
    providers: Mapping[str, ProviderHealth]
    notes: tuple[str, ...]
    raw: Mapping[str, Any]

    @property
    def is_healthy(self) -> bool:
        """Whether nothing is known to be wrong."""
        return self.status == "healthy"


# A report, and the report for who sends no valid API key.
_HEALTH_FIELDS = (frozenset({"status", "providers"}), frozenset({"status", "version"}))


def route(
    task: str | None = None,
    *,
    model: str | None = None,
    preferred_model: str | None = None,
    max_cost: Usd | None = None,
    require_vision: bool = False,
    context_size: int | None = None,
    messages: Sequence[Message] | None = None,
    input: str | Sequence[str] | None = None,  # noqa: A002 — the name of the field
    max_tokens: int | None = None,
    **openai_fields: Any,
) -> Call[Route]:
    """Asks which model would answer, and why, without asking any. It costs nothing.

    `task` may be left out where there are `messages`. These, or `input`, are planned and priced as the real request;
    without them, 1000 input and 500 output tokens are.
    """
    fields = {
        "task": task,
        "model": model,
        "preferred_model": preferred_model,
        "max_cost": sent_usd(max_cost),
        "require_vision": require_vision or None,
        "context_size": context_size,
        "messages": None if messages is None else list(messages),
        "input": input if input is None or isinstance(input, str) else list(input),
        "max_tokens": max_tokens,
    }
    return post("/api/v1/route", {**openai_fields, **fields}, _route, is_free=True)


def models() -> Call[tuple[Model, ...]]:
    """Lists the configured models: one entry for each model of each provider."""
    return get("/api/v1/models", lambda document, _request_id: tuple(map(_model, document)))


def names() -> Call[tuple[str, ...]]:
    """Lists the bridge's own names, which may be given as a model: `auto`, the default names and the aliases."""
    return get("/v1/models", lambda document, _request_id: tuple(_own_names(document["data"])))


def health() -> Call[Health]:
    """Reads the health of the bridge and its providers. It calls no provider; `unhealthy` is a report as any other."""
    return get("/api/v1/health", _health, takes_503=_HEALTH_FIELDS)


def candidate_of(row: Mapping[str, Any]) -> RouteCandidate:
    """Returns a row of a plan, as `/api/v1/route` and its errors have it."""
    return RouteCandidate(
        provider_id=row["provider_id"],
        model_id=row["model_id"],
        provider_type=row.get("provider_type"),
        priority=row.get("priority"),
        estimated_cost=usd_of(row.get("estimated_cost")),
        cost_bound=usd_of(row.get("cost_bound")),
        circuit_breaker=row.get("circuit_breaker"),
        excluded=row.get("excluded"),
    )


def _route(document: Any, request_id: str | None) -> Route:
    return Route(
        provider_id=document["provider_id"],
        model_id=document["model_id"],
        provider_type=document["provider_type"],
        estimated_cost=usd_of(document["estimated_cost"]) if document.get("price_known", True) else None,
        reason=document["reason"],
        notes=tuple(document.get("notes") or ()),
        candidates=tuple(map(candidate_of, document.get("candidates") or ())),
        request_id=request_id,
        raw=document,
    )


def _model(row: Any) -> Model:
    return Model(
        model_id=row["model_id"],
        provider_id=row["provider_id"],
        provider_type=row.get("provider_type"),
        tasks=tuple(row.get("tasks") or [row["task"]]),
        context_window=row.get("context_window"),
        max_output_tokens=row.get("max_output_tokens"),
        dimension=row.get("dimension"),
        supports_vision=row["supports_vision"],
        supports_audio=row["supports_audio"],
        supports_function_calling=row.get("supports_function_calling"),
        input_usd_per_mtok=usd_of(row.get("input_usd_per_mtok")),
        output_usd_per_mtok=usd_of(row.get("output_usd_per_mtok")),
        raw=row,
    )


def _own_names(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    return (row["id"] for row in rows if row.get("owned_by") == _OWNER_OF_OWN_NAMES)


def _health(document: Any, _request_id: str | None) -> Health:
    providers = document.get("providers", {}) if "version" in document else document["providers"]
    return Health(
        status=document["status"],
        version=document.get("version"),
        providers={name: _provider_health(row) for name, row in providers.items()},
        notes=tuple(document.get("notes") or ()),
        raw=document,
    )


def _provider_health(row: Mapping[str, Any]) -> ProviderHealth:
    breaker = row.get("circuit_breaker") or {}
    return ProviderHealth(
        status=row["status"],
        models_count=row.get("models_count"),
        breaker_state=breaker.get("state"),
        failure_count=breaker.get("failure_count"),
        latency_ms=row.get("latency_ms"),
        last_checked=row.get("last_checked"),
        error=row.get("error"),
    )
