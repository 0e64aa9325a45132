"""`models: auto` on the whole local stack: a new user's Ollama, what is pulled on it later, and what is removed."""

import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import yaml
from typer.testing import CliRunner

from local_stack.testing import RunningStack, running_stack
from sekha_llm_bridge.cli.app import app
from tests.fakes.ollama_server import FakeOllama

pytestmark = pytest.mark.stack

FOUND = {"llama3.1:8b", "mxbai-embed-large", "nomic-embed-text"}
MAX_WAIT_S = 150  # a minute to the next check, a minute to the next read, and the time of a busy machine


def listed(stack: RunningStack) -> set[str]:
    rows = httpx.get(f"{stack.base_url}/api/v1/models", timeout=30).json()
    return {row["model_id"] for row in rows}


def chat(stack: RunningStack, model: str) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
    return httpx.post(f"{stack.base_url}/v1/chat/completions", json=body, timeout=30)


def wait_until(is_so: Callable[[], bool]) -> None:
    until_s = time.monotonic() + MAX_WAIT_S
    while not is_so():
        assert time.monotonic() < until_s, "not within the time that the documentation promises"
        time.sleep(2)


def test_what_an_ollama_has_can_be_used_from_the_start_and_follows_what_is_pulled_and_removed(tmp_path: Path) -> None:
    with FakeOllama() as ollama:
        home = {"id": "home", "provider_type": "ollama", "base_url": ollama.url, "models": "auto"}
        config = tmp_path / "llm.yaml"
        names = {"default_models": {"embedding": "nomic-embed-text", "chat_fast": "llama3.1:8b"}}
        config.write_text(yaml.safe_dump({"providers": [home], **names, "chroma": {"url": "http://127.0.0.1:9"}}))
        with running_stack(config=config, schedules=True) as stack:
            assert listed(stack) == FOUND
            for name in ("llama3.1:8b", "auto", "chat_fast", "chat_smart"):
                assert chat(stack, name).json()["model"] == "llama3.1:8b"
            vectors = httpx.post(f"{stack.base_url}/v1/embeddings", json={"input": "Anna"}, timeout=30).json()
            assert vectors["model"] == "nomic-embed-text"
            tags = httpx.get(f"{stack.base_url}/api/tags", timeout=30).json()["models"]
            digests = {row["name"]: row["digest"] for row in tags}
            assert digests["llama3.1:8b"] == ollama.rows["llama3.1:8b"]["digest"]
            assert "nomic-embed-text:latest" in digests
            shown = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["models", "--url", stack.base_url]).output
            assert all(name in shown for name in FOUND)

            ollama.pull("qwen3:4b", like="llama3.1:8b", digest="q")
            ollama.remove("mxbai-embed-large:latest")
            wait_until(lambda: listed(stack) == {"llama3.1:8b", "nomic-embed-text", "qwen3:4b"})
            wait_until(lambda: chat(stack, "qwen3:4b").status_code == 200)
            assert chat(stack, "mxbai-embed-large").json()["error"]["code"] == "model_not_found"
            assert len(set(ollama.described)) == len(ollama.described) == len(FOUND) + 1
