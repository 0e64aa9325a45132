"""The adapter for Ollama's own API.

It is used instead of Ollama's OpenAI-compatible API, because only here can the context size be set. Without that,
Ollama silently cuts a long prompt.

Source: Ollama's API documentation, "Generate a chat completion", "Generate embeddings", "List local models".
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, TypeVar

from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.config.models import ProviderConfig
from sekha_llm_bridge.conversation import AnswerChunk, AnswerState, ChatAnswer
from sekha_llm_bridge.providers.adaptation import AdaptedRequests, with_note
from sekha_llm_bridge.providers.addresses import addresses_of
from sekha_llm_bridge.providers.base import BatchLimits, EmbeddingAnswer, EmbeddingCall, malformed_answer_guard
from sekha_llm_bridge.providers.calls import ChatCall
from sekha_llm_bridge.providers.event_stream import EventDecoder
from sekha_llm_bridge.providers.field_table import capabilities_in_table
from sekha_llm_bridge.providers.http import JsonHttp, request_headers
from sekha_llm_bridge.providers.ollama.request import (
    OWN_FIELDS,
    ChatPayload,
    chat_payload,
    embedding_payload,
    larger_context,
)
from sekha_llm_bridge.providers.ollama.response import (
    chat_usage,
    join_events,
    read_chat_answer,
    read_embeddings,
    reject_truncated_prompt,
    require_logprobs,
)
from sekha_llm_bridge.providers.ollama.stream import OllamaChunkReader
from sekha_llm_bridge.providers.ollama.system_messages import system_adaptations
from sekha_llm_bridge.providers.ollama.thinking import EFFORT_ADAPTATIONS
from sekha_llm_bridge.providers.single_choice import SingleChoiceStream

if TYPE_CHECKING:
    from sekha_llm_bridge.found_models import FoundModel

T = TypeVar("T")

CAPABILITIES = capabilities_in_table("ollama", own_fields=OWN_FIELDS)
_BATCH_LIMITS = BatchLimits(max_texts=512)  # Ollama documents no limit; this many are embedded well within a timeout


class OllamaAdapter:
    """One Ollama server."""

    def __init__(self, config: ProviderConfig, http: JsonHttp, clock: Clock) -> None:
        self._urls = addresses_of(config)
        self._requests = AdaptedRequests()
        self._http = http
        self._clock = clock
        self._headers = request_headers(config)

    async def chat(self, call: ChatCall, *, timeout_s: float) -> ChatAnswer:
        """See `Provider.chat`. A prompt that is too long is an error, never cut."""
        payload = chat_payload(call, stream=False)

        async def send(sent: ChatPayload) -> dict[str, Any]:
            return await self._http.post(
                self._urls.chat, payload=sent, headers=self._headers, timeout_s=timeout_s, join=join_events
            )

        left_out: list[str] = []
        body = await self._send_chat(call, payload, send, left_out)
        with malformed_answer_guard(chat_usage(body)):
            answer = read_chat_answer(body, created=self._unix_time_s())
        reject_truncated_prompt(answer.usage, payload)
        require_logprobs(body["message"].get("content"), answer.choices[0].logprobs, payload, answer.usage)
        return answer._replace(left_out=tuple(left_out)) if left_out else answer

    async def stream(self, call: ChatCall, *, timeout_s: float) -> AsyncGenerator[AnswerChunk]:
        """See `Provider.stream`. Where an old Ollama has cut the prompt, the answer fails with its last event: only
        that one has the usage which shows it.
        """
        payload = chat_payload(call, stream=True)
        chunks, decoder = SingleChoiceStream(self._unix_time_s()), EventDecoder()
        lines, left_out = OllamaChunkReader(payload, chunks), list[str]()
        async with AsyncExitStack() as stack:

            async def send(sent: ChatPayload) -> AsyncIterator[bytes]:
                opened = self._http.stream(self._urls.chat, payload=sent, headers=self._headers, timeout_s=timeout_s)
                return await stack.enter_async_context(opened)

            answer = await self._send_chat(call, payload, send, left_out)
            async for part in answer:
                for line in decoder.feed(part):
                    yield with_note(lines.read_line(line), left_out)
                if chunks.state is not AnswerState.OPEN:
                    return
            for line in decoder.finish():
                yield with_note(lines.read_line(line, is_whole=decoder.has_single_value), left_out)
        chunks.require_complete()

    async def _send_chat(
        self, call: ChatCall, payload: ChatPayload, send: Callable[[ChatPayload], Awaitable[T]], left_out: list[str]
    ) -> T:
        by_effort = EFFORT_ADAPTATIONS if call.conversation.field("think") is None else ()
        adaptations = (larger_context(call), *by_effort, *system_adaptations(call.conversation))
        return await self._requests.send(payload, adaptations, send, left_out)

    async def embed(self, call: EmbeddingCall, *, timeout_s: float) -> EmbeddingAnswer:
        """See `Provider.embed`. A text that is too long is an error, never cut."""
        payload = embedding_payload(call)
        body = await self._http.post(self._urls.embeddings, payload=payload, headers=self._headers, timeout_s=timeout_s)
        return read_embeddings(body)

    @property
    def embedding_limits(self) -> BatchLimits:
        """See `Provider.embedding_limits`."""
        return _BATCH_LIMITS

    async def probe(self, *, timeout_s: float) -> None:
        """See `Provider.probe`: `GET /api/tags`."""
        await self._http.get(self._urls.models, headers=self._headers, timeout_s=timeout_s)

    async def list_models(self, *, timeout_s: float) -> "tuple[FoundModel, ...]":
        """See `ModelLister.list_models`: the same `GET /api/tags`."""
        from sekha_llm_bridge.providers.ollama.found import read_list  # only the scheduled check lists models

        return read_list(await self._http.get(self._urls.models, headers=self._headers, timeout_s=timeout_s))

    async def describe_model(self, listed: "FoundModel", *, timeout_s: float) -> "FoundModel":
        """See `ModelLister.describe_model`: `POST /api/show`, whose field `model` was called `name` at first."""
        from sekha_llm_bridge.providers.ollama.found import with_description

        payload = {"model": listed.name, "name": listed.name}
        body = await self._http.post(self._urls.show, payload=payload, headers=self._headers, timeout_s=timeout_s)
        return with_description(listed, body)

    async def count_tokens(self, call: ChatCall, *, timeout_s: float) -> int | None:  # noqa: ARG002 — the protocol's
        """See `Provider.count_tokens`: Ollama has no such request."""
        return None

    def _unix_time_s(self) -> int:
        return int(self._clock.now().timestamp())
