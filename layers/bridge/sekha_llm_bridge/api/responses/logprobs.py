"""The log probabilities of an answer's tokens, in the form of the Responses API."""

from typing import Any

from sekha_llm_bridge.conversation import Json


def token_logprobs(logprobs: Json | None) -> list[Json]:
    """Returns the tokens of `logprobs` in OpenAI's chat format. Its `bytes` may be null; here they are required."""
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    return [_token(token) for token in content if isinstance(token, dict)] if isinstance(content, list) else []


def _token(sent: dict[str, Any]) -> Json:
    top = sent.get("top_logprobs")
    others = [_candidate(one) for one in top if isinstance(one, dict)] if isinstance(top, list) else []
    return {**_candidate(sent), "top_logprobs": others}


def _candidate(sent: dict[str, Any]) -> dict[str, Any]:
    token, sent_bytes = str(sent.get("token") or ""), sent.get("bytes")
    return {
        "token": token,
        "bytes": sent_bytes if isinstance(sent_bytes, list) else list(token.encode()),
        "logprob": sent.get("logprob"),
    }
