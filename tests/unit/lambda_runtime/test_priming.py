"""Priming before a SnapStart snapshot, under the runtime loop that streams."""

import asyncio
import json
from io import StringIO
from pathlib import Path

import pytest
from fastapi import FastAPI, Request, Response

from sekha_llm_bridge.api.priming import prime
from tests.fakes.runtime_api import FakeRuntimeApi
from tests.unit.lambda_runtime.conftest import Runtime

CHAT = (Path(__file__).parents[3] / "functions" / "chat_completions" / "app.py").read_text()
CONNECTIONS = """
def report_connections():
    pools = app.state.bridge.connections._pools
    print(json.dumps({"pools": len(pools), "modules": sorted(sys.modules)}))

import snapshot_restore_py
snapshot_restore_py.get_before_snapshot().insert(0, (report_connections, (), {}))  # runs last
"""
CONFIG = (
    "providers:\n  - {id: absent, provider_type: ollama, base_url: 'http://127.0.0.1:1',"
    " models: [{model_id: m, task: chat_small, context_window: 8192}]}\n"
)


def lines_of(runtime: Runtime) -> list[dict[str, object]]:
    return [json.loads(line) for line in runtime.log.splitlines() if line.startswith("{")]


@pytest.mark.parametrize("auth_mode", ["keys", "none"])
def test_the_chat_function_answers_its_own_malformed_requests_before_the_snapshot_and_keeps_no_connection(
    runtime: Runtime, api: FakeRuntimeApi, tmp_path: Path, auth_mode: str
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG)
    runtime.start(
        CHAT + CONNECTIONS,
        AWS_LAMBDA_INITIALIZATION_TYPE="snap-start",
        LLM_CONFIG_PATH=str(config),
        AUTH_MODE=auth_mode,
    )
    api.wait_for_call("restore/next")
    *requests, report = lines_of(runtime)
    assert [(line["request_id"], line["status"]) for line in requests] == [("priming", 400)] * 2
    assert {line["path"] for line in requests} == {"/v1/chat/completions", "/api/v1/chat/completions"}
    assert report["pools"] == 0


def test_nothing_is_primed_without_snapstart(runtime: Runtime, api: FakeRuntimeApi, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG)
    runtime.start(CHAT, AWS_LAMBDA_INITIALIZATION_TYPE="on-demand", LLM_CONFIG_PATH=str(config), AUTH_MODE="none")
    api.wait_for_call("invocation/next")
    assert "priming" not in runtime.log


def test_a_failure_of_the_priming_does_not_prevent_the_snapshot(log: StringIO) -> None:
    app = FastAPI()

    @app.post("/fails")
    async def fails(_request: Request) -> Response:
        raise RuntimeError("secret text")

    loop = asyncio.new_event_loop()
    prime(app, loop)
    loop.close()
    assert "priming failed" in log.getvalue()
    assert "secret text" not in log.getvalue()
