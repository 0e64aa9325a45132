"""The wire formats that the contract of adapters runs over: for each its addresses, its encoding and its fake.

OpenAI's format has a row for each vendor too, whose requests differ. A row runs every claim that has no cases of its
own; the tables of cases run once per format, because the rows share the code that reads answers.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from threading import Event
from typing import Any, Literal

from sekha_llm_bridge.clock import SystemClock
from sekha_llm_bridge.config.models import ProviderConfig, ProviderType
from sekha_llm_bridge.providers import Provider, make_provider
from sekha_llm_bridge.providers.http import JsonHttp
from sekha_llm_bridge.providers.openai.adapter import OpenAIAdapter
from sekha_llm_bridge.providers.openai.vendors import VENDORS, VENDORS_BY_HOST, Vendor
from sekha_llm_bridge.usage import Usage
from tests.fakes import anthropic_wire, bedrock
from tests.fakes.provider import (
    FakeProvider,
    Reply,
    Stream,
    chat_completion,
    chat_events,
    chunk,
    ndjson,
    ollama_chat,
    ollama_events,
    sse,
)
from tests.fakes.settings import chat_model, provider

PROMPT = "the secret prompt about the yellow submarine"
SECRET = "sk-very-secret"
Parts = list[bytes | Event]
Ending = Literal["whole", "closed", "reset", "silent"]


@dataclass(frozen=True)
class WireFormat:
    """One wire format, or one vendor of it.

    `token` encodes a part of an answer and `end` what follows the last one; the answer is complete after the first
    event of `end`, and `usage` is what they report. `answer` is a complete stream as the vendor sends it, `whole` the
    same answer unstreamed. `error_event` encodes an error inside a stream with all its fields set to one text,
    `error_reply` an error answer. `inapplicable` has the claims that have no meaning in this format, and why.
    """

    name: str
    provider_type: str
    base: str
    chat_path: str
    stream_path: str
    embed_path: str | None
    probe_path: str
    content_type: str
    token: Callable[[str], bytes]
    end: tuple[bytes, ...]
    usage: Usage
    answer: Callable[[str], Iterable[bytes]]
    whole: Callable[[str], Mapping[str, object]]
    error_event: Callable[[str], bytes]
    error_reply: Callable[[int, str], Reply]
    not_json: bytes
    temperature: tuple[str, ...] = ("temperature",)
    output_cap: tuple[str, ...] = ("max_tokens",)
    key_header: str = "authorization"
    key_prefix: str = "Bearer "
    accept: str = "text/event-stream"
    stream_fields: Mapping[str, object] = field(default_factory=lambda: {"stream": True, "model": "m"})
    embedding_model: str = "m"
    tokens_of_three_texts: int = 9
    fake: type[FakeProvider] = FakeProvider
    config_fields: Mapping[str, object] = field(default_factory=dict)
    inapplicable: Mapping[str, str] = field(default_factory=dict)
    vendor: Vendor | None = None
    is_row: bool = False

    def tokens(self, *texts: str) -> Parts:
        return [self.token(text) for text in texts]

    def streams(self, parts: Iterable[bytes | Event], ending: Ending = "whole", coding: str = "") -> Reply:
        headers = {"content-encoding": coding} if coding else {}
        return Reply(headers=headers, stream=Stream(parts, ending=ending, content_type=self.content_type))

    def section(self, url: str, *, key: str = SECRET) -> dict[str, object]:
        """The section of a provider at that URL, with an additional header."""
        base_url = url + self.base
        section = provider("p", chat_model("m"), provider_type=self.provider_type, base_url=base_url, api_key=key)
        return {**section, "headers": {"X-Extra": "more"}, **self.config_fields}

    def config(self, url: str) -> ProviderConfig:
        return ProviderConfig.model_validate(self.section(url))

    def make_adapter(self, config: ProviderConfig, http: JsonHttp) -> Provider:
        if self.vendor is None:
            return make_provider(config, http, SystemClock())
        return OpenAIAdapter(config, self.vendor, http, SystemClock())


def value_at(body: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """The value of a field of a request."""
    found: Any = body
    for name in path:
        found = found[name]
    return found


def _error(text: str) -> dict[str, object]:
    return {"error": {"message": text, "code": text, "type": text, "param": text}}


DONE = b"data: [DONE]\n\n"
FINISH = chunk({}, finish="stop")
USAGE = sse({"choices": [], "usage": chat_completion("")["usage"]})

OPENAI = WireFormat(
    name="openai",
    provider_type="openai",
    base="/v1",
    chat_path="/v1/chat/completions",
    stream_path="/v1/chat/completions",
    embed_path="/v1/embeddings",
    probe_path="/v1/models",
    content_type="text/event-stream; charset=utf-8",
    token=lambda text: chunk({"content": text}),
    end=(FINISH, USAGE, DONE),
    usage=Usage(11, 7, cached_tokens=2),
    answer=chat_events,
    whole=lambda text: {**chat_completion(text)},
    error_event=lambda text: sse(_error(text)),
    error_reply=lambda status, text: Reply(status, _error(text)),
    not_json=b"data: {no\n\n",
)
OLLAMA = WireFormat(
    name="ollama",
    provider_type="ollama",
    base="",
    chat_path="/api/chat",
    stream_path="/api/chat",
    embed_path="/api/embed",
    probe_path="/api/tags",
    content_type="application/x-ndjson",
    token=lambda text: ndjson({"message": {"role": "assistant", "content": text}, "done": False}),
    end=(ndjson(ollama_chat("")),),
    usage=Usage(5, 4),
    answer=ollama_events,
    whole=ollama_chat,
    error_event=lambda text: ndjson(_error(text)),
    error_reply=lambda status, text: Reply(status, _error(text)),
    not_json=b"{no\n",
    temperature=("options", "temperature"),
    output_cap=("options", "num_predict"),
)


def _text_message(text: str) -> dict[str, Any]:
    return anthropic_wire.message(anthropic_wire.text(text))


ANTHROPIC = WireFormat(
    name="anthropic",
    provider_type="anthropic",
    base="",
    chat_path="/v1/messages",
    stream_path="/v1/messages",
    embed_path=None,
    probe_path="/v1/models",
    content_type="text/event-stream; charset=utf-8",
    token=lambda text: anthropic_wire.sse(
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
    ),
    end=(
        anthropic_wire.sse(
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": anthropic_wire.usage()}
        ),
        anthropic_wire.sse({"type": "message_stop"}),
    ),
    usage=Usage(11, 7),
    answer=lambda text: anthropic_wire.stream(_text_message(text)),
    whole=_text_message,
    error_event=lambda text: anthropic_wire.sse(anthropic_wire.error(text, text)),
    error_reply=lambda status, text: Reply(status, anthropic_wire.error(text, text)),
    not_json=b"event: content_block_delta\ndata: {no\n\n",
    key_header="x-api-key",
    key_prefix="",
    inapplicable={
        "test_vectors_are_in_the_order_of_the_texts": "Anthropic has no embeddings",
        "test_an_answer_that_is_not_streamed_is_one_chunk": "each block of a whole message is a chunk of its own",
    },
)
_COHERE = "cohere.embed-v4:0"
BEDROCK = WireFormat(
    name="bedrock",
    provider_type="bedrock",
    base="",
    chat_path="/model/m/converse",
    stream_path="/model/m/converse-stream",
    embed_path="/model/cohere.embed-v4%3A0/invoke",
    probe_path="/foundation-models/m",
    content_type=bedrock.EVENT_STREAM,
    token=bedrock.text_delta,
    end=(bedrock.message_stop("end_turn"), bedrock.metadata()),
    usage=Usage(11, 7),
    answer=bedrock.converse_events,
    whole=bedrock.converse_answer,
    error_event=lambda text: bedrock.exception(text, text),
    error_reply=lambda status, text: bedrock.error(text, text, status=status),
    not_json=bedrock.encode_message({":message-type": "event", ":event-type": "contentBlockDelta"}, b"{no"),
    temperature=("inferenceConfig", "temperature"),
    output_cap=("inferenceConfig", "maxTokens"),
    accept=bedrock.EVENT_STREAM,
    stream_fields={},
    embedding_model=_COHERE,
    tokens_of_three_texts=3,
    fake=bedrock.FakeBedrock,
    config_fields={"region": "eu-west-1"},
    inapplicable={
        "test_a_last_line_without_its_line_end_is_read_only_after_the_proper_end_of_the_stream": (
            "binary messages have a length, and no line end"
        ),
        "test_a_provider_that_keeps_sending_after_the_end_delays_nothing": (
            "a line end between two binary messages is no keep-alive, but a wrong length"
        ),
    },
)


def _vendor_rows() -> Iterator[WireFormat]:
    """Every provider type with OpenAI's format, and every row that is found by its host.

    A base URL with the host of a vendor would be called there, so these adapters get their row as it is.
    """
    for kind, vendor in VENDORS.items():
        if kind is not ProviderType.OPENAI:
            yield _row(kind.value, vendor, provider_type=kind.value)
    seen = {vendor for vendor in VENDORS.values() if vendor is not VENDORS[ProviderType.OPENAI]}
    for host, vendor in VENDORS_BY_HOST.items():
        if vendor not in seen:
            seen.add(vendor)
            yield _row(host, vendor, vendor=vendor)


def _row(name: str, row: Vendor, **fields: Any) -> WireFormat:
    return replace(
        OPENAI,
        name=name,
        key_header=row.auth_header,
        key_prefix=row.auth_prefix,
        output_cap=(row.output_cap_field,),
        is_row=True,
        **fields,
    )


FORMATS = (OPENAI, OLLAMA, ANTHROPIC, BEDROCK)
VENDOR_ROWS = tuple(_vendor_rows())


def formats_of(claim: str, *, has_cases: bool) -> list[WireFormat]:
    """The formats and rows that a claim is made about."""
    candidates = FORMATS if has_cases else (*FORMATS, *VENDOR_ROWS)
    return [wire for wire in candidates if claim not in wire.inapplicable]
