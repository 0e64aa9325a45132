"""A key that was rotated: each provider type rejects the old one in its own words, and the request is answered."""

import json
from pathlib import Path
from typing import Any

import pytest

from sekha_llm_bridge.bootstrap import make_bridge
from sekha_llm_bridge.config.loader import load_settings
from tests.contract.wire_formats import ANTHROPIC, BEDROCK, OLLAMA, OPENAI, VENDOR_ROWS, WireFormat
from tests.fakes import anthropic_wire, bedrock
from tests.fakes.functions import Function, FunctionResponse
from tests.fakes.provider import FakeProvider, Reply

CHAT = "/v1/chat/completions"
UNAUTHORIZED = Reply(401, {"error": {"message": "Incorrect API key provided", "code": "invalid_api_key"}})
OF_GOOGLE = Reply(400, [{"error": {"status": "INVALID_ARGUMENT", "message": "API key not valid."}}])
OF_AZURE = Reply(401, {"error": {"code": "401", "message": "Access denied due to invalid subscription key."}})
OF_ANTHROPIC = Reply(401, anthropic_wire.error("authentication_error", "invalid x-api-key"))
TYPES = {wire.name: wire for wire in (OPENAI, *VENDOR_ROWS) if wire.vendor is None}
REJECTIONS = [
    *((wire, UNAUTHORIZED) for wire in TYPES.values()),
    (TYPES["gemini"], OF_GOOGLE),
    (TYPES["azure_openai"], OF_AZURE),
    (OLLAMA, Reply(401, {"error": "unauthorized"})),
    (ANTHROPIC, OF_ANTHROPIC),
    (BEDROCK, bedrock.error("UnrecognizedClientException", "The security token is invalid.", status=403)),
    (BEDROCK, bedrock.error("ExpiredTokenException", "The security token has expired", status=403)),
]


class Rotating:
    """The chat function with one provider, whose key is in a variable of the environment."""

    def __init__(self, wire: WireFormat, fake: FakeProvider, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.rotate("sk-old")
        path.write_text(json.dumps({"providers": [wire.section(fake.url, key="${PROVIDER_KEY}")]}))
        self._function = Function("chat_completions", make_bridge(load_settings(path)))

    def rotate(self, key: str) -> None:
        self._monkeypatch.setenv("PROVIDER_KEY", key)

    def ask(self, **fields: Any) -> FunctionResponse:
        return self._function("POST", CHAT, {"messages": [{"role": "user", "content": "Hello"}], **fields})


@pytest.fixture
def rotating(wire: WireFormat, fake: FakeProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rotating:
    return Rotating(wire, fake, tmp_path / "llm.yaml", monkeypatch)


def keys(wire: WireFormat, fake: FakeProvider) -> list[str]:
    return [one.headers[wire.key_header].removeprefix(wire.key_prefix) for one in fake.received]


@pytest.mark.parametrize(("wire", "rejection"), REJECTIONS, indirect=["wire"])
@pytest.mark.parametrize("is_streamed", [False, True])
def test_a_rotated_key_is_fetched_again_and_the_request_is_answered(
    rotating: Rotating,
    wire: WireFormat,
    fake: FakeProvider,
    rejection: Reply,
    is_streamed: bool,  # noqa: FBT001 — a column of the table
) -> None:
    rotating.rotate("sk-new")
    fake.script(wire.stream_path if is_streamed else wire.chat_path, rejection)
    answer = rotating.ask(stream=is_streamed)
    assert answer.status == 200
    assert "fake" in answer.text
    assert keys(wire, fake) == ["sk-old", "sk-new"]


@pytest.mark.parametrize(("wire", "rejection"), REJECTIONS, indirect=["wire"])
def test_a_new_key_that_is_rejected_too_is_not_fetched_again(
    rotating: Rotating, wire: WireFormat, fake: FakeProvider, rejection: Reply
) -> None:
    rotating.rotate("sk-new")
    fake.always(wire.chat_path, rejection)
    answer = rotating.ask()
    assert answer.status == 502
    assert answer.json()["error"]["code"] == "all_providers_failed"
    assert "sk-" not in answer.text
    assert keys(wire, fake) == ["sk-old", "sk-new"]


@pytest.mark.parametrize(("wire", "rejection"), REJECTIONS, indirect=["wire"])
def test_a_key_that_was_not_rotated_is_sent_once(
    rotating: Rotating, wire: WireFormat, fake: FakeProvider, rejection: Reply
) -> None:
    fake.always(wire.chat_path, rejection)
    assert rotating.ask().status == 502
    assert keys(wire, fake) == ["sk-old"]
