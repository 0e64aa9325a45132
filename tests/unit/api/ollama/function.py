"""The function of Ollama's API over providers of three formats, and the words to talk to it."""

from typing import Any

from sekha_llm_bridge.bootstrap import make_bridge
from tests.fakes.functions import Function, FunctionResponse
from tests.fakes.ollama_lines import CheckedStream, check_answer, check_ollama_lines, read_lines
from tests.fakes.settings import make_settings

CHAT, GENERATE, EMBED, EMBEDDINGS = "/api/chat", "/api/generate", "/api/embed", "/api/embeddings"
HI = [{"role": "user", "content": "Hello"}]


def function(*providers: dict[str, Any], **sections: Any) -> Function:
    """The function with a bridge of these providers."""
    return Function("ollama", make_bridge(make_settings(*providers, **sections)))


def post(
    api: Function, path: str = CHAT, /, *, headers: dict[str, str] | None = None, **fields: Any
) -> FunctionResponse:
    """A request that says hello, with further fields."""
    body = {**({"messages": HI} if path == CHAT else {}), **({"prompt": "Hello"} if path == GENERATE else {}), **fields}
    sent = {"content-type": "application/json", **(headers or {})}
    return api("POST", path, body, headers=sent, remaining_ms=900_000)


def ask(api: Function, path: str = CHAT, /, **fields: Any) -> dict[str, Any]:
    """The whole answer, as Ollama's client reads it."""
    answer = post(api, path, stream=False, **fields)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json"), answer.text
    body: dict[str, Any] = answer.json()
    check_answer(body)
    assert body["done"] is True
    return body


def stream(api: Function, path: str = CHAT, /, **fields: Any) -> CheckedStream:
    """The answer as a stream, whose lines have been checked."""
    answer = post(api, path, **fields)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/x-ndjson"), answer.text
    return check_ollama_lines(read_lines(answer.text))


def error(answer: FunctionResponse) -> tuple[str, dict[str, Any]]:
    """The message of an error as Ollama's clients read it, and what the bridge adds."""
    body = answer.json()
    assert body.keys() == {"error", "bridge"}
    assert {"code", "param", "request_id"} <= body["bridge"].keys()
    return body["error"], body["bridge"]
