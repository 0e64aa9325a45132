"""The adapter for Anthropic's Messages API, and for servers that speak it.

Source: platform.claude.com, API reference, "Create a Message", "Count tokens in a Message", "List Models", "Versions",
"Beta headers".
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import TypeVar

from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.config.models import ProviderConfig
from sekha_llm_bridge.conversation import AnswerChunk, AnswerState, ChatAnswer, Conversation, WireFormat
from sekha_llm_bridge.errors import FailureKind, ProviderError
from sekha_llm_bridge.providers.adaptation import AdaptedRequests, with_note
from sekha_llm_bridge.providers.addresses import addresses_of
from sekha_llm_bridge.providers.anthropic.adaptations import ADAPTATIONS, content_adaptations
from sekha_llm_bridge.providers.anthropic.original import (
    BETA_HEADER,
    original_headers,
    original_of,
    without_unknown_fields,
)
from sekha_llm_bridge.providers.anthropic.output_format import Payload, forces_answer_tool
from sekha_llm_bridge.providers.anthropic.request import (
    TRANSLATED_OWN_FIELDS,
    betas_of,
    chat_payload,
    count_payload,
    tokens_of_another_form,
    unsent_wishes,
)
from sekha_llm_bridge.providers.anthropic.response import read_answer
from sekha_llm_bridge.providers.anthropic.stream import MessageReader, join_events
from sekha_llm_bridge.providers.anthropic.usage import read_usage
from sekha_llm_bridge.providers.base import (
    BatchLimits,
    EmbeddingAnswer,
    EmbeddingCall,
    malformed_answer,
    malformed_answer_guard,
)
from sekha_llm_bridge.providers.calls import ChatCall
from sekha_llm_bridge.providers.capabilities import RequestFeature
from sekha_llm_bridge.providers.event_stream import EventDecoder
from sekha_llm_bridge.providers.field_table import capabilities_in_table
from sekha_llm_bridge.providers.http import JsonHttp, request_headers
from sekha_llm_bridge.providers.output_caps import names_field, output_cap_guard
from sekha_llm_bridge.providers.price_ceilings import is_openrouter, with_max_price
from sekha_llm_bridge.providers.token_counts import read_count

T = TypeVar("T")

CAPABILITIES = capabilities_in_table(
    "anthropic",
    own_fields=TRANSLATED_OWN_FIELDS,
    own_features=frozenset({RequestFeature.IMAGE_BY_URL, RequestFeature.ANTHROPIC_CONTENT}),
    counts_tokens=True,
    original_format=WireFormat.ANTHROPIC,
)
API_VERSION = "2023-06-01"
_OAUTH_PREFIX = "sk-ant-oat"
_OAUTH_BETA = "oauth-2025-04-20"
_BETAS_OF_LOGINS = "oauth-"
_NO_SUCH_PATH = frozenset({404, 405, 501})
_BY_REQUEST = frozenset(
    {
        *(FailureKind.REQUEST_REJECTED, FailureKind.CANDIDATE_UNSUITABLE),
        *(FailureKind.CONTEXT_LENGTH_EXCEEDED, FailureKind.CONTENT_REFUSED),
    }
)
"""The kinds of failure of one request, which say nothing about the counting of others."""


class AnthropicAdapter:
    """One provider that speaks Anthropic's format."""

    def __init__(self, config: ProviderConfig, http: JsonHttp, clock: Clock) -> None:
        self._urls = addresses_of(config)
        self._requests = AdaptedRequests()
        self._http = http
        self._clock = clock
        self._headers = anthropic_headers(config)
        self._allowed_fields = config.allow_fields
        self._takes_price_ceiling = is_openrouter(config.base_url)
        self._uncountable: set[str] = set()  # the models for which the server has not counted: it has no such path

    async def chat(self, call: ChatCall, *, timeout_s: float) -> ChatAnswer:
        """See `Provider.chat`."""

        left_out: list[str] = []

        async def send(sent: Payload) -> ChatAnswer:
            headers, sent = self._headers_for(call.conversation, sent), _body(sent)
            body = await self._http.post(
                self._urls.chat, payload=sent, headers=headers, timeout_s=timeout_s, join=join_events
            )
            with malformed_answer_guard(read_usage(body.get("usage"))):
                must_call = forces_answer_tool(sent)
                return read_answer(
                    body,
                    created=self._unix_time_s(),
                    must_call=must_call,
                    keeps_original=original_of(call.conversation) is not None and not must_call,
                    is_hour_cache=call.asks_for_hour_cache,
                )

        answer = await self._send(call, self._payload(call), send, left_out)
        return answer._replace(left_out=tuple(left_out)) if left_out else answer

    async def stream(self, call: ChatCall, *, timeout_s: float) -> AsyncGenerator[AnswerChunk]:
        """See `Provider.stream`. The answer is complete with its stop reason, whether `message_stop` follows or not."""
        payload = self._payload(call, stream=True)
        reader, decoder = MessageReader(payload, created=self._unix_time_s()), EventDecoder()
        reader.is_hour_cache = call.asks_for_hour_cache
        left_out: list[str] = []
        try:
            async with AsyncExitStack() as stack:

                async def send(sent: Payload) -> AsyncIterator[bytes]:
                    reader.must_call = forces_answer_tool(sent)
                    reader.keeps_originals = original_of(call.conversation) is not None and not reader.must_call
                    headers, sent = self._headers_for(call.conversation, sent), _body(sent)
                    opened = self._http.stream(self._urls.chat, payload=sent, headers=headers, timeout_s=timeout_s)
                    return await stack.enter_async_context(opened)

                answer = await self._send(call, payload, send, left_out)
                async for part in answer:
                    for chunk in reader.read(decoder.feed(part)):
                        yield with_note(chunk, left_out) if left_out else chunk
                    if reader.has_received_stop:
                        break
                else:
                    rest = decoder.finish()
                    for chunk in reader.read(rest, is_whole=decoder.has_single_value):
                        yield with_note(chunk, left_out)
                reader.require_complete()
        except ProviderError:
            if reader.state is not AnswerState.FINISHED:
                raise

    def _payload(self, call: ChatCall, *, stream: bool = False) -> Payload:
        """Returns the body of a request. Under a cost limit, it has no fields of unknown cost, and OpenRouter gets the
        highest price that the limit assumes.
        """
        payload = chat_payload(call, stream=stream)
        if call.price_ceiling is None:
            return payload
        if original_of(call.conversation) is not None:
            payload = without_unknown_fields(payload, self._allowed_fields)
        return with_max_price(payload, call.price_ceiling) if self._takes_price_ceiling else payload

    async def _send(
        self, call: ChatCall, payload: Payload, send: Callable[[Payload], Awaitable[T]], left_out: list[str]
    ) -> T:
        """Sends the request, or another form of it. What depends on its content is not remembered. The caller's beta
        features are in the payload until it is sent, under the name of their header.
        """
        payload = {**payload, BETA_HEADER: _beta_names(original_headers(call.conversation).get(BETA_HEADER, ""))}
        by_content = content_adaptations(call.conversation, call.model_id)
        with output_cap_guard(call, lambda failure: names_field(failure, "max_tokens"), is_always_sent=True):
            answer = await AdaptedRequests().send(
                payload, by_content, lambda sent: self._requests.send(sent, ADAPTATIONS, send, left_out), left_out
            )
        left_out += unsent_wishes(call.conversation, payload)
        return answer

    async def count_tokens(self, call: ChatCall, *, timeout_s: float) -> int | None:
        """Returns the tokens of the prompt, by `POST /v1/messages/count_tokens`, which is free; with a schema, the most
        that the prompt has in any form in which `chat` may send it, unless the call is for the first form only.

        None: the server cannot count, or does not have the model, and is not asked for this model again; or it takes no
        such request. Raises `ProviderError` for any other failure.
        """
        if call.model_id in self._uncountable:
            return None
        try:
            payload = self._payload(call)
            body = await self._http.post(
                self._urls.count_tokens,
                payload=count_payload(payload),
                headers=self._headers_for(call.conversation, payload),
                timeout_s=timeout_s,
            )
        except ProviderError as exc:
            if exc.failure.provider_status in _NO_SUCH_PATH:
                self._uncountable.add(call.model_id)
            elif exc.kind not in _BY_REQUEST:
                raise
            return None
        if not (counted := read_count(body.get("input_tokens"))):  # no prompt has 0 tokens
            raise malformed_answer("the provider's count is not usable")
        return counted + (0 if call.counts_first_form else tokens_of_another_form(payload))

    async def embed(self, call: EmbeddingCall, *, timeout_s: float) -> EmbeddingAnswer:  # noqa: ARG002 — the protocol's
        """Raises `ProviderError` (CANDIDATE_UNSUITABLE): Anthropic has no embeddings."""
        raise ProviderError(FailureKind.CANDIDATE_UNSUITABLE, "Anthropic has no embedding models")

    @property
    def embedding_limits(self) -> BatchLimits:
        """See `Provider.embedding_limits`."""
        return BatchLimits(max_texts=1)

    async def probe(self, *, timeout_s: float) -> None:
        """See `Provider.probe`: `GET /v1/models`."""
        await self._http.get(self._urls.models, headers=self._headers, timeout_s=timeout_s)

    def _headers_for(self, conversation: Conversation, payload: Payload) -> Mapping[str, str]:
        """Returns the headers of a request. Those of the caller replace the configured ones; its beta features, and
        those that the bridge has chosen, are added to the configured ones.
        """
        if original_of(conversation) is not None:
            sent = dict(original_headers(conversation))
            asked = payload.get(BETA_HEADER, _beta_names(sent.pop(BETA_HEADER, "")))
            betas = [name for name in asked if not name.startswith(_BETAS_OF_LOGINS)]  # the login is the provider's key
            headers = {**self._headers, **sent}
        else:
            headers, betas = dict(self._headers), betas_of(payload)
        return _with_betas(headers, betas) if betas else headers

    def _unix_time_s(self) -> int:
        return int(self._clock.now().timestamp())


def anthropic_headers(config: ProviderConfig) -> dict[str, str]:
    """Returns the headers of every request.

    The key is sent as `x-api-key`, an OAuth token as bearer. Configured headers take precedence: with one for
    `authorization`, no key is sent.
    """
    key = "" if config.api_key is None else config.api_key.get_secret_value()
    is_oauth = key.startswith(_OAUTH_PREFIX)
    name, prefix = ("authorization", "Bearer ") if is_oauth else ("x-api-key", "")
    headers = request_headers(config, auth_header=name, auth_prefix=prefix)
    if any(configured.lower() == "authorization" for configured in config.headers):
        headers.pop("x-api-key", None)
    headers.setdefault("anthropic-version", API_VERSION)
    return _with_betas(headers, [_OAUTH_BETA]) if is_oauth else headers


def _body(payload: Payload) -> Payload:
    return {name: value for name, value in payload.items() if name != BETA_HEADER}


def _with_betas(headers: Mapping[str, str], betas: list[str]) -> dict[str, str]:
    names = dict.fromkeys([*_beta_names(headers.get(BETA_HEADER, "")), *betas])
    return {**headers, BETA_HEADER: ",".join(names)}


def _beta_names(header: str) -> list[str]:
    return [name.strip() for name in header.split(",") if name.strip()]
