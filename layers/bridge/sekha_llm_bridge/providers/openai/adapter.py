"""OpenAI's wire format, which most vendors speak. A vendor is a row of data: `Vendor`.

Sources: OpenAI API reference, "Chat", "Embeddings" and "Models"; Azure OpenAI's v1 API; OpenRouter's and Gemini's
notes on their OpenAI compatibility.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.config.models import ProviderConfig
from sekha_llm_bridge.errors import Failure, FailureKind, ProviderError
from sekha_llm_bridge.providers import failures
from sekha_llm_bridge.providers.base import (
    BatchLimits,
    ChatAnswer,
    ChatCall,
    ChatChunk,
    EmbeddingAnswer,
    EmbeddingCall,
    PriceCeiling,
    malformed_answer_guard,
)
from sekha_llm_bridge.providers.event_stream import SSEDecoder, parse_event
from sekha_llm_bridge.providers.http import JsonHttp, request_headers
from sekha_llm_bridge.providers.openai.response import chat_answer, read_chat_usage, read_usage
from sekha_llm_bridge.providers.openai.stream import ChunkReader

_OPENAI_BATCH_LIMITS = BatchLimits(max_texts=2048, max_tokens=300_000)


@dataclass(frozen=True, slots=True)
class Vendor:
    """How one vendor differs: where the key goes, what the output limit is called when the bridge sets it, whether it
    chooses among sellers of one model, and so can be told the dearest price, and how much it embeds at once: if it says
    nothing else, as much as OpenAI, whose models it may well pass the texts on to.
    """

    auth_header: str = "authorization"
    auth_prefix: str = "Bearer "
    output_cap_field: str = "max_tokens"
    sends_price_ceiling: bool = False
    embedding_limits: BatchLimits = _OPENAI_BATCH_LIMITS


OPENAI = Vendor(output_cap_field="max_completion_tokens")
AZURE_OPENAI = Vendor(auth_header="api-key", auth_prefix="", output_cap_field="max_completion_tokens")
OPENROUTER = Vendor(sends_price_ceiling=True)
GEMINI = Vendor(embedding_limits=BatchLimits(max_texts=100))
GENERIC = Vendor()

_DONE = b"[DONE]"
OUTPUT_CAP_FIELDS = ("max_completion_tokens", "max_tokens")


class OpenAIAdapter:
    """One provider that speaks OpenAI's format."""

    def __init__(self, config: ProviderConfig, vendor: Vendor, http: JsonHttp, clock: Clock) -> None:
        self._base_url = config.base_url or ""
        self._chat_url = f"{self._base_url}/chat/completions"
        self._requests_stream_usage = True
        self._vendor = vendor
        self._http = http
        self._clock = clock
        self._headers = request_headers(config, auth_header=vendor.auth_header, prefix=vendor.auth_prefix)

    async def chat(self, call: ChatCall, *, timeout_s: float) -> ChatAnswer:
        """See `Provider.chat`."""
        with output_cap_guard(call):
            body = await self._http.post(
                self._chat_url, payload=self._payload(call), headers=self._headers, timeout_s=timeout_s
            )
        usage = read_chat_usage(body.get("usage"))
        with malformed_answer_guard(usage):
            return chat_answer(body, usage, self._clock)

    async def stream(self, call: ChatCall, *, timeout_s: float) -> AsyncGenerator[ChatChunk]:
        """See `Provider.stream`. The end is when every choice has ended, whether `[DONE]` follows or not."""
        reader = ChunkReader(call.model_id, call.request.get("n") or 1, self._clock)
        events, payload = SSEDecoder(), {**self._payload(call), "stream": True}
        try:
            async with AsyncExitStack() as stack:
                with output_cap_guard(call):
                    answer = await self._opened(stack, payload, timeout_s)
                if isinstance(answer, dict):
                    yield _whole(answer, reader)
                    return
                async for part in answer:
                    for chunk in self._chunks(events.feed(part), payload, reader):
                        yield chunk
                    if reader.is_done:
                        break
                else:
                    for chunk in self._chunks(events.feed(events.END), payload, reader):
                        yield chunk
                reader.require_complete()
        except ProviderError:
            if not reader.all_choices_finished:  # what breaks after the end takes only the bill with it
                raise

    async def _opened(
        self, stack: AsyncExitStack, payload: dict[str, Any], timeout_s: float
    ) -> AsyncIterator[bytes] | dict[str, Any]:
        """The stream, with its usage at the end; a server that refuses to be asked for that is not asked again."""

        def opening(sent: dict[str, Any]) -> AbstractAsyncContextManager[AsyncIterator[bytes] | dict[str, Any]]:
            return self._http.stream(self._chat_url, payload=sent, headers=self._headers, timeout_s=timeout_s)

        own = payload.pop("stream_options", None) or {}
        has_wishes = bool(own.keys() - {"include_usage"})
        if has_wishes or self._requests_stream_usage:
            try:
                return await stack.enter_async_context(
                    opening({**payload, "stream_options": {**own, "include_usage": True}})
                )
            except ProviderError as exc:
                if has_wishes or not rejects_field(exc.failure, ("stream_options",)):
                    raise
        answer = await stack.enter_async_context(opening(payload))
        self._requests_stream_usage = False
        return answer

    def _chunks(self, events: Iterable[bytes], payload: dict[str, Any], reader: ChunkReader) -> Iterator[ChatChunk]:
        """Of events up to `[DONE]`."""
        for data in events:
            if data == _DONE:
                reader.is_done = True
                return
            yield self._chunk(data, payload, reader)

    def _chunk(self, data: bytes, payload: dict[str, Any], reader: ChunkReader) -> ChatChunk:
        with malformed_answer_guard(None):
            event = parse_event(data)
            if error := event.get("error") or (event if event.get("object") == "error" else None):
                said = {"error": error, "usage": event.get("usage")}
                raise failures.error_within_success(said, request=payload)
            return reader.read(event)

    async def embed(self, call: EmbeddingCall, *, timeout_s: float) -> EmbeddingAnswer:
        """See `Provider.embed`."""
        optional = {"dimensions": call.dimensions, "user": call.user}
        payload = {
            "model": call.model_id,
            "input": list(call.texts),
            "encoding_format": "float",
            **{key: value for key, value in optional.items() if value is not None},
        }
        body = await self._http.post(
            f"{self._base_url}/embeddings", payload=payload, headers=self._headers, timeout_s=timeout_s
        )
        usage = read_usage(body.get("usage"))
        with malformed_answer_guard(usage):
            return EmbeddingAnswer(_vectors(body.get("data")), usage)

    @property
    def embedding_limits(self) -> BatchLimits:
        """See `Provider.embedding_limits`."""
        return self._vendor.embedding_limits

    async def probe(self, *, timeout_s: float) -> None:
        """See `Provider.probe`: `GET /models`."""
        await self._http.get(f"{self._base_url}/models", headers=self._headers, timeout_s=timeout_s)

    def _payload(self, call: ChatCall) -> dict[str, Any]:
        payload = {**call.request, "model": call.model_id}
        self._cap_output(payload, call.output_cap)
        if call.price_ceiling is not None and self._vendor.sends_price_ceiling:
            _limit_price(payload, call.price_ceiling)
        return payload

    def _cap_output(self, payload: dict[str, Any], cap: int | None) -> None:
        """Says where to stop in the vendor's own field: another one it may ignore, or refuse."""
        asked = [payload.pop(field, None) for field in OUTPUT_CAP_FIELDS]
        if given := [count for count in (*asked, cap) if count is not None]:
            payload[self._vendor.output_cap_field] = min(given)


def _limit_price(payload: dict[str, Any], ceiling: PriceCeiling) -> None:
    """Lets OpenRouter choose no seller that is dearer, or than the request itself says (its "Provider Routing")."""
    wishes = payload.get("provider")
    wishes = wishes if isinstance(wishes, dict) else {}
    asked = wishes.get("max_price")
    asked = asked if isinstance(asked, dict) else {}
    most = {"prompt": float(ceiling.input_usd_per_mtok), "completion": float(ceiling.output_usd_per_mtok)}
    lower = {name: min(most[name], asked[name]) for name in most if isinstance(asked.get(name), int | float)}
    payload["provider"] = {**wishes, "max_price": {**asked, **most, **lower}}


@contextmanager
def output_cap_guard(call: ChatCall) -> Iterator[None]:
    """What a provider says of the output limit is not the caller's fault where the bridge has set it."""
    try:
        yield
    except ProviderError as exc:
        if call.output_cap is None or not rejects_field(exc.failure, OUTPUT_CAP_FIELDS):
            raise
        message = f"{exc.message}: give the model's `max_output_tokens` in the configuration"
        raise ProviderError(
            FailureKind.OUTPUT_CAP_REFUSED, message, provider_status=exc.failure.provider_status
        ) from exc


def rejects_field(failure: Failure, fields: Iterable[str]) -> bool:
    """Whether the provider rejected the request because of one of the fields."""
    if failure.kind is not FailureKind.REQUEST_REJECTED:
        return False
    named = (failure.param or "").partition(".")[0]
    return any(field == named or field in failure.message for field in fields)


def _whole(answer: dict[str, Any], reader: ChunkReader) -> ChatChunk:
    with malformed_answer_guard(read_chat_usage(answer.get("usage"))):
        return reader.read_whole(answer)


def _vectors(data: object) -> list[list[float]]:
    """The vectors in the order of their `index`."""
    if not isinstance(data, list) or not all(
        isinstance(row, dict) and isinstance(row.get("embedding"), list) for row in data
    ):
        raise ProviderError(
            FailureKind.MALFORMED_ANSWER, "the provider's answer has no usable vectors", provider_status=200
        )
    return [row["embedding"] for row in sorted(data, key=lambda row: row.get("index", 0))]
