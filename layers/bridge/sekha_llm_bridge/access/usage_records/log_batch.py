"""What the log lines of requests say was used, from a batch that CloudWatch Logs delivers.

The form of the event: https://docs.aws.amazon.com/lambda/latest/dg/services-cloudwatchlogs.html
"""

import base64
import gzip
import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson

from sekha_llm_bridge.access.usage_records.amounts import Amounts, UsedModel
from sekha_llm_bridge.observability import logger

_MESSAGE = "request"
_NOTHING = Amounts()


class UsageKey(NamedTuple):
    """Whose usage: the day (UTC, as `2026-11-28`), the API key's id (empty where no keys are needed), and the model."""

    day: str
    key_id: str
    model: UsedModel


class LogBatch(NamedTuple):
    """A batch of log lines. `id` is the same whenever the same lines are delivered."""

    id: str
    used: Mapping[UsageKey, Amounts]


def read_batch(event: Mapping[str, Any]) -> LogBatch | None:
    """Returns the batch of an event; None for a test message of CloudWatch Logs. Lines that are not the line of a
    request, or have another form, are left out. Raises `ValueError` for an event of another form.
    """
    try:
        delivered = orjson.loads(gzip.decompress(base64.b64decode(event["awslogs"]["data"])))
        if delivered["messageType"] != "DATA_MESSAGE":
            return None
        lines = delivered["logEvents"]
        names = "\n".join(str(line["id"]) for line in lines)
        return LogBatch(hashlib.sha256(names.encode()).hexdigest(), _sums(lines))
    except (LookupError, TypeError, OSError, EOFError) as exc:
        raise ValueError("the event is not a batch of log lines") from exc


def _sums(lines: Iterable[Mapping[str, Any]]) -> Mapping[UsageKey, Amounts]:
    sums: dict[UsageKey, Amounts] = {}
    for line in lines:
        day = datetime.fromtimestamp(line["timestamp"] / 1000, UTC).date().isoformat()
        for key_id, model, amounts in _used(line["message"]):
            key = UsageKey(day, key_id, model)
            sums[key] = sums.get(key, _NOTHING).plus(amounts)
    return sums


def _used(text: str) -> list[tuple[str, UsedModel, Amounts]]:
    """Returns what one line says was used."""
    try:
        line = orjson.loads(text)
        if line["message"] != _MESSAGE:
            return []
        key_id = str(line.get("key_id") or "")
        return [
            (key_id, UsedModel(str(one["provider_id"]), str(one["model_id"])), Amounts.from_json(one))
            for one in line["used"]
        ]
    except (ValueError, LookupError, TypeError, AttributeError) as exc:
        logger().warning("a line of usage cannot be read", extra={"reason": type(exc).__name__})
        return []
