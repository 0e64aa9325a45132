"""A chat function over two providers, and the words to talk to it."""

from typing import Any

from sekha_llm_bridge.bootstrap import make_bridge
from sekha_llm_bridge.clock import Clock
from tests.fakes.functions import Function, FunctionResponse
from tests.fakes.settings import make_settings

PATH = "/v1/chat/completions"
HI = [{"role": "user", "content": "Hello"}]


def function(*providers: dict[str, Any], clock: Clock | None = None, **sections: Any) -> Function:
    """The chat function with a bridge of these providers."""
    return Function("chat_completions", make_bridge(make_settings(*providers, **sections), clock=clock))


def ask(chat: Function, **fields: Any) -> FunctionResponse:
    """A request that says hello, with further fields."""
    return chat("POST", PATH, {"messages": HI, **fields})


def error(answer: FunctionResponse) -> dict[str, Any]:
    """The error of an answer, in OpenAI's envelope."""
    found: dict[str, Any] = answer.json()["error"]
    assert {"message", "type", "param", "code", "request_id"} <= set(found)
    return found
