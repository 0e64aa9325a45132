"""Provider records in DynamoDB: one item per provider, key `provider_id`."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from threading import Lock
from typing import TYPE_CHECKING, Any

from sekha_llm_bridge.resilience.records import (
    BreakerState,
    BreakerStatus,
    CheckResult,
    ProviderRecord,
    StoreUnavailable,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_BATCH = 100  # keys in one BatchGetItem


class DynamoHealthStore:
    """A `HealthStore` on a table. botocore is imported at first use: most requests never need it."""

    def __init__(self, table: str) -> None:
        self._table = table
        self._made: DynamoDBClient | None = None
        self._making = Lock()  # boto3's default session is not safe to use from several threads

    def read(self, provider_ids: Iterable[str]) -> Mapping[str, ProviderRecord]:
        """See `HealthStore.read`: one BatchGetItem for each hundred providers."""
        with _translated():
            return {
                item["provider_id"]["S"]: _record(item)
                for batch in _batches(provider_ids)
                for item in self._items(batch)
            }

    def record_check(self, result: CheckResult) -> None:
        """See `HealthStore.record_check`: one UpdateItem."""
        values: dict[str, Any] = {
            ":healthy": {"BOOL": result.healthy},
            ":at": {"S": result.checked_at.isoformat()},
            ":ms": {"NULL": True} if result.latency_ms is None else {"N": str(result.latency_ms)},
            ":error": {"NULL": True} if result.error is None else {"S": result.error},
        }
        with _translated():
            self._client.update_item(
                TableName=self._table,
                Key={"provider_id": {"S": result.provider_id}},
                UpdateExpression="SET check_healthy = :healthy, checked_at = :at, check_ms = :ms, check_error = :error",
                ExpressionAttributeValues=values,
            )

    def _items(self, batch: list[str]) -> Iterator[Mapping[str, Any]]:
        keys = [{"provider_id": {"S": provider_id}} for provider_id in batch]
        wanted: Any = {self._table: {"Keys": keys}}
        for _ in range(3):  # unprocessed keys come back under load; health is not worth waiting long for
            answer = self._client.batch_get_item(RequestItems=wanted)
            yield from answer["Responses"].get(self._table, [])
            wanted = answer.get("UnprocessedKeys")
            if not wanted:
                return
        raise StoreUnavailable("DynamoDB left keys unprocessed")

    @property
    def _client(self) -> "DynamoDBClient":
        with self._making:
            if self._made is None:
                self._made = _connect()
            return self._made


def _connect() -> "DynamoDBClient":
    import boto3
    from botocore.config import Config

    retries: Any = {"mode": "standard", "total_max_attempts": 2}
    return boto3.client("dynamodb", config=Config(connect_timeout=1, read_timeout=2, retries=retries))


def _batches(provider_ids: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(dict.fromkeys(provider_ids))
    while batch := list(islice(rest, _BATCH)):
        yield batch


def _record(item: Mapping[str, Any]) -> ProviderRecord:
    return ProviderRecord(check=_check(item), breaker=_breaker(item))


def _check(item: Mapping[str, Any]) -> CheckResult | None:
    if "checked_at" not in item:
        return None
    return CheckResult(
        provider_id=item["provider_id"]["S"],
        healthy=item["check_healthy"]["BOOL"],
        latency_ms=int(item["check_ms"]["N"]) if "N" in item["check_ms"] else None,
        checked_at=datetime.fromisoformat(item["checked_at"]["S"]),
        error=item["check_error"].get("S"),
    )


def _breaker(item: Mapping[str, Any]) -> BreakerStatus:
    failed_at = item.get("last_failure", {}).get("S")
    return BreakerStatus(
        state=BreakerState(item.get("state", {}).get("S", BreakerState.CLOSED)),
        failure_count=int(item.get("failure_count", {}).get("N", "0")),
        last_failure=datetime.fromisoformat(failed_at) if failed_at else None,
    )


@contextmanager
def _translated() -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError) as exc:
        raise StoreUnavailable(f"DynamoDB did not answer ({type(exc).__name__})") from exc
