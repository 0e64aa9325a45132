"""One structured log line for each request, and metrics, by Powertools. Never a prompt, never a key."""

import logging
import traceback
from enum import StrEnum
from functools import cache
from typing import Any

import orjson
from aws_lambda_powertools import Logger

METRICS_NAMESPACE = "SekhaLlmBridge"


@cache
def logger() -> Logger:
    """The one logger; service and level come from the POWERTOOLS_* environment.

    A message is taken as the text that it is; Powertools would try at every line whether it is JSON.
    """
    logging.logAsyncioTasks = False  # type: ignore[attr-defined]  # from 3.12 on; a task's name says nothing here
    return Logger(utc=True, location=None, json_serializer=_json, json_deserializer=str)


def _json(line: object) -> str:
    return orjson.dumps(line, default=str).decode()


def code_location(exc: BaseException) -> str:
    """The kinds of an exception chain and the places it passed, without messages, which may quote a prompt or a key."""
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


def log_request(fields: dict[str, Any], *, failed: bool) -> None:
    """The line that says what one request came to; a warning when it came to nothing."""
    say = logger().warning if failed else logger().info
    say("request", extra=fields)


class Metric(StrEnum):
    """What is counted: the template's alarms and whoever watches read these names in CloudWatch.

    Gauges, written by every scheduled check: `HEALTHY_PROVIDERS` and `OPEN_BREAKERS`. The others count what happens;
    `REJECTIONS` once for each provider that a request would have tried, had its breaker let it; `BROKEN_ANSWERS` once
    for each stream that had begun and did not come to its end by a fault of its provider's, or of time;
    `STORE_UNAVAILABLE` once for each request whose vectors Chroma did not take; `VECTORS_LOST` once for each whose
    vectors could not be put into the queue either; `VECTORS_REJECTED` once for each message of waiting vectors that
    Chroma never will take.
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
    OPEN_BREAKERS = "OpenBreakers"
    HEALTHY_PROVIDERS = "HealthyProviders"


def count_provider_needs_attention(provider_id: str, code: str) -> None:
    """Tells whoever operates the bridge that a provider needs a person: its key was rejected, or its account is empty.

    An error line, and one count of a metric that the template's alarm watches.
    """
    logger().error("provider needs attention", extra={"provider": provider_id, "code": code})
    count(Metric.PROVIDER_REJECTED, provider=provider_id, code=code)


def count(metric: Metric, value: int = 1, **metadata: str) -> None:
    """Writes one line in CloudWatch's embedded metric format; `metadata` is found in the log, and is no dimension."""
    from aws_lambda_powertools.metrics import MetricUnit, single_metric  # imported when there is something to tell

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
