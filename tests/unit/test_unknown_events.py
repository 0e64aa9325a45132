"""Events that a function does not take are answered with one warning, whoever has sent them, and nothing of them is
logged but known keys.
"""

import asyncio
import json
from collections.abc import Callable, Coroutine, Mapping
from io import StringIO
from types import SimpleNamespace
from typing import Any

import pytest

from sekha_llm_bridge.access.keys.verifier import KeyVerifier
from sekha_llm_bridge.aws.unknown_event import event_kind
from sekha_llm_bridge.bootstrap import Bridge, make_bridge
from sekha_llm_bridge.jobs import drain, health_check, migrate
from sekha_llm_bridge.jobs.authorizer import authorizer_handler
from sekha_llm_bridge.jobs.handler import Invocation
from sekha_llm_bridge.jobs.usage_records import log_handler
from tests.corpus.event_cases import EventCase, all_event_cases
from tests.fakes.clock import FakeClock
from tests.fakes.functions import FakeContext, _load
from tests.fakes.keys import FakeKeyStore
from tests.fakes.settings import chat_model, make_settings, provider

CASES = all_event_cases()
VALUE = "fixture"  # which every value that must not be logged begins with

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
Answer = Callable[[Any], Any]


def run(job: Coroutine[Any, Any, Any]) -> Any:
    """Runs a job on a loop of its own, and leaves the current loop as it is: the function of the API keeps it."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(job)
    finally:
        loop.close()


def warnings_in(log: StringIO) -> list[Mapping[str, Any]]:
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    return [line for line in lines if line["message"] == "unknown event"]


@pytest.fixture(scope="module")
def bridge() -> Bridge:
    return make_bridge(make_settings(provider("p", chat_model("gpt"), base_url="http://127.0.0.1:9/v1")))


@pytest.fixture(scope="module")
def models() -> Any:
    return _load("models")


@pytest.fixture
def api(models: Any, monkeypatch: pytest.MonkeyPatch) -> Answer:
    monkeypatch.setenv("AUTH_MODE", "keys")
    return lambda event: models.handler(event, FakeContext(29_000))


@pytest.fixture
def authorizer(clock: FakeClock) -> Answer:
    handler = authorizer_handler(KeyVerifier(FakeKeyStore(), clock))
    return lambda event: handler(event, FakeContext(5_000))


@pytest.fixture
def usage_records(monkeypatch: pytest.MonkeyPatch) -> Answer:
    monkeypatch.setenv("STATE_TABLE", "state")
    handler = log_handler()
    return lambda event: handler(event, FakeContext(60_000))


@pytest.fixture
def migration(bridge: Bridge) -> Answer:
    return lambda event: run(migrate.run(bridge, Invocation(event, FakeContext(900_000))))


@every_case
def test_the_kind_of_an_event_is_known_by_its_keys(case: EventCase) -> None:
    assert event_kind(case.event) == case.kind


@every_case
@pytest.mark.parametrize("function", ["api", "authorizer", "migration", "usage_records"])
def test_an_event_that_a_function_does_not_take_is_one_warning_without_its_values(
    case: EventCase, function: str, request: pytest.FixtureRequest, log: StringIO
) -> None:
    answer_of: Answer = request.getfixturevalue(function)
    if function == "authorizer" and function in case.taken_by:
        with pytest.raises(Exception, match="Unauthorized"):
            answer_of(case.event)
    else:
        answer_of(case.event)
    expected = [] if function in case.taken_by else [case.kind]
    assert [(line["level"], line["kind"]) for line in warnings_in(log)] == [("WARNING", kind) for kind in expected]
    assert VALUE not in log.getvalue()


@every_case
def test_a_function_of_the_api_answers_a_request_with_401_and_every_other_event_with_400(
    case: EventCase, api: Answer
) -> None:
    answer = api(case.event)
    assert answer["statusCode"] == (401 if "api" in case.taken_by else 400)
    error = json.loads(answer["body"])["error"]
    assert error["code"] == ("invalid_api_key" if "api" in case.taken_by else "invalid_request")
    assert VALUE not in answer["body"]


@pytest.mark.parametrize("name", ["http-api", "function-url", "http-api-1", "load-balancer", "rest"])
def test_without_keys_a_request_is_served_whoever_translates_it(
    name: str, models: Any, bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTH_MODE", "none")
    models.app.state.bridge = bridge
    case = next(case for case in CASES if case.name == name)
    answer = models.handler(case.event, FakeContext(29_000))
    assert (answer["statusCode"], json.loads(answer["body"])["data"][0]["id"]) == (200, "gpt")


@every_case
def test_the_authorizer_opens_nothing_for_an_event_that_it_does_not_know(case: EventCase, authorizer: Answer) -> None:
    if "authorizer" not in case.taken_by:
        assert authorizer(case.event) == {}


@every_case
def test_a_migration_runs_for_a_schedule_or_a_request_only(case: EventCase, migration: Answer) -> None:
    report = migration(case.event)
    taken = "migration" in case.taken_by
    assert report["finished"] is taken
    assert report["note"].startswith("no Chroma server" if taken else "nothing was done: ")
    assert VALUE not in report["note"] or case.name == "secret-as-key"


def test_the_report_of_a_refused_migration_names_the_field(migration: Answer) -> None:
    assert "dry-run: Extra inputs are not permitted" in migration({"dry-run": True})["note"]


def test_a_batch_of_usage_that_cannot_be_read_is_an_error_and_no_warning(usage_records: Answer, log: StringIO) -> None:
    with pytest.raises(ValueError, match="zero-length"):
        usage_records({"awslogs": {"data": "H4sIAAAAAAAC/wMAAAAAAAAAAAA="}})
    assert not warnings_in(log)


@every_case
def test_the_drain_runs_for_every_event(case: EventCase, bridge: Bridge) -> None:
    report = run(drain.run(bridge, Invocation(case.event, FakeContext(240_000))))
    assert "nothing to store" in report["note"]


def test_the_health_check_runs_for_every_event(bridge: Bridge) -> None:
    async def check_each() -> list[Any]:
        return [
            await health_check.make_job()(bridge, Invocation(case.event, FakeContext(29_000))) for case in CASES[:3]
        ]

    assert [list(results) for results in run(check_each())] == [["p"]] * 3


def test_known_keys_are_logged_and_others_counted(api: Answer, log: StringIO) -> None:
    api({"source": "fixture-a", "fixture-b": 1, "detail": 2})
    (line,) = warnings_in(log)
    assert (line["keys"], line["other_keys"]) == (["source"], 2)
    assert line["function_request_id"] == "lambda-request"


def test_a_context_without_a_request_id_is_no_fault(models: Any, log: StringIO) -> None:
    assert models.handler({}, SimpleNamespace())["statusCode"] == 400
    assert "function_request_id" not in warnings_in(log)[0]
