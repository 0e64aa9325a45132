"""The same events under the two runtimes that functions have: no invocation fails, and no value is logged."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.corpus.event_cases import EventCase, all_event_cases
from tests.fakes.runtime_api import FakeRuntimeApi, Invocation
from tests.fakes.settings import chat_model, provider

ROOT = Path(__file__).parents[2]
CASES = all_event_cases()
LAYER = ROOT / "layers" / "bridge"


class RunningFunction:
    """A function of the API in a runtime of its own."""

    def __init__(self, name: str, wrapper: list[str], folder: Path) -> None:
        self.api = FakeRuntimeApi()
        self.log = folder / "log.txt"
        config = folder / "providers.yaml"
        listed = provider("p", chat_model("gpt"), base_url="http://127.0.0.1:9/v1")
        config.write_text(yaml.safe_dump({"providers": [listed]}))
        task = ROOT / "functions" / name
        self._environment = {
            "AUTH_MODE": "keys",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
            "AWS_LAMBDA_FUNCTION_NAME": name,
            "AWS_LAMBDA_FUNCTION_VERSION": "1",
            "AWS_LAMBDA_LOG_GROUP_NAME": "group",
            "AWS_LAMBDA_LOG_STREAM_NAME": "stream",
            "AWS_LAMBDA_RUNTIME_API": self.api.address,
            "LAMBDA_TASK_ROOT": str(task),
            "LLM_CONFIG_PATH": str(config),
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{task}{os.pathsep}{LAYER}",
            "_HANDLER": "app.handler",
        }
        self._command = [*wrapper, sys.executable, "-m", "awslambdaric", "app.handler"]

    def __enter__(self) -> "RunningFunction":
        self.api.__enter__()
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(self._command, env=self._environment, stdout=log, stderr=log)
        return self

    def __exit__(self, *_: object) -> None:
        self.api.close()
        self._process.kill()
        self._process.wait()

    def answer(self, event: Any) -> Invocation:
        return self.api.wait_until_finished(self.api.queue_event(event))


@pytest.fixture(scope="module", params=["own loop", "awslambdaric"])
def function(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningFunction]:
    is_own = request.param == "own loop"
    wrapper = [str(LAYER / "stream-responses")] if is_own else []
    folder = tmp_path_factory.mktemp("function")
    with RunningFunction("models", wrapper, folder) as running:
        yield running


def _status(answered: Invocation) -> int:
    status = answered.prelude["statusCode"] if answered.kind == "streamed" else json.loads(answered.body)["statusCode"]
    assert isinstance(status, int)
    return status


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_no_event_fails_under_a_real_runtime(case: EventCase, function: RunningFunction) -> None:
    answered = function.answer(case.event)
    assert answered.kind in {"streamed", "buffered"}
    assert _status(answered) == (401 if "api" in case.taken_by else 400)


def test_every_event_that_is_no_request_is_one_warning_without_its_values(function: RunningFunction) -> None:
    before = function.log.read_text().count('"unknown event"')
    unknown = [case for case in CASES if "api" not in case.taken_by]
    for case in unknown:
        function.answer(case.event)
    written = function.log.read_text()
    assert written.count('"unknown event"') == before + len(unknown)
    assert '"WARNING"' in written
    assert "fixture" not in written


def test_an_event_that_is_not_json_is_a_warning(function: RunningFunction) -> None:
    answered = function.api.queue_event(None, raw=b"fixture", content_type="application/octet-stream")
    function.api.wait_until_finished(answered)
    assert (answered.kind, _status(answered)) == ("buffered", 400)
