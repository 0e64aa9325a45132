"""Vectors of their own for two API keys, as a user has them: the local stack, the command line and OpenAI's client.

`tests/contract/test_vectors_of_keys.py` has every path.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import yaml

from local_stack.testing import RunningStack, running_stack
from tests.fakes.provider import FakeProvider
from tests.fakes.settings import embedding_model, provider

pytestmark = pytest.mark.stack


def sekha_bridge(stack: RunningStack, *arguments: str) -> Any:
    """Runs a command that finds the stack by itself. Returns the JSON that it prints."""
    environ = {**os.environ, "SEKHA_LOCAL_STACKS": str(stack.state / "stacks")}
    command = [sys.executable, "-m", "sekha_llm_bridge.cli", *arguments, "--json"]
    return json.loads(subprocess.run(command, capture_output=True, text=True, env=environ, check=True).stdout)


def store(stack: RunningStack, key: str, text: str) -> int:
    with openai.OpenAI(base_url=f"{stack.base_url}/v1", api_key=key, max_retries=0) as sdk:
        fields = {"collection": "notes", "ids": ["a"]}
        answer = sdk.embeddings.create(model="auto", input=[text], extra_body=fields)
        assert answer.model_extra is not None
        return int(answer.model_extra["bridge"]["stored"])


def found(stack: RunningStack, key: str) -> list[str]:
    answer = httpx.post(
        f"{stack.base_url}/api/v1/search",
        json={"query": "x", "collection": "notes"},
        headers={"authorization": f"Bearer {key}"},
        timeout=40,
    )
    return [match["document"] for match in answer.raise_for_status().json()["matches"]]


def test_two_keys_of_the_command_line_have_vectors_of_their_own(fake: FakeProvider, tmp_path: Path) -> None:
    config, file = tmp_path / "providers.yaml", tmp_path / "backup.gz"
    sections = {
        "providers": [provider("only", embedding_model("mini"), base_url=f"{fake.url}/v1")],
        "chroma": {"url": "${CHROMA_URL:-}", "separate_by_key": True},
    }
    config.write_text(yaml.safe_dump(sections))
    with running_stack(config=config, on_demand=True, auth=True, state=tmp_path / "state") as stack:
        mine, others = (sekha_bridge(stack, "keys", "create", "--name", name) for name in ("mine", "others"))
        reader = sekha_bridge(stack, "keys", "create", "--name", "reader", "--no-store")
        assert [store(stack, mine["key"], "mine"), store(stack, others["key"], "the other's")] == [1, 1]
        assert found(stack, mine["key"]) == ["mine"]
        assert found(stack, others["key"]) == ["the other's"]
        with pytest.raises(openai.PermissionDeniedError, match="this API key may not store vectors"):
            store(stack, reader["key"], "a reader's")
        (collection,) = sekha_bridge(stack, "backup", str(file), "--chroma-database", mine["id"])["collections"]
        assert (collection["name"], collection["records"]) == ("notes_8", 1)
