"""`POST /summarize`, `/extract` and `/score`, and the other paths that callers of v1 have for them."""

from typing import Any, TypeVar

from fastapi import Request, Response

from sekha_llm_bridge.api.app import answer_response
from sekha_llm_bridge.api.memory.answers import read_entities, read_score
from sekha_llm_bridge.api.memory.model_calls import ModelCalls
from sekha_llm_bridge.api.memory.prompts import ENTITIES_SCHEMA, SCORE_SCHEMA, entities_prompt, score_prompt
from sekha_llm_bridge.api.memory.request import (
    OWN_FIELDS,
    ExtractRequest,
    MemoryRequest,
    ScoreRequest,
    SummarizeRequest,
)
from sekha_llm_bridge.api.memory.summarize import summary
from sekha_llm_bridge.api.parsing import json_object, validated
from sekha_llm_bridge.api.unknown_fields import check_misspelt_fields

R = TypeVar("R", bound=MemoryRequest)
_MAX_ENTITIES_TOKENS = 1024
_MAX_SCORE_TOKENS = 1024


async def summarize(request: Request) -> Response:
    """Answers with a summary of the messages, or with what they ask for."""
    wanted = await _parsed(request, SummarizeRequest)
    calls = ModelCalls(request, wanted, "messages")
    text = await summary(wanted, calls)
    fields = {"summary": text, "level": wanted.level, "message_count": len(wanted.messages)}
    return _answer(request, fields, calls)


async def extract(request: Request) -> Response:
    """Answers with the entities of the text."""
    wanted = await _parsed(request, ExtractRequest)
    calls = ModelCalls(request, wanted, "text")
    entities = await calls.json(
        entities_prompt(wanted.text), "entities", ENTITIES_SCHEMA, read_entities, max_tokens=_MAX_ENTITIES_TOKENS
    )
    return _answer(request, {"entities": entities}, calls)


async def score(request: Request) -> Response:
    """Answers with a score from 1 to 10, and the model's reason for it."""
    wanted = await _parsed(request, ScoreRequest)
    calls = ModelCalls(request, wanted, wanted.subject_field)
    prompt = score_prompt(wanted.subject, wanted.context)
    number, reasoning = await calls.json(prompt, "score", SCORE_SCHEMA, read_score, max_tokens=_MAX_SCORE_TOKENS)
    return _answer(request, {"score": number, "reasoning": reasoning}, calls)


async def _parsed(request: Request, model: type[R]) -> R:
    """Returns the request. Unknown fields are ignored, but a typo in one of the bridge's own is refused."""
    fields = await json_object(request)
    wanted = validated(model, fields)
    check_misspelt_fields(fields, model.model_fields.keys(), own=OWN_FIELDS)
    return wanted


def _answer(request: Request, fields: dict[str, Any], calls: ModelCalls) -> Response:
    used = {"model": calls.model_id, "tokens_used": calls.tokens_used, "bridge": calls.receipt()}
    return answer_response(request, {**fields, **used})
