"""Runs every example of the Markdown pages and of the migration guide, as written, against the local stack.

Only host, port and key are replaced. The Python blocks of a page build on one another, and so do its files. What is not
run is in `not_run.py`, with the reason. The models are a fake with Ollama's and OpenAI's formats.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import requests

from local_stack.testing import RunningStack
from sekha_llm_bridge.config import load_settings
from tests.documentation.blocks import GUIDE, Block, blocks, blocks_of, commands_of
from tests.documentation.not_run import python_not_to_run, reason_not_to_run
from tests.documentation.reader import Reader, is_run_here
from tests.documentation.shown_answers import differences, json_values, printed_value, shown_in_comments

pytestmark = pytest.mark.stack
ALL = blocks()


def of_language(language: str) -> list[Any]:
    return [pytest.param(block, id=str(block)) for block in ALL if block.language == language]


@pytest.mark.parametrize("block", of_language("python"))
def test_a_python_example_runs_as_written(
    block: Block,
    readers: dict[str, Reader],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if not is_run_here(block):
        return  # it has a test of its own
    reader = readers[block.page]
    monkeypatch.chdir(reader.folder)
    before = reader.names.get("response")
    capsys.readouterr()
    reader.python(block)
    printed = capsys.readouterr().out
    response = reader.names.get("response")
    if isinstance(response, requests.Response) and response is not before:
        assert response.status_code == 200, response.text
    shown = shown_in_comments(block.text)
    if shown is not None:
        real = printed_value(printed.strip()) if printed.strip() else reader.names["response"].json()
        assert differences(shown, real) == []


@pytest.mark.parametrize("block", of_language("bash"))
def test_the_commands_of_a_shell_example_run_as_written(block: Block, readers: dict[str, Reader]) -> None:
    commands = [command for command in commands_of(block) if reason_not_to_run(command) is None]
    output = readers[block.page].shell(commands)
    for command, printed in zip(commands, output, strict=True):
        if "curl " in command:
            _check_answer(command, printed)
    shown = _answer_shown_after(block)
    if shown is not None:
        assert differences(shown, json_values(output[-1])[-1]) == []


def _check_answer(command: str, printed: str) -> None:
    """Checks that a curl got an answer of the bridge, and no error."""
    if printed.startswith(("data:", ":")):
        assert printed.rstrip().endswith("data: [DONE]"), f"{command}\n{printed}"
        return
    for value in json_values(printed):
        assert not (isinstance(value, dict) and value.get("error")), f"{command}\n{printed}"


def _answer_shown_after(block: Block) -> Any:
    """Returns the JSON block that directly follows a shell block: the answer of its last command."""
    index = ALL.index(block) + 1
    following = ALL[index] if index < len(ALL) else None
    if following is None or following.language != "json" or following.page != block.page:
        return None
    return json.loads(following.text)


@pytest.mark.parametrize("block", of_language("yaml"))
def test_a_yaml_example_is_a_configuration_that_loads(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "llm_providers.yaml"
    path.write_text(block.text, encoding="utf-8")
    names = re.findall(r"\$\{(\w+)", block.text)
    values = {name: "http://localhost:1" if name.endswith("_URL") else "key" for name in names}
    settings = load_settings(path, environ=values)
    assert settings.disabled == ()
    if settings.providers:
        assert settings.warnings == ()


@pytest.mark.parametrize("block", of_language("json"))
def test_a_json_example_is_json(block: Block) -> None:
    json.loads(block.text)


def test_the_guides_cost_example_runs_with_a_message_and_a_host(stack: RunningStack) -> None:
    block = next(block for block in blocks_of(GUIDE) if python_not_to_run(block.text))
    message = '[{"role": "user", "content": "Hello"}]'
    code = block.text.replace("[...]", message).replace('"/v1', f'"{stack.base_url}/v1')
    names: dict[str, Any] = {"requests": requests}
    exec(code, names)  # noqa: S102 — running the example is the test
    assert names["response"].status_code == 200
    assert names["response"].json()["bridge"]["cost_bound"] <= 0.01


def test_what_the_guide_embeds_is_stored_and_found(readers: dict[str, Reader], stack: RunningStack) -> None:
    block = next(block for block in blocks_of(GUIDE) if "/v1/embeddings" in block.text and block.language == "bash")
    readers[block.page].shell(commands_of(block))
    found = requests.post(f"{stack.base_url}/api/v1/search", json={"query": "Test embedding"}, timeout=30).json()
    best = found["matches"][0]
    assert (best["document"], best["collection"]) == ("Test embedding", "conversations_768")
