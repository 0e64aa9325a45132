"""The log line of one request. It is also what usage and metrics are counted from, so that counting them adds no call
of another service to the request.
"""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType

from sekha_llm_bridge.access.caller import Caller
from sekha_llm_bridge.access.usage_records.amounts import Amounts, UsedModel, usd
from sekha_llm_bridge.api.request_state import RequestState
from sekha_llm_bridge.errors import BridgeError, ClientDisconnected, FailureKind
from sekha_llm_bridge.execution.used_models import used_models
from sekha_llm_bridge.observability import Metric, count_internal_error, log_at_every_level, log_request, metric_fields

_MAX_NAME_CHARACTERS = 200
_IN_TOTAL = frozenset({Metric.COST_USD, Metric.MAX_COST_USD})
_NOTHING = Amounts()


def write_request_line(state: RequestState, caller: Caller, *, latency_ms: int, now: datetime) -> None:
    """Writes the line: a warning for a status from 500 on, and for an answer that began with 200 and did not become
    complete; not for a client that disconnected.

    The line of a request that has called a provider has its metrics, and is written at every LogLevel. Metrics of a
    further model that was used need a line of their own, because a line has one value for each dimension. So does the
    metric of a request in which the bridge itself failed.
    """
    line, error = state.log_fields, state.error
    line.update(state.report().log_fields())
    line.update(_caller_fields(caller))
    status = line.setdefault("status", (error or BridgeError("")).status)
    line["latency_ms"] = latency_ms
    is_incomplete = status == 200 and error is not None
    has_failed = (int(str(status)) >= 500 or is_incomplete) and not isinstance(error, ClientDisconnected)
    if (code := _internal_error_of(state)) is not None:
        count_internal_error(code, now)
    if not state.report().attempts:
        log_request(line, failed=has_failed)
        return
    if state.requested_model is not None:
        line["gen_ai.request.model"] = state.requested_model[:_MAX_NAME_CHARACTERS]
    used = dict(used_models(state.report().attempts))
    answering = UsedModel(str(line["provider"]), str(line["model"]))
    line.update(_metrics(answering, used.pop(answering, _NOTHING), now, _times(line)))
    for model, amounts in used.items():
        log_at_every_level("usage of another model", _metrics(model, amounts, now))
    log_at_every_level("request", line, failed=has_failed)


def _internal_error_of(state: RequestState) -> str | None:
    """Returns the code of what the bridge itself failed by, also where the next candidate's answer hides it."""
    if state.error is not None and state.error.status == BridgeError.status:
        return state.error.code
    adapter_fault = FailureKind.ADAPTER_FAULT.code
    return adapter_fault if any(one.code == adapter_fault for one in state.report().attempts) else None


def _caller_fields(caller: Caller) -> dict[str, object]:
    return {"key_id": caller.key_id, "labels": dict(caller.labels)} if caller.key_id else {}


def _times(line: Mapping[str, object]) -> dict[Metric, float]:
    fields = {Metric.LATENCY_MS: line["latency_ms"], Metric.FIRST_TOKEN_MS: line.get("first_token_ms")}
    return {metric: value for metric, value in fields.items() if isinstance(value, int)}


def _metrics(
    model: UsedModel, used: Amounts, now: datetime, times: Mapping[Metric, float] = MappingProxyType({})
) -> dict[str, object]:
    """Returns the metrics of one model. Those that are 0 are left out: their sum is the same, and CloudWatch bills each
    metric that it has received.
    """
    counted = {
        Metric.REQUESTS: used.requests,
        Metric.INPUT_TOKENS: used.input_tokens,
        Metric.CACHED_INPUT_TOKENS: used.cached_input_tokens,
        Metric.OUTPUT_TOKENS: used.output_tokens,
        Metric.COST_USD: float(usd(used.cost_pico_usd)),
        Metric.MAX_COST_USD: float(usd(used.max_cost_pico_usd)),
    }
    values = {**{metric: value for metric, value in counted.items() if value}, **times}
    dimensions = {"provider": model.provider_id, "model": model.model_id}
    return metric_fields(values, dimensions=dimensions, in_total=_IN_TOTAL, now=now)
