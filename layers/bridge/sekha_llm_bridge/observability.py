"""Structured logs and metrics, by Powertools: one log line for each request, and no prompts or keys in any."""

import logging
import os
import traceback
from collections.abc import Mapping, Set
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any

import orjson
from aws_lambda_powertools import Logger

METRICS_NAMESPACE = "SekhaLlmBridge"


@cache
def logger() -> Logger:
    """Returns the one logger. Service and level come from the POWERTOOLS_* environment variables.

    A message is logged as it is; Powertools would otherwise try to parse every one as JSON.
    """
    logging.logAsyncioTasks = False  # type: ignore[attr-defined]  # from 3.12 on; the names of tasks are of no use here
    return Logger(utc=True, location=None, json_serializer=_json, json_deserializer=str)


def _json(line: object) -> str:
    return orjson.dumps(line, default=str).decode()


def code_location(exc: BaseException) -> str:
    """Returns the types and places of an exception chain, without the messages, which may quote a prompt or a key."""
    parts = []
    cause: BaseException | None = exc
    while cause is not None:
        places = " < ".join(
            f"{frame.filename.rpartition('/')[2]}:{frame.lineno}"
            for frame in reversed(traceback.extract_tb(cause.__traceback__))
        )
        parts.append(f"{type(cause).__name__} at {places}")
        cause = cause.__cause__
    return " <- ".join(parts)


def log_request(fields: Mapping[str, Any], *, failed: bool) -> None:
    """Writes the log line of one request; a warning when the request has failed."""
    say = logger().warning if failed else logger().info
    say("request", extra=dict(fields))


def log_at_every_level(message: str, fields: Mapping[str, Any], *, failed: bool = False) -> None:
    """Writes a line that something is counted from, so that it is not left out at a higher LogLevel either."""
    written = logging.getLogger(logger().name)
    level = logging.WARNING if failed else logging.INFO
    written.handle(written.makeRecord(written.name, level, "", 0, message, (), None, extra=dict(fields)))


class Metric(StrEnum):
    """The metrics in CloudWatch, by name; the template's alarms use them.

    `HEALTHY_PROVIDERS`, `OPEN_BREAKERS` and `DISABLED_PROVIDERS` (those whose stored secret is missing) are gauges,
    written by every scheduled check. The others count events:
    `REJECTIONS` every provider that a request would have tried if its breaker had allowed it; `BROKEN_ANSWERS` every
    stream that had begun and was interrupted by its provider or by the deadline; `STORE_UNAVAILABLE` every request
    whose vectors Chroma did not accept; `VECTORS_LOST` every request whose vectors could not be put into the queue
    either; `VECTORS_REJECTED` every deferred message that Chroma will never accept; `KEYS_UNAVAILABLE` every request
    whose API key could not be verified; `QUOTAS_UNAVAILABLE` every failure to reserve or settle a quota.
    `BUDGET_USED_PERCENT` is a gauge, written from 80 % on. `INTERNAL_ERRORS` counts every request in which the bridge
    itself failed: by a mistake in its code, or because its configuration is invalid; for the service, and by release.

    Those of REQUEST_UNITS are written by every request that has called a provider, by provider and model.
    """

    PROVIDER_REJECTED = "ProviderRejected"
    OPENED = "BreakerOpened"
    CLOSED = "BreakerClosed"
    PROBES = "BreakerProbes"
    REJECTIONS = "BreakerRejections"
    TABLE_UNAVAILABLE = "BreakerTableUnavailable"
    BROKEN_ANSWERS = "BrokenAnswers"
    STORE_UNAVAILABLE = "VectorStoreUnavailable"
    VECTORS_LOST = "VectorsLost"
    VECTORS_REJECTED = "VectorsRejected"
    QUOTAS_UNAVAILABLE = "QuotasUnavailable"
    BUDGET_USED_PERCENT = "BudgetUsedPercent"
    KEYS_UNAVAILABLE = "KeysTableUnavailable"
    OPEN_BREAKERS = "OpenBreakers"
    HEALTHY_PROVIDERS = "HealthyProviders"
    INTERNAL_ERRORS = "InternalErrors"
    DISABLED_PROVIDERS = "DisabledProviders"
    REQUESTS = "Requests"
    INPUT_TOKENS = "InputTokens"
    CACHED_INPUT_TOKENS = "CachedInputTokens"
    OUTPUT_TOKENS = "OutputTokens"
    COST_USD = "CostUsd"
    MAX_COST_USD = "MaxCostUsd"
    LATENCY_MS = "LatencyMs"
    FIRST_TOKEN_MS = "FirstTokenMs"  # noqa: S105 — the name of a metric


REQUEST_UNITS: Mapping[Metric, str] = {
    Metric.REQUESTS: "Count",
    Metric.INPUT_TOKENS: "Count",
    Metric.CACHED_INPUT_TOKENS: "Count",
    Metric.OUTPUT_TOKENS: "Count",
    Metric.COST_USD: "None",
    Metric.MAX_COST_USD: "None",
    Metric.LATENCY_MS: "Milliseconds",
    Metric.FIRST_TOKEN_MS: "Milliseconds",
}


def count_provider_needs_attention(provider_id: str, code: str) -> None:
    """Reports that an operator must act: the provider rejected its key, or its account is empty.

    Logs an error, and counts the metric of an alarm in the template.
    """
    logger().error("provider needs attention", extra={"provider": provider_id, "code": code})
    count(Metric.PROVIDER_REJECTED, provider=provider_id, code=code)


def count(metric: Metric, value: int = 1, **metadata: str) -> None:
    """Writes one line in CloudWatch's embedded metric format. `metadata` is in the log, and is not a dimension."""
    from aws_lambda_powertools.metrics import MetricUnit, single_metric  # imported at the first metric

    counted = single_metric(
        name=metric,
        unit=MetricUnit.Count,
        value=value,
        namespace=METRICS_NAMESPACE,
        default_dimensions={"service": logger().service},
    )
    with counted as line:
        for name, text in metadata.items():
            line.add_metadata(name, text)


def count_internal_error(code: str, now: datetime) -> None:
    """Writes a line that counts INTERNAL_ERRORS, at every level. The release is BRIDGE_RELEASE, the layer's version: a
    gradual deployment watches that of the new one.
    """
    release = os.environ.get("BRIDGE_RELEASE", "")
    fields = metric_fields(
        {Metric.INTERNAL_ERRORS: 1},
        dimensions={"release": release},
        in_total=frozenset({Metric.INTERNAL_ERRORS}),
        now=now,
    )
    log_at_every_level("internal error", {**fields, "code": code}, failed=True)


def metric_fields(
    values: Mapping[Metric, float], *, dimensions: Mapping[str, str], in_total: Set[Metric], now: datetime
) -> dict[str, object]:
    """Returns fields that make CloudWatch count metrics from the log line that has them, in its embedded metric format:
    each metric by service and `dimensions`, and those `in_total` by service alone, too. Alarms can sum up no
    dimensions. The line must have the field `service`, as all lines of the logger do.

    CloudWatch takes only ASCII in dimensions, and no empty ones.
    """
    shown = {name: text.encode("ascii", "replace").decode() or "-" for name, text in dimensions.items()}
    groups: list[tuple[list[str], list[Metric]]] = [(["service", *dimensions], list(values))]
    if total := [metric for metric in values if metric in in_total]:
        groups.append((["service"], total))
    directives = [
        {
            "Namespace": METRICS_NAMESPACE,
            "Dimensions": [names],
            "Metrics": [{"Name": metric.value, "Unit": REQUEST_UNITS.get(metric, "Count")} for metric in metrics],
        }
        for names, metrics in groups
    ]
    counted = {metric.value: value for metric, value in values.items()}
    return {**shown, **counted, "_aws": {"Timestamp": int(now.timestamp() * 1000), "CloudWatchMetrics": directives}}
