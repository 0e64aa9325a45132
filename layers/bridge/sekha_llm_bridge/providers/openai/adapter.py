"""The adapter for OpenAI's wire format, which most vendors use.

Sources: OpenAI API reference, "Chat", "Embeddings" and "Models"; Azure OpenAI's v1 API; OpenRouter's and Gemini's
notes on their OpenAI compatibility.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack
from typing import Any

from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.config.models import ProviderConfig
from sekha_llm_bridge.conversation import AnswerChunk, AnswerState, ChatAnswer
from sekha_llm_bridge.errors import Failure, ProviderError
from sekha_llm_bridge.providers.adaptation import Adaptation, AdaptedRequests, with_note
from sekha_llm_bridge.providers.addresses import addresses_of
from sekha_llm_bridge.providers.base import BatchLimits, EmbeddingAnswer, EmbeddingCall, malformed_answer_guard
from sekha_llm_bridge.providers.calls import ChatCall
from sekha_llm_bridge.providers.capabilities import AdapterCapabilities, RequestFeature
from sekha_llm_bridge.providers.event_stream import EventDecoder
from sekha_llm_bridge.providers.http import Join, JsonHttp, request_headers
from sekha_llm_bridge.providers.openai.adaptations import EMBEDDING_ADAPTATIONS, OUTPUT_CAP_FIELDS, chat_adaptations
from sekha_llm_bridge.providers.openai.request import chat_payload, embedding_payload
from sekha_llm_bridge.providers.openai.response import read_chat_answer, read_vectors
from sekha_llm_bridge.providers.openai.stream import ChunkReader, join_chunks
from sekha_llm_bridge.providers.openai.vendors import Vendor
from sekha_llm_bridge.providers.output_caps import names_field, output_cap_guard
from sekha_llm_bridge.providers.thinking_budgets import unsent_thinking
from sekha_llm_bridge.providers.token_counts import read_chat_usage, read_usage

CAPABILITIES = AdapterCapabilities(
    frozenset(RequestFeature) - {RequestFeature.ANTHROPIC_CONTENT}, translated_fields=None
)


class OpenAIAdapter:
    """One provider that uses OpenAI's format."""

    def __init__(self, config: ProviderConfig, vendor: Vendor, http: JsonHttp, clock: Clock) -> None:
        self._urls = addresses_of(config)
        self._requests = AdaptedRequests()
        self._vendor = vendor
        self._http = http
        self._clock = clock
        self._headers = request_headers(config, auth_header=vendor.auth_header, auth_prefix=vendor.auth_prefix)

    async def chat(self, call: ChatCall, *, timeout_s: float) -> ChatAnswer:
        """See `Provider.chat`."""
        payload = chat_payload(call, self._vendor)
        left_out = unsent_thinking(call)
        with output_cap_guard(call, _names_output_cap):
            body = await self._post(
                self._urls.chat, payload, chat_adaptations(call.conversation), timeout_s, join_chunks, left_out
            )
        usage = read_chat_usage(body.get("usage"), is_hour_cache=call.asks_for_hour_cache)
        with malformed_answer_guard(usage):
            answer = read_chat_answer(body, usage, created=self._unix_time_s())
        return answer._replace(left_out=tuple(left_out)) if left_out else answer

    async def stream(self, call: ChatCall, *, timeout_s: float) -> AsyncGenerator[AnswerChunk]:
        """See `Provider.stream`. The answer is complete with its finish reasons, whether `[DONE]` follows or not."""
        is_hour_cache = call.asks_for_hour_cache
        reader = ChunkReader(call.conversation.n_choices, self._unix_time_s, is_hour_cache=is_hour_cache)
        decoder, payload = EventDecoder(), {**chat_payload(call, self._vendor), "stream": True}
        left_out = unsent_thinking(call)
        try:
            async with AsyncExitStack() as stack:
                with output_cap_guard(call, _names_output_cap):
                    answer = await self._open_stream(stack, call, payload, timeout_s, left_out)
                async for part in answer:
                    for chunk in reader.read_events(decoder.feed(part), request=payload):
                        yield with_note(chunk, left_out) if left_out else chunk
                    if reader.has_received_done:
                        break
                else:
                    rest = decoder.finish()
                    is_whole = decoder.has_single_value
                    for chunk in reader.read_events(rest, request=payload, is_whole=is_whole):
                        yield with_note(chunk, left_out)
                reader.require_complete()
        except ProviderError:
            if reader.state is not AnswerState.FINISHED:  # after the end of the answer only its usage is lost
                raise

    async def _open_stream(
        self, stack: AsyncExitStack, call: ChatCall, payload: dict[str, Any], timeout_s: float, left_out: list[str]
    ) -> AsyncIterator[bytes]:
        """Opens a stream. The request has `include_usage`, so that the usage follows the answer."""
        options = {**(payload.get("stream_options") or {}), "include_usage": True}

        async def send(sent: dict[str, Any]) -> AsyncIterator[bytes]:
            opened = self._http.stream(self._urls.chat, payload=sent, headers=self._headers, timeout_s=timeout_s)
            return await stack.enter_async_context(opened)

        adaptations = chat_adaptations(call.conversation)
        return await self._requests.send({**payload, "stream_options": options}, adaptations, send, left_out)

    async def _post(
        self,
        url: str,
        payload: dict[str, Any],
        adaptations: Sequence[Adaptation],
        timeout_s: float,
        join: Join | None = None,
        left_out: list[str] | None = None,
    ) -> dict[str, Any]:
        return await self._requests.send(
            payload,
            adaptations,
            lambda sent: self._http.post(url, payload=sent, headers=self._headers, timeout_s=timeout_s, join=join),
            left_out,
        )

    async def embed(self, call: EmbeddingCall, *, timeout_s: float) -> EmbeddingAnswer:
        """See `Provider.embed`."""
        body = await self._post(self._urls.embeddings, embedding_payload(call), EMBEDDING_ADAPTATIONS, timeout_s)
        usage = read_usage(body.get("usage"))
        with malformed_answer_guard(usage):
            return EmbeddingAnswer(read_vectors(body.get("data")), usage)

    @property
    def embedding_limits(self) -> BatchLimits:
        """See `Provider.embedding_limits`."""
        return self._vendor.embedding_limits

    async def probe(self, *, timeout_s: float) -> None:
        """See `Provider.probe`: `GET /models`."""
        await self._http.get(self._urls.models, headers=self._headers, timeout_s=timeout_s)

    async def count_tokens(self, call: ChatCall, *, timeout_s: float) -> int | None:  # noqa: ARG002 — the protocol's
        """See `Provider.count_tokens`: OpenAI's format has no such request."""
        return None

    def _unix_time_s(self) -> int:
        return int(self._clock.now().timestamp())


def _names_output_cap(failure: Failure) -> bool:
    return names_field(failure, *OUTPUT_CAP_FIELDS)
