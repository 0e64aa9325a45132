"""A provider that fails and recovers, tested with the local stack: functions, table and schedule."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from local_stack.testing import RunningStack, running_stack
from tests.fakes.provider import FakeProvider
from tests.fakes.settings import chat_model, make_settings, provider

pytestmark = pytest.mark.stack
CHAT = "/v1/chat/completions"
HELLO = {"messages": [{"role": "user", "content": "Hello"}]}
RULES = {"failure_threshold": 5, "timeout_secs": 3, "success_threshold": 2}


@pytest.fixture
def second() -> Iterator[FakeProvider]:
    with FakeProvider() as fake:
        yield fake


def configuration(file: Path, first: FakeProvider, second: FakeProvider) -> Path:
    providers = [
        provider("first", chat_model("a"), base_url=f"{first.url}/v1", priority=1),
        provider("second", chat_model("b"), base_url=f"{second.url}/v1", priority=2),
    ]
    document = {"providers": providers, "routing": {"circuit_breaker": RULES}, "chroma": {"url": "http://127.0.0.1:9"}}
    make_settings(*providers, routing=document["routing"])
    file.write_text(yaml.safe_dump(document))
    return file


def chat(stack: RunningStack) -> tuple[str, int]:
    """Returns the provider that answered, and the number of attempts."""
    answer = httpx.post(stack.base_url + CHAT, json=HELLO, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.headers["x-bridge-provider"], int(answer.headers["x-bridge-attempts"])


def health(stack: RunningStack) -> Any:
    return httpx.get(f"{stack.base_url}/api/v1/health", timeout=30).json()


def wait_for(stack: RunningStack, state: str, *, meanwhile: Any = None) -> Any:
    """Waits until the first provider's breaker is in that state. Returns its row."""
    for _ in range(200):
        row = health(stack)["providers"]["first"]
        if row["circuit_breaker"]["state"] == state and row["last_checked"]:
            return row
        if meanwhile:
            meanwhile()
        time.sleep(0.5)
    raise AssertionError(f"the breaker is not {state}: {row}")


def test_a_failing_provider_is_not_called_until_the_scheduled_check_closes_its_breaker(
    tmp_path: Path, second: FakeProvider
) -> None:
    with FakeProvider() as first:
        config, port = configuration(tmp_path / "two.yaml", first, second), first.port
        with running_stack(config=config, schedules=True) as stack:
            assert wait_for(stack, "closed")["status"] == "healthy"
            assert chat(stack) == ("first", 1)

            first.stop()
            # A refused connection is retried once before the failover, and counts as one failure.
            assert [chat(stack) for _ in range(6)] == [("second", 3)] * 5 + [("second", 1)]

            body = health(stack)
            row = body["providers"]["first"]
            assert (body["status"], row["status"]) == ("degraded", "unhealthy")
            breaker = row["circuit_breaker"]
            assert (breaker["state"], breaker["failure_count"], breaker["cause"]) == ("open", 5, "connect_failed")
            failed_at = datetime.fromisoformat(breaker["last_failure"])
            assert failed_at.tzinfo == UTC
            assert timedelta() <= datetime.now(UTC) - failed_at < timedelta(minutes=1)
            rows = httpx.post(f"{stack.base_url}/api/v1/route", json={"task": "chat_small"}, timeout=30).json()
            assert {one["provider_id"]: one["circuit_breaker"] for one in rows["candidates"]}["first"] == "open"

            with FakeProvider(port=port) as back:
                early = []

                def send_chat() -> None:
                    """Sends a chat. The check may have closed the breaker just before; then the first provider answers."""
                    if chat(stack) != ("second", 1):
                        early.append(health(stack)["providers"]["first"]["circuit_breaker"]["state"])

                wait_for(stack, "closed", meanwhile=send_chat)
                assert set(early) <= {"closed"}
                assert len(back.calls(CHAT)) == len(early)  # no user's request was a probe
                assert len(back.calls("/v1/models")) == RULES["success_threshold"]
                time.sleep(1.1)  # an instance uses its records for a second
                assert chat(stack) == ("first", 1)
            assert '"BreakerOpened":[1.0]' in stack.log("chat_completions")
            assert '"BreakerClosed":[1.0]' in stack.log("health_check")
