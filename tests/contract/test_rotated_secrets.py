"""A rejected key that has been replaced in the meantime: every adapter answers with the new one, after one fetch."""

import os
from typing import Any

import pytest

from sekha_llm_bridge.bootstrap import make_bridge
from sekha_llm_bridge.config import load_settings
from tests.contract.test_mixed_conversations import CHAT, MODELS, WIRES
from tests.fakes import bedrock
from tests.fakes.functions import Function
from tests.fakes.provider import Reply

REJECTIONS: dict[str, list[Reply]] = {
    "openai": [Reply(401, {"error": {"message": "Incorrect API key", "code": "invalid_api_key"}})],
    "ollama": [Reply(401, {"error": "unauthorized"})],
    "anthropic": [
        Reply(401, {"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}})
    ],
    "bedrock": [
        bedrock.error("UnrecognizedClientException", "The security token is invalid.", status=403),
        bedrock.error("AccessDeniedException", "Bearer Token has expired", status=403),
    ],
}
CASES = [(kind, reply) for kind, replies in REJECTIONS.items() for reply in replies]


@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(("kind", "rejection"), CASES, ids=[f"{kind}-{reply.status}" for kind, reply in CASES])
def test_a_rotated_key_is_fetched_once_and_the_request_is_answered(
    kind: str,
    rejection: Reply,
    tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
    is_streamed: bool,  # noqa: FBT001 — a column of the table
) -> None:
    wire = WIRES[kind]
    path = wire.stream_path if is_streamed else wire.path
    with wire.fake() as fake:
        region = "    region: eu-west-1\n" if kind == "bedrock" else ""
        config = tmp_path / "providers.yaml"
        config.write_text(
            f"providers:\n  - id: p\n    provider_type: {kind}\n    base_url: {fake.url}{wire.suffix}\n{region}"
            "    api_key: ${ROTATED_KEY}\n    models:\n"
            f"      - {{model_id: '{MODELS[kind]}', task: chat_small, context_window: 8192}}\n"
        )
        monkeypatch.setenv("ROTATED_KEY", "key-before")
        chat = Function("chat_completions", make_bridge(load_settings(config)))
        os.environ["ROTATED_KEY"] = "key-after"
        fake.script(path, rejection)
        answer = chat("POST", CHAT, {"messages": [{"role": "user", "content": "Hi"}], "stream": is_streamed})
        sent = [request.headers for request in fake.received if request.path == path]
    assert answer.status == 200, answer.text
    assert "Hello from the fake." in answer.text.replace('"}', "") or is_streamed
    assert len(sent) == 2
    assert ["key-before" in str(headers) for headers in sent] == [True, False]
    assert ["key-after" in str(headers) for headers in sent] == [False, True]
