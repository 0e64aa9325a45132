"""The failover loop, with providers that do as they are told and a clock that stands."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest

from sekha_llm_bridge import errors
from sekha_llm_bridge.config.models import ProviderConfig
from sekha_llm_bridge.execution import Deadline, Executor, Outcome
from sekha_llm_bridge.pricing import PriceBook, TokenCount
from sekha_llm_bridge.providers import ChatAnswer, ProviderDirectory
from sekha_llm_bridge.providers.base import Provider
from sekha_llm_bridge.providers.http import JsonHttp
from sekha_llm_bridge.routing import Candidate, Catalog, Limits, RouteRequest, plan
from sekha_llm_bridge.usage import Usage
from tests.fakes.clock import FakeClock
from tests.fakes.settings import chat_model, make_settings, provider

OK = ChatAnswer({}, Usage(1000, 500, cached_tokens=0))


@dataclass
class Stage:
    """Providers p0, p1, …, each with a list of what its calls do in turn."""

    clock: FakeClock
    outcomes: list[list[Exception | ChatAnswer | Callable[[], Any]]]
    windows: list[int] = field(default_factory=list)
    called: list[str] = field(default_factory=list)
    allowed_s: list[float] = field(default_factory=list)
    reloaded_key: str = "old"
    reload_fails: bool = False

    def perform(
        self, *, remaining_s: float = 100, auto_fallback: bool = True, allow_fallback: bool = True
    ) -> Outcome[ChatAnswer]:
        windows = self.windows or [8192] * len(self.outcomes)
        configs = [
            provider(
                f"p{i}",
                chat_model(f"m{i}", context_window=w),
                priority=i + 1,
                timeout_secs=10,
                api_key="old",
                base_url="http://x/v1",
            )
            for i, w in enumerate(windows)
        ]
        settings = make_settings(*configs)

        def reload(provider_id: str) -> ProviderConfig:
            if self.reload_fails:
                raise errors.ConfigError(["the secret is gone"])
            fields = next(config for config in configs if config["id"] == provider_id)
            return ProviderConfig.model_validate({**fields, "api_key": self.reloaded_key})

        directory = ProviderDirectory(settings.providers, JsonHttp(self.clock), self.clock, reload)
        executor = Executor(directory, self.clock, auto_fallback=auto_fallback)
        the_plan = plan(RouteRequest(None, TokenCount(10, 10, 10)), Catalog.of(settings, PriceBook()), Limits())
        deadline = Deadline.after(remaining_s + 1, self.clock)
        return asyncio.run(executor.perform(the_plan, self._call, deadline, allow_fallback=allow_fallback))

    async def _call(self, _provider: Provider, candidate: Candidate, timeout_s: float) -> ChatAnswer:
        provider_id = candidate.entry.provider.id
        self.called.append(provider_id)
        self.allowed_s.append(timeout_s)
        outcome = self.outcomes[int(provider_id[1:])].pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome if isinstance(outcome, ChatAnswer) else outcome()


GOES_ON = [
    errors.ConnectFailed("x"),
    errors.ProviderTimeout("x"),
    errors.ProviderServerError("x"),
    errors.MalformedAnswer("x"),
    errors.ProviderRateLimited("x"),
    errors.QuotaExhausted("x"),
    errors.CredentialsRejected("x"),
    errors.ModelMissing("x"),
    errors.OutputCapRefused("x"),
]


@pytest.mark.parametrize("failure", GOES_ON, ids=lambda failure: failure.code)
def test_a_providers_own_failure_is_followed_by_the_next_candidate(
    clock: FakeClock, failure: errors.ProviderError
) -> None:
    stage = Stage(clock, [[failure], [OK]])
    receipt = stage.perform().receipt
    assert stage.called == ["p0", "p1"]
    assert [attempt.code for attempt in receipt.attempts] == [failure.code, "ok"]


@pytest.mark.parametrize(
    "failure", [errors.CallerFault("x"), errors.ContentRefused("x")], ids=lambda failure: failure.code
)
def test_a_fault_that_would_be_the_same_everywhere_is_returned_at_once(
    clock: FakeClock, failure: errors.ProviderError
) -> None:
    stage = Stage(clock, [[failure], [OK]])
    with pytest.raises(type(failure)):
        stage.perform()
    assert stage.called == ["p0"]


def test_a_prompt_too_long_goes_to_a_strictly_larger_window_only(clock: FakeClock) -> None:
    stage = Stage(clock, [[errors.ContextLengthExceeded("x")], [OK], [OK]], windows=[8192, 8192, 16_384])
    stage.perform()
    assert stage.called == ["p0", "p2"]


def test_a_prompt_too_long_for_the_largest_window_is_the_callers_to_mend(clock: FakeClock) -> None:
    with pytest.raises(errors.ContextLengthExceeded):
        Stage(clock, [[errors.ContextLengthExceeded("x")], [OK]], windows=[8192, 4096]).perform()


def test_a_prompt_too_long_for_a_small_model_does_not_hide_why_the_large_one_failed(clock: FakeClock) -> None:
    failures: list[Any] = [errors.ProviderServerError("down"), errors.ContextLengthExceeded("x")]
    with pytest.raises(errors.AllProvidersFailed):
        Stage(clock, [[failures[0]], [failures[1]]]).perform()


def test_when_all_fail_every_attempt_is_told(clock: FakeClock) -> None:
    stage = Stage(clock, [[errors.ProviderServerError("boom", provider_status=500)], [errors.ConnectFailed("gone")]])
    with pytest.raises(errors.AllProvidersFailed) as caught:
        stage.perform()
    rows = [(a["provider_id"], a["status"], a["reason"]) for a in caught.value.attempts]
    assert rows == [("p0", 500, "boom"), ("p1", None, "gone")]


def test_rate_limits_everywhere_are_a_429_with_the_soonest_end(clock: FakeClock) -> None:
    limited = [errors.ProviderRateLimited("x", retry_after_s=wait) for wait in (30.0, 7.0)]
    with pytest.raises(errors.RateLimited) as caught:
        Stage(clock, [[limited[0]], [limited[1]]]).perform()
    assert caught.value.retry_after_s == 7.0


@pytest.mark.parametrize(("auto", "allow"), [(False, True), (True, False)])
def test_without_fallback_only_the_first_candidate_is_tried(clock: FakeClock, auto: bool, allow: bool) -> None:  # noqa: FBT001
    stage = Stage(clock, [[errors.ProviderServerError("x")], [OK]])
    with pytest.raises(errors.AllProvidersFailed):
        stage.perform(auto_fallback=auto, allow_fallback=allow)
    assert stage.called == ["p0"]


def test_each_attempt_gets_the_providers_timeout_or_what_is_left(clock: FakeClock) -> None:
    def slow() -> ChatAnswer:
        clock.advance(95)
        raise errors.ProviderServerError("x")

    stage = Stage(clock, [[slow], [OK]])
    stage.perform(remaining_s=100)
    assert stage.allowed_s == [10, 5]


def test_no_attempt_starts_when_the_time_is_up(clock: FakeClock) -> None:
    def slow() -> ChatAnswer:
        clock.advance(100)
        raise errors.ProviderServerError("x")

    stage = Stage(clock, [[slow], [OK]])
    with pytest.raises(errors.OutOfTime) as caught:
        stage.perform(remaining_s=100)
    assert stage.called == ["p0"]
    assert len(caught.value.attempts) == 1


def test_a_rejected_key_is_fetched_anew_and_tried_once_more(clock: FakeClock) -> None:
    stage = Stage(clock, [[errors.CredentialsRejected("x"), OK]], reloaded_key="new")
    assert len(stage.perform().receipt.attempts) == 2
    assert stage.called == ["p0", "p0"]


def test_a_key_that_is_still_rejected_is_not_tried_a_third_time(clock: FakeClock) -> None:
    rejected: list[Any] = [errors.CredentialsRejected("x"), errors.CredentialsRejected("x")]
    stage = Stage(clock, [rejected, [OK]], reloaded_key="new")
    stage.perform()
    assert stage.called == ["p0", "p0", "p1"]


def test_a_key_that_cannot_be_fetched_again_is_a_failure_of_that_provider_only(clock: FakeClock) -> None:
    stage = Stage(clock, [[errors.CredentialsRejected("x")], [OK]], reload_fails=True)
    stage.perform()
    assert stage.called == ["p0", "p1"]


def test_an_unexpected_error_in_an_adapter_is_followed_by_the_next_candidate(clock: FakeClock, log: StringIO) -> None:
    stage = Stage(clock, [[RuntimeError("the yellow submarine")], [OK]])
    assert stage.perform().receipt.attempts[0].code == "provider_server_error"
    assert "RuntimeError at test_executor.py" in log.getvalue()
    assert "submarine" not in log.getvalue()


def test_the_receipt_bills_the_providers_own_count(clock: FakeClock) -> None:
    receipt = Stage(clock, [[ChatAnswer({}, Usage(1000, 500))]]).perform().receipt
    # 1000 × $1 + 500 × $2 per million tokens
    assert receipt.cost == Decimal("0.002")
    assert receipt.price_source == "config"


def test_without_a_count_the_receipt_bills_the_estimate(clock: FakeClock) -> None:
    receipt = Stage(clock, [[ChatAnswer({}, None)]]).perform().receipt
    assert receipt.cost == receipt.estimated_cost
