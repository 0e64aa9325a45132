"""The log line of a request: what was used as numbers, and the metrics that CloudWatch makes of it."""

import json
import logging
from collections.abc import Iterator
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest

from sekha_llm_bridge.access.caller import ANYONE, Caller
from sekha_llm_bridge.api.request_log import write_request_line
from sekha_llm_bridge.api.request_state import RequestState
from sekha_llm_bridge.errors import ConfigError, FailureKind
from sekha_llm_bridge.execution import Attempt, AttemptLog
from sekha_llm_bridge.execution.inbound import InboundRequest
from sekha_llm_bridge.observability import METRICS_NAMESPACE, REQUEST_UNITS, Metric, logger
from sekha_llm_bridge.usage import Usage
from tests.fakes.clock import FakeClock
from tests.fakes.functions import Function
from tests.fakes.provider import FakeProvider, Reply, Stream
from tests.unit.api.chat_function import HI, PATH, ask

SPEND = {Metric.COST_USD.value, Metric.MAX_COST_USD.value}


def request_line(log: StringIO) -> dict[str, Any]:
    (line,) = [json.loads(line) for line in log.getvalue().splitlines() if '"message":"request"' in line]
    return dict(line)


def metrics(line: dict[str, Any]) -> dict[tuple[str, ...], dict[str, Any]]:
    """The values of the line's metrics, by the names of their dimensions."""
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for directive in line["_aws"]["CloudWatchMetrics"]:
        assert directive["Namespace"] == METRICS_NAMESPACE
        for dimensions in directive["Dimensions"]:
            assert all(isinstance(line[name], str) and line[name] for name in dimensions)
            names = [metric["Name"] for metric in directive["Metrics"]]
            assert all(type(line[name]) in {int, float} for name in names)
            found[tuple(dimensions)] = {name: line[name] for name in names}
    return found


@pytest.fixture
def only_errors() -> Iterator[None]:
    before = logging.getLogger(logger().name).level
    logger().setLevel("ERROR")
    yield
    logger().setLevel(before)


def test_what_a_chat_has_used_is_in_its_line_as_numbers_under_opentelemetrys_names(
    chat: Function, log: StringIO
) -> None:
    answer = ask(chat, model="gpt").json()
    line = request_line(log)
    assert line["gen_ai.usage.input_tokens"] == answer["usage"]["prompt_tokens"]
    assert line["gen_ai.usage.output_tokens"] == answer["usage"]["completion_tokens"]
    assert line["gen_ai.usage.cache_read.input_tokens"] == answer["usage"]["prompt_tokens_details"]["cached_tokens"] > 0
    names = ("gen_ai.request.model", "gen_ai.response.model", "gen_ai.provider.name")
    assert [line[name] for name in names] == ["gpt", "gpt", "first"]
    assert line["cost_usd"] == line["max_cost_usd"] == answer["bridge"]["cost"] > 0
    assert "key_id" not in line


def test_the_line_has_the_metrics_by_model_and_the_spend_of_the_service(chat: Function, log: StringIO) -> None:
    answer = ask(chat, model="gpt").json()
    line = request_line(log)
    by_model, total = metrics(line)[("service", "provider", "model")], metrics(line)[("service",)]
    assert (line["provider"], line["model"]) == ("first", "gpt")
    assert total == {"CostUsd": answer["bridge"]["cost"], "MaxCostUsd": answer["bridge"]["cost"]}
    assert by_model == {
        **total,
        "Requests": 1,
        "InputTokens": answer["usage"]["prompt_tokens"],
        "CachedInputTokens": answer["usage"]["prompt_tokens_details"]["cached_tokens"],
        "OutputTokens": answer["usage"]["completion_tokens"],
        "LatencyMs": line["latency_ms"],
    }


def test_the_line_of_a_stream_has_the_time_to_its_first_token(chat: Function, log: StringIO) -> None:
    ask(chat, model="gpt", stream=True)
    line = request_line(log)
    assert metrics(line)[("service", "provider", "model")]["FirstTokenMs"] == line["first_token_ms"]


def test_every_metric_of_requests_has_a_unit() -> None:
    units = {"Count", "Milliseconds", "None"}
    assert set(REQUEST_UNITS.values()) <= units
    assert {metric.value for metric in REQUEST_UNITS} >= SPEND


def test_the_line_is_written_at_every_log_level_because_usage_is_counted_from_it(
    chat: Function, log: StringIO, only_errors: None
) -> None:
    ask(chat, model="gpt")
    assert request_line(log)["level"] == "INFO"


def test_the_line_of_a_request_that_called_no_provider_follows_the_log_level_and_has_no_metrics(
    chat: Function, log: StringIO, only_errors: None
) -> None:
    ask(chat, model="unknown")
    assert log.getvalue() == ""


def test_a_name_that_is_no_model_is_not_logged_because_it_may_be_any_text(chat: Function, log: StringIO) -> None:
    assert ask(chat, model="the secret plan").status == 404
    assert "the secret plan" not in log.getvalue()
    assert "_aws" not in request_line(log)


def test_a_model_that_billed_before_a_failover_has_metrics_of_its_own_in_another_line(
    chat: Function, fake: FakeProvider, log: StringIO
) -> None:
    empty = {"id": "1", "choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 0, "total_tokens": 9}}
    fake.always("/v1/chat/completions", Reply(200, empty))
    answer = ask(chat, model="auto").json()
    assert [attempt["provider_id"] for attempt in answer["bridge"]["attempts"]] == ["first", "local"]
    others = [json.loads(line) for line in log.getvalue().splitlines() if "usage of another model" in line]
    line = request_line(log)
    assert [(one["provider"], one["InputTokens"], "Requests" in one) for one in others] == [("first", 9, False)]
    assert (line["provider"], line["Requests"]) == ("local", 1)
    spent = others[0]["CostUsd"] + line.get("CostUsd", 0)
    assert spent == line["cost_usd"] == answer["bridge"]["cost"] > 0


def test_an_interrupted_stream_counts_with_the_most_that_it_can_have_cost(
    chat: Function, fake: FakeProvider, log: StringIO
) -> None:
    beginning = {"id": "1", "choices": [{"index": 0, "delta": {"content": "one"}}]}
    fake.script(PATH, Reply(stream=Stream([f"data: {json.dumps(beginning)}\n\n".encode()], ending="closed")))
    chat("POST", PATH, {"model": "gpt", "messages": HI, "stream": True})
    line = request_line(log)
    assert (line["status"], line["error"], line.get("cost_usd")) == (200, "answer_broken", None)
    assert metrics(line)[("service",)] == {"MaxCostUsd": line["max_cost_usd"]}
    assert line["max_cost_usd"] > 0


def internal_errors(log: StringIO) -> list[tuple[str, str, dict[tuple[str, ...], dict[str, Any]]]]:
    """Level, code and metrics of each line that counts an error of the bridge itself."""
    lines = [json.loads(line) for line in log.getvalue().splitlines() if "InternalErrors" in line]
    return [(line["level"], line["code"], metrics(line)) for line in lines]


COUNTED = {("service", "release"): {"InternalErrors": 1}, ("service",): {"InternalErrors": 1}}


@pytest.mark.usefixtures("only_errors")
def test_an_invalid_configuration_is_counted_at_each_request_by_release(
    log: StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRIDGE_RELEASE", "arn:aws:lambda:eu-west-1:123456789012:layer:bridge-bridge:7")
    models = Function("models", ConfigError(["providers: a fault"]))
    assert [models("GET", "/v1/models").status for _ in range(2)] == [500, 500]
    assert internal_errors(log) == [("WARNING", "config_invalid", COUNTED)] * 2
    assert '"release":"arn:aws:lambda:eu-west-1:123456789012:layer:bridge-bridge:7"' in log.getvalue()


def test_a_fault_in_an_adapter_is_counted_also_where_the_next_answer_hides_it(log: StringIO) -> None:
    inbound = InboundRequest(AttemptLog(FakeClock()))
    fault = Attempt("p", "m", FailureKind.ADAPTER_FAULT.code, None, "", 1, None, None, None)
    inbound.attempts.attempts += [fault, Attempt("q", "m", "ok", 200, "", 1, Decimal(1), Decimal(1), Usage(1))]
    state = RequestState("id", {"method": "POST", "path": "/", "status": 200}, inbound)
    write_request_line(state, ANYONE, latency_ms=1, now=FakeClock().now())
    assert internal_errors(log) == [("WARNING", "adapter_fault", COUNTED)]


def test_what_providers_and_callers_fail_by_is_no_internal_error(
    chat: Function, fake: FakeProvider, second: FakeProvider, log: StringIO
) -> None:
    fake.always(PATH, Reply(500, {}))
    assert ask(chat, model="gpt").status == 502
    assert chat("POST", PATH, raw="{").status == 400
    assert internal_errors(log) == []


def test_the_line_has_the_id_and_the_labels_of_the_key(log: StringIO) -> None:
    caller = Caller("key_abc", {"team": "search"})
    state = RequestState("id", {"method": "GET", "path": "/"})
    write_request_line(state, caller, latency_ms=1, now=FakeClock().now())
    line = request_line(log)
    assert (line["key_id"], line["labels"]) == ("key_abc", {"team": "search"})
