"""The adapter for Amazon Bedrock: Converse and ConverseStream for chats, InvokeModel for embeddings.

Requests are signed with the credentials of the function's role, or have a Bedrock API key as bearer token. botocore is
not used (infra/decisions/0028).
"""

import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from sekha_llm_bridge.aws.credentials import RoleCredentials
from sekha_llm_bridge.aws.signing import sign_headers
from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.config.models import ProviderConfig, Task
from sekha_llm_bridge.conversation import AnswerChunk, ChatAnswer
from sekha_llm_bridge.errors import FailureKind, ProviderError
from sekha_llm_bridge.providers.adaptation import AdaptedRequests, with_note
from sekha_llm_bridge.providers.base import (
    BatchLimits,
    EmbeddingAnswer,
    EmbeddingCall,
    malformed_answer,
    malformed_answer_guard,
)
from sekha_llm_bridge.providers.bedrock.adaptations import ChatPayload, chat_adaptations, without_cache_points
from sekha_llm_bridge.providers.bedrock.embeddings import format_of, max_texts, read_embeddings
from sekha_llm_bridge.providers.bedrock.endpoint import endpoint_of
from sekha_llm_bridge.providers.bedrock.errors import read_error, rejects_max_tokens
from sekha_llm_bridge.providers.bedrock.event_stream import EventStreamDecoder
from sekha_llm_bridge.providers.bedrock.models import base_model_id, family_of
from sekha_llm_bridge.providers.bedrock.request import (
    OWN_FIELDS,
    Guardrail,
    chat_body,
    unsent_wishes,
    uses_output_tool,
)
from sekha_llm_bridge.providers.bedrock.response import read_usage, translate_chat_answer
from sekha_llm_bridge.providers.bedrock.stream import ConverseStreamReader
from sekha_llm_bridge.providers.calls import ChatCall
from sekha_llm_bridge.providers.field_table import capabilities_in_table
from sekha_llm_bridge.providers.http import JsonHttp, WireRules, request_headers
from sekha_llm_bridge.providers.output_caps import output_cap_guard
from sekha_llm_bridge.providers.token_counts import read_count

T = TypeVar("T")

CAPABILITIES = capabilities_in_table("bedrock", own_fields=OWN_FIELDS, counts_tokens=True)
"""One call at a time is for Claude only: `chat_body` refuses it for the other models."""

_SERVICE = "bedrock"  # in signatures, for bedrock-runtime, too
_EVENT_STREAM = "application/vnd.amazon.eventstream"
_CREDENTIALS_TIMEOUT_S = 2.0
_COUNTED_FIELDS = ("messages", "system", "toolConfig", "additionalModelRequestFields")
_BY_REQUEST = frozenset(
    {
        *(FailureKind.REQUEST_REJECTED, FailureKind.CANDIDATE_UNSUITABLE),
        *(FailureKind.CONTEXT_LENGTH_EXCEEDED, FailureKind.CONTENT_REFUSED),
    }
)
_CANNOT_COUNT = _BY_REQUEST | {FailureKind.MODEL_MISSING, FailureKind.ACCESS_DENIED}
_HAS_ANSWERED = frozenset({FailureKind.MODEL_MISSING, FailureKind.ACCESS_DENIED})


class BedrockAdapter:
    """Bedrock in one region, with one way to authenticate."""

    def __init__(self, config: ProviderConfig, http: JsonHttp, clock: Clock) -> None:
        self._endpoint = endpoint_of(config)
        self._http = http
        self._clock = clock
        self._headers = request_headers(config)
        if "authorization" not in self._headers and (token := os.environ.get("AWS_BEARER_TOKEN_BEDROCK")):
            self._headers["authorization"] = f"Bearer {token}"
        self._credentials: RoleCredentials | None = None
        if "authorization" not in self._headers:
            self._credentials = RoleCredentials(http.connections, clock, timeout_s=_CREDENTIALS_TIMEOUT_S)
        self._rules = WireRules(read_error, self._sign if self._credentials else None)
        self._requests = AdaptedRequests()
        self._guardrail: Guardrail | None = None
        if config.guardrail_id and config.guardrail_version:
            self._guardrail = Guardrail(config.guardrail_id, config.guardrail_version)
        embedding_models = [model.model_id for model in config.models if model.serves(Task.EMBEDDING)]
        self._embedding_limits = BatchLimits(max_texts(embedding_models))
        self._cannot_count: set[str] = set()

    async def chat(self, call: ChatCall, *, timeout_s: float) -> ChatAnswer:
        """See `Provider.chat`. An answer that a guardrail has blocked is CONTENT_REFUSED."""
        url = self._endpoint.model_url(call.model_id, "converse")

        async def send(payload: ChatPayload) -> tuple[dict[str, Any], bool]:
            body = payload["body"]
            answer = await self._http.post(
                url, payload=body, headers=self._headers, timeout_s=timeout_s, rules=self._rules
            )
            return answer, uses_output_tool(body)

        left_out: list[str] = []
        body, has_output_tool = await self._send_chat(call, send, left_out)
        with malformed_answer_guard(read_usage(body.get("usage"))):
            answer = translate_chat_answer(
                body, call.model_id, created=self._unix_time_s(), has_output_tool=has_output_tool
            )
        return answer._replace(left_out=tuple(left_out)) if left_out else answer

    async def stream(self, call: ChatCall, *, timeout_s: float) -> AsyncGenerator[AnswerChunk]:
        """See `Provider.stream`. The usage follows the end of the answer; an answer without it is complete."""
        url = self._endpoint.model_url(call.model_id, "converse-stream")
        headers, decoder = {**self._headers, "accept": _EVENT_STREAM}, EventStreamDecoder()
        reader: ConverseStreamReader | None = None
        left_out: list[str] = []
        try:
            async with AsyncExitStack() as stack:

                async def send(payload: ChatPayload) -> tuple[AsyncIterator[bytes], ConverseStreamReader]:
                    body = payload["body"]
                    opened = self._http.stream(
                        url, payload=body, headers=headers, timeout_s=timeout_s, rules=self._rules
                    )
                    chunks = ConverseStreamReader(call.model_id, body, created=self._unix_time_s())
                    return await stack.enter_async_context(opened), chunks

                answer = await self._send_chat(call, send, left_out)
                parts, reader = answer
                async for part in parts:
                    for message in decoder.feed(part):
                        yield with_note(reader.read(message), left_out)
                    if reader.has_ended:
                        return
                if decoder.is_json:
                    yield with_note(reader.read_whole(decoder.rest), left_out)
            reader.require_complete()
        except ProviderError:
            if reader is None or not reader.is_complete:  # after the end of the answer only its usage is lost
                raise

    async def count_tokens(self, call: ChatCall, *, timeout_s: float) -> int | None:
        """Returns the exact number of the prompt's tokens, by Bedrock's free CountTokens.

        None for what it cannot count: it knows some of Claude's models, and only by the ids of the models themselves,
        not by those of inference profiles; and it takes no output schema, which has tokens, too.
        """
        base = base_model_id(call.model_id)
        if base is None or not family_of(call.model_id).is_claude or base in self._cannot_count:
            return None
        try:
            body = without_cache_points(chat_body(call))
        except ProviderError:
            return None
        if "outputConfig" in body:
            return None
        counted = {name: body[name] for name in _COUNTED_FIELDS if name in body}
        url, payload = self._endpoint.model_url(base, "count-tokens"), {"input": {"converse": counted}}

        async def send() -> dict[str, Any]:
            return await self._http.post(
                url, payload=payload, headers=self._headers, timeout_s=timeout_s, rules=self._rules
            )

        try:
            answer = await self._with_valid_credentials(send)
        except ProviderError as exc:
            if exc.kind not in _CANNOT_COUNT:
                raise
            names_counting = re.search(r"\bcount", exc.failure.provider_text, re.IGNORECASE) is not None
            if exc.kind not in _BY_REQUEST or names_counting:
                self._cannot_count.add(base)
            return None
        if not (n_tokens := read_count(answer.get("inputTokens"))):  # no prompt has 0 tokens
            raise malformed_answer("the provider's count is not usable")
        return n_tokens

    async def embed(self, call: EmbeddingCall, *, timeout_s: float) -> EmbeddingAnswer:
        """See `Provider.embed`. A text that is too long is an error, never cut."""
        form = format_of(call.model_id)
        url = self._endpoint.model_url(call.model_id, "invoke")

        async def send() -> EmbeddingAnswer:
            body, header = await self._http.post_for_headers(
                url, payload=form.body(call), headers=self._headers, timeout_s=timeout_s, rules=self._rules
            )
            with malformed_answer_guard(None):
                return read_embeddings(body, form, header)

        return await self._with_valid_credentials(send)

    @property
    def embedding_limits(self) -> BatchLimits:
        """See `Provider.embedding_limits`: Titan and Nova embed one text in a request, Cohere 96."""
        return self._embedding_limits

    async def probe(self, *, timeout_s: float) -> None:
        """See `Provider.probe`: `GetFoundationModel`, which is free.

        An endpoint for answers alone, as a VPC endpoint of bedrock-runtime is, does not know this operation, and a role
        may use a model without permission to read about it. Both have answered.
        """

        async def send() -> dict[str, Any]:
            return await self._http.get(
                self._endpoint.probe_url, headers=self._headers, timeout_s=timeout_s, rules=self._rules
            )

        try:
            await self._with_valid_credentials(send)
        except ProviderError as exc:
            if exc.kind not in _HAS_ANSWERED:
                raise

    async def _send_chat(self, call: ChatCall, send: Callable[[ChatPayload], Awaitable[T]], left_out: list[str]) -> T:
        payload = ChatPayload(model=call.model_id, body=chat_body(call, self._guardrail))

        async def send_with_credentials(adapted: ChatPayload) -> T:
            return await self._with_valid_credentials(lambda: send(adapted))

        with output_cap_guard(call, rejects_max_tokens, is_always_sent=True):
            adaptations = chat_adaptations(call.conversation)
            answer = await self._requests.send(payload, adaptations, send_with_credentials, left_out)
        left_out += unsent_wishes(call.conversation, payload["body"])
        return answer

    async def _with_valid_credentials(self, send: Callable[[], Awaitable[T]]) -> T:
        """Sends once more with new credentials of the role where AWS has rejected the known ones."""
        try:
            return await send()
        except ProviderError as exc:
            if exc.kind is not FailureKind.CREDENTIALS_REJECTED or self._credentials is None:
                raise
            if not await self._has_new_credentials(self._credentials):
                raise
        return await send()

    async def _has_new_credentials(self, credentials: RoleCredentials) -> bool:
        try:
            return await credentials.renew()
        except Exception:  # noqa: BLE001 — the rejection is what the caller has to know
            return False

    async def _sign(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Mapping[str, str]:
        """Returns the headers with a signature. Raises `ProviderError` where the role's credentials cannot be had."""
        if self._credentials is None:
            return headers
        try:
            credentials = await self._credentials.get()
        except Exception as exc:
            message = f"there are no AWS credentials to sign with ({type(exc).__name__})"
            raise ProviderError(FailureKind.CREDENTIALS_REJECTED, message) from exc
        return sign_headers(
            headers,
            body,
            method=method,
            url=url,
            region=self._endpoint.region,
            service=_SERVICE,
            credentials=credentials,
            now=self._clock.now(),
        )

    def _unix_time_s(self) -> int:
        return int(self._clock.now().timestamp())
