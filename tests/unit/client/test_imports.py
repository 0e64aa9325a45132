"""What importing the client loads, and what a type checker makes of its use."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import sekha_llm_bridge
from sekha_llm_bridge import AsyncLlmBridge, LlmBridge, client

NOT_LOADED = (
    "fastapi",
    "starlette",
    "boto3",
    "botocore",
    "aws_lambda_powertools",
    "pydantic",
    "orjson",
    "yaml",
    "chromadb",
)
OWN = ("client", "errors", "media", "usage")

TYPED_USE = """
from collections.abc import Sequence
from decimal import Decimal
from typing import assert_type

from sekha_llm_bridge import AsyncLlmBridge, BridgeError, ChatReply, CostLimitExceeded, Health, LlmBridge, Model, Route

with LlmBridge("http://127.0.0.1:8000", timeout=3) as bridge:
    reply = bridge.chat("Hello", preferred_model="m", max_cost=Decimal("0.01"), temperature=0)
    assert_type(reply, ChatReply)
    assert_type(reply.cost, Decimal | None)
    assert_type(bridge.models(), tuple[Model, ...])
    assert_type(bridge.route("chat_smart"), Route)
    assert_type(bridge.embed(["a"]).vectors, tuple[Sequence[float], ...])
    for text in bridge.stream([{"role": "user", "content": "Hi"}]):
        assert_type(text, str)
    try:
        bridge.chat_with_image("What is it?", image_path="a.png")
    except CostLimitExceeded as error:
        assert_type(error.request_id, str | None)
    except BridgeError as error:
        assert_type(error.retry_after_s, float | None)


async def use(bridge: AsyncLlmBridge) -> None:
    assert_type(await bridge.chat("Hello"), ChatReply)
    assert_type(await bridge.health(), Health)
    async with bridge.stream("Hello") as stream:
        async for text in stream:
            assert_type(text, str)
        assert_type(stream.reply, ChatReply)
"""
WRONG_USE = {
    "from sekha_llm_bridge import LlmBrigde": 'has no attribute "LlmBrigde"',
    "from sekha_llm_bridge import LlmBridge\nLlmBridge().chat()": "Too few arguments",
    "from sekha_llm_bridge import LlmBridge\nLlmBridge().chat('Hi', max_cost=[])": 'has incompatible type "list[Never]"',
    "from sekha_llm_bridge import LlmBridge\nx: int = LlmBridge().chat('Hi')": "Incompatible types in assignment",
}


def in_a_fresh_process(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("use", ["", "\nLlmBridge()"], ids=["import", "use"])
def test_the_client_loads_neither_the_server_nor_an_aws_library(use: str) -> None:
    code = f"import sys\nfrom sekha_llm_bridge import LlmBridge{use}\nprint(*sys.modules)"
    loaded = in_a_fresh_process(code).split()
    assert set(NOT_LOADED) & set(loaded) == set()
    own = {name.split(".")[1] for name in loaded if name.startswith("sekha_llm_bridge.")}
    assert own <= set(OWN)
    assert ("httpx" in loaded) == bool(use)


def test_importing_the_package_loads_nothing() -> None:
    code = "import sys; before = set(sys.modules); import sekha_llm_bridge; print(*sorted(set(sys.modules) - before))"
    assert in_a_fresh_process(code).split() == ["sekha_llm_bridge"]


def test_every_name_is_found_and_no_other() -> None:
    for name in sekha_llm_bridge.__all__:
        assert getattr(sekha_llm_bridge, name) is not None
    assert set(sekha_llm_bridge.__all__) - {"__version__"} == set(client.__all__)
    assert set(client.__all__) <= set(dir(sekha_llm_bridge))
    with pytest.raises(AttributeError, match="has no attribute 'LlmBrigde'"):
        _ = sekha_llm_bridge.LlmBrigde  # type: ignore[attr-defined]  # what is tested


def test_both_clients_have_the_same_methods_with_the_same_arguments_and_documentation() -> None:
    calls = [name for name in vars(LlmBridge) if not name.startswith("_") and name not in {"transport", "close"}]
    assert {"chat", "chat_with_image", "stream", "embed", "search", "route", "models", "health"} <= set(calls)
    for name in calls:
        blocking, asyncio = getattr(LlmBridge, name), getattr(AsyncLlmBridge, name)
        assert (blocking.__name__, asyncio.__name__) == (name, name)
        assert inspect.signature(blocking) == inspect.signature(asyncio)
        assert blocking.__doc__ == asyncio.__doc__ != ""


def test_a_method_shows_its_arguments() -> None:
    assert list(inspect.signature(LlmBridge.chat).parameters)[:3] == ["self", "message", "model"]
    with LlmBridge() as bridge:
        assert next(iter(inspect.signature(bridge.chat).parameters)) == "message"


def mypy(code: str, folder: Path) -> str:
    file = folder / "use.py"
    file.write_text(code)
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--no-error-summary",
        "--cache-dir",
        str(folder / "cache"),
        str(file),
    ]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False).stdout


def test_users_have_the_types_of_arguments_and_replies(tmp_path: Path) -> None:
    assert mypy(TYPED_USE, tmp_path) == ""
    wrong = {code: mypy(code, tmp_path) for code in WRONG_USE}
    assert [code for code, error in WRONG_USE.items() if error not in wrong[code]] == [], wrong
