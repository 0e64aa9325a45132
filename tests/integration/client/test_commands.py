"""`sekha-bridge chat`, `route` and `models` with a running local stack, which they find by themselves."""

import json
import signal
import subprocess
import sys
from typing import Any

import pytest
from typer.testing import CliRunner

from local_stack.testing import RunningStack
from sekha_llm_bridge.cli.app import app
from tests.fakes.provider import FakeProvider, Reply, Stream, chunk

pytestmark = pytest.mark.stack
CHAT = "/v1/chat/completions"


def run(stack: RunningStack, *arguments: str) -> Any:
    return CliRunner(env={"SEKHA_LOCAL_STACKS": str(stack.state / "stacks")}).invoke(app, list(arguments))


def test_chat_answers_and_says_what_it_cost(stack: RunningStack) -> None:
    answer = run(stack, "chat", "Hello")
    assert (answer.exit_code, answer.stdout) == (0, "Hello from the first.\n")
    assert answer.stderr.startswith(f"using the local stack at {stack.base_url}")
    assert answer.stderr.endswith("model gpt, provider paid, cost $0.000025, 11 + 7 tokens\n")


def test_chat_that_costs_too_much_is_refused_with_the_cheapest(stack: RunningStack) -> None:
    answer = run(stack, "chat", "Hello", "--model", "gpt", "--max-cost", "0.00000001")
    assert (answer.exit_code, answer.stdout) == (1, "")
    assert "gpt" in answer.stderr
    assert "request id" in answer.stderr


def test_route_and_models_show_what_is_configured(stack: RunningStack) -> None:
    plan = run(stack, "route", "chat_smart")
    assert plan.exit_code == 0
    assert plan.stdout.startswith("gpt-4o at paid, estimated $0.02: ")
    assert run(stack, "route").stdout.startswith("gpt at paid, estimated $")
    models = run(stack, "models", "--json")
    assert {model["model_id"] for model in json.loads(models.stdout)} >= {"gpt", "gpt-4o", "mini", "llama3.1:8b"}
    assert "names that stand for models: auto, " in run(stack, "models").stdout


# A test run in a shell's background ignores SIGINT, and what it starts would inherit that.
_RUN = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); import sekha_llm_bridge.cli as c; c.main()"


def test_ctrl_c_cancels_the_answer_at_the_provider(stack: RunningStack, primary: FakeProvider) -> None:
    silent = Stream([chunk({"role": "assistant", "content": "Hel"})], ending="silent")
    primary.always(CHAT, Reply(stream=silent))
    command = [sys.executable, "-c", _RUN, "chat", "Hello", "--model", "gpt", "--url", stack.base_url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read(3) == b"Hel"
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 130
    assert silent.client_disconnected.wait(timeout=10)
