"""Token counts before a provider has counted: an estimate for ranking, an upper bound for cost limits, and a minimum
for context windows.

All three come from one fast pass over the request. The estimate weighs bytes by their kind. The bound is the length in
bytes of everything that is sent, as JSON in UTF-8: a byte-level tokenizer never produces more tokens than bytes. What
providers add (chat templates) is bounded by a generous constant. For models whose tokenizer is known,
`TokenCount.bound_for` returns a bound that is several times lower; it counts when it is first called. Images are
counted separately: see `image_tokens`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import assert_never

import orjson

from sekha_llm_bridge.conversation import (
    NO_MARKS,
    Audio,
    Block,
    CacheMarks,
    Conversation,
    Document,
    Function,
    Image,
    Json,
    OtherBlock,
    OtherTool,
    Reasoning,
    Refusal,
    Role,
    Text,
    Tool,
    ToolCall,
    WireFormat,
    cache_marks_of,
)
from sekha_llm_bridge.pricing.estimates import estimated_and_minimum_tokens, estimated_tokens
from sekha_llm_bridge.pricing.tokenizer import Tokenizer, upper_bound_tokens, upper_bound_tokens_of_separate_texts

_FRAME = (4, 32)  # (estimate, upper bound) of the tokens that a chat template adds to one message
# For the system prompt with which vendors introduce tools: Anthropic's has up to 804 tokens (Opus 4.7 with a forced
# tool). Of its own tools, that for a computer has some 1,250 besides, more with the tokenizers of newer models. Source:
# platform.claude.com, "Tool use with Claude", "Pricing"; "Computer use tool", "Pricing".
_TOOLS_FRAME = 1_000
_OWN_TOOL_FRAME = 2_000
# Where a document is to be cited, Anthropic adds a system prompt, and something to each sentence ("Citations", "Token
# costs", has no numbers).
_CITATIONS_FRAME = 1_000
_SENTENCE_FRAME = 16
_SENTENCE_ENDS = ".!?\n。！？"
_BLOCK_FRAME = 32  # for the names and signs around a block as JSON
_SYSTEM_ROLES = frozenset({Role.SYSTEM, Role.DEVELOPER})
# Roles whose texts are in the prompt unchanged. A tool's answer may be encoded as JSON again.
_VERBATIM_ROLES = frozenset({Role.SYSTEM, Role.DEVELOPER, Role.USER, Role.ASSISTANT})


class _ExactBound:
    """The upper bound of a request by a tokenizer's own count, computed at most once."""

    __slots__ = ("_count", "_known")

    def __init__(self, count: Callable[[Tokenizer], int]) -> None:
        self._count = count
        self._known: dict[Tokenizer, int] = {}

    def by(self, tokenizer: Tokenizer) -> int:
        """Returns the upper bound for models with that tokenizer, in tokens."""
        if tokenizer not in self._known:
            self._known[tokenizer] = self._count(tokenizer)
        return self._known[tokenizer]


class PromptPrefix:
    """The estimated tokens of a request's tools and of the system messages before all others, computed at most once."""

    __slots__ = ("_count", "_known")

    def __init__(self, count: Callable[[], int]) -> None:
        self._count = count
        self._known: int | None = None

    @property
    def tokens(self) -> int:
        """The estimate."""
        if self._known is None:
            self._known = self._count()
        return self._known


@dataclass(frozen=True, slots=True)
class TokenCount:
    """The prompt's tokens without images: `estimate`, upper `bound`, and a `minimum` that is hardly ever too high.

    `exact` computes a lower upper bound when `bound_for` needs it; where it is None, there is only `bound`.
    `cache_marks` are those of the request, and `marked` is the estimate of the tokens before the last of them.
    """

    estimate: int
    bound: int
    minimum: int
    images: int = 0
    exact: _ExactBound | None = field(default=None, repr=False, compare=False)
    cache_marks: CacheMarks = NO_MARKS
    marked: int = 0
    prefix: PromptPrefix | None = field(default=None, repr=False, compare=False)

    @property
    def prefix_tokens(self) -> int:
        """The estimated tokens of what later requests are likely to begin with, too: the tools and the system messages
        before all others.
        """
        return 0 if self.prefix is None else self.prefix.tokens

    def bound_for(self, tokenizer: Tokenizer | None) -> int:
        """Returns the upper bound for a model with that tokenizer; None means that the tokenizer is unknown.

        The first call for a tokenizer takes milliseconds, in a new process 0.2 s, at worst a second.
        """
        return self.bound if tokenizer is None or self.exact is None else self.exact.by(tokenizer)


def count_texts(texts: Iterable[str]) -> TokenCount:
    """Counts the tokens of plain texts, each encoded separately, as embeddings are billed."""
    given = list(texts)
    counts = [estimated_and_minimum_tokens(text) for text in given]
    frames = _FRAME[0] * len(given)
    return TokenCount(
        estimate=sum(estimate for estimate, _ in counts),
        bound=sum(len(text.encode()) for text in given) + frames,
        minimum=sum(minimum for _, minimum in counts),
        exact=_ExactBound(lambda tokenizer: upper_bound_tokens_of_separate_texts(given, tokenizer) + frames),
    )


def minimum_tokens_of_longest_text(texts: Iterable[str]) -> int:
    """Returns the minimum tokens of the longest text."""
    return max((estimated_and_minimum_tokens(text)[1] for text in texts), default=0)


def count_chat(conversation: Conversation) -> TokenCount:
    """Counts the tokens of a chat request, without its media.

    Raises TypeError for a request that is nested too deeply to be sent.
    """
    rendered = _rendered(conversation)
    n_messages = len(conversation.messages)
    blocks = [block for message in conversation.messages for block in message.blocks]
    translated_bytes = _sent_bytes(conversation, blocks) + len(rendered)
    bound = max(translated_bytes, _original_bytes(conversation, blocks)) + _FRAME[1] * (n_messages + 1)
    # An adapter may add the tools that earlier calls name.
    has_tools = rendered or any(type(block) is ToolCall for block in blocks)
    n_other_tools = sum(isinstance(tool, OtherTool) for tool in conversation.tools)
    bound += _TOOLS_FRAME + _OWN_TOOL_FRAME * n_other_tools if has_tools else 0
    bound += _citation_tokens(blocks)
    likely, minimum = estimated_and_minimum_tokens(_readable_text(blocks))
    likely_rendered = estimated_tokens(rendered) if rendered else 0
    estimate = likely + likely_rendered + _FRAME[0] * n_messages
    marks = cache_marks_of(conversation)
    return TokenCount(
        estimate=estimate,
        bound=bound,
        minimum=minimum,
        images=sum(type(block) is Image for block in blocks),
        exact=_ExactBound(lambda tokenizer: _exact_bound(bound, conversation, tokenizer)),
        cache_marks=marks,
        marked=_marked_tokens(marks, blocks, estimate, likely_rendered) if marks.has_any else 0,
        prefix=PromptPrefix(
            lambda: likely_rendered + estimated_tokens(_readable_text(_system_blocks(conversation)).encode())
        ),
    )


def _original_bytes(conversation: Conversation, blocks: Iterable[Block]) -> int:
    """Returns the bytes of a request that is sent as it came, without media; 0 where it is translated. Its translation
    has another form of some fields.
    """
    if conversation.original is None or conversation.original.wire_format is not WireFormat.ANTHROPIC:
        return 0
    fields = dict(conversation.original.fields)
    media = (block.media.data or "" for block in blocks if isinstance(block, Document | Image))
    return len(orjson.dumps(fields)) - sum(map(len, media)) + _referenced_bytes(fields)


def _referenced_bytes(fields: Json) -> int:
    """Returns the bytes of the definitions of tools that references in results stand for: Anthropic shows a definition
    at each of them. Source: platform.claude.com, "Tool search tool".
    """
    sizes = {str(tool.get("name")): len(orjson.dumps(tool)) for tool in fields.get("tools") or ()}
    contents = (message.get("content") for message in fields.get("messages") or ())
    blocks = (block for content in contents if isinstance(content, list) for block in content)
    results = (block.get("content") for block in blocks if block.get("type") == "tool_result")
    return sum(
        sizes.get(str(inner.get("tool_name")), 0) for result in results if isinstance(result, list) for inner in result
    )


def _citation_tokens(blocks: Iterable[Block]) -> int:
    """Returns the most tokens that are added to documents of which the answer should cite sentences."""
    cited = [block.media.text or "" for block in blocks if isinstance(block, Document) and block.wants_citations]
    if not cited:
        return 0
    n_sentences = sum(1 + sum(map(text.count, _SENTENCE_ENDS)) for text in cited)
    return _CITATIONS_FRAME + _SENTENCE_FRAME * n_sentences


def _marked_tokens(marks: CacheMarks, blocks: Sequence[Block], estimate: int, rendered: int) -> int:
    """Returns the estimated tokens before the last mark: the tools are before all messages."""
    if marks.n_blocks == len(blocks):
        return estimate
    return rendered + estimated_tokens(_readable_text(blocks[: marks.n_blocks]).encode())


def _system_blocks(conversation: Conversation) -> list[Block]:
    leading = takewhile(lambda message: message.role in _SYSTEM_ROLES, conversation.messages)
    return [block for message in leading for block in message.blocks]


def _readable_text(blocks: Iterable[Block]) -> str:
    return "\n".join(filter(None, map(_readable, blocks)))


def _exact_bound(bound: int, conversation: Conversation, tokenizer: Tokenizer) -> int:
    """Returns the bound with the verbatim texts counted by their tokens instead of their bytes as JSON."""
    texts = list(_verbatim_texts(conversation))
    as_json = sum(_json_bytes(text) - len('""') for text in texts)
    return bound - as_json + upper_bound_tokens(texts, tokenizer)


def _json_bytes(text: str) -> int:
    return len(orjson.dumps(text))


def _rendered(conversation: Conversation) -> bytes:
    """Returns what a provider renders into the prompt in its own format: tools, and the format of the answer."""
    legacy = conversation.vendor_fields.get("functions")
    output_format = conversation.output_format
    if not (conversation.tools or legacy or output_format):
        return b""
    tools = [_fields_of_tool(tool) for tool in conversation.tools]
    shape = output_format and (output_format.fields or output_format.schema or output_format.kind)
    return orjson.dumps([tools, legacy, shape])


def _fields_of_tool(tool: Tool) -> object:
    if not isinstance(tool, Function):
        return tool.fields
    return ["function", tool.name, tool.description, tool.parameters, dict(tool.extra)]


def _sent_bytes(conversation: Conversation, blocks: Iterable[Block]) -> int:
    """Returns the bytes of the messages and of other fields as JSON, without media, tools and the answer's format."""
    names = [
        (message.name, message.call_id, dict(message.extra))
        for message in conversation.messages
        if message.name or message.call_id or message.extra
    ]
    settings = [{**conversation.vendor_fields, "functions": None}, dict(conversation.parameters), conversation.thinking]
    n_bytes = len(orjson.dumps([names, settings]))
    for block in blocks:
        n_bytes += _BLOCK_FRAME + (_json_bytes(block.text) if type(block) is Text else 0)
        if type(block) is not Text or block.extra or block.citations:
            n_bytes += len(orjson.dumps(_fields_of(block)))
    return n_bytes


def _fields_of(block: Block) -> object:
    """Returns what of a block may be in the prompt, besides the text of a `Text`, and without media."""
    match block:
        case Text():
            return [block.citations, dict(block.extra)]
        case ToolCall():
            return [block.call_id, block.name, block.arguments, dict(block.extra)]
        case Reasoning():
            return [block.text, block.encrypted, block.signature, dict(block.extra)]
        case Document():
            return [block.name, block.context, block.media.text, dict(block.extra)]
        case Refusal():
            return block.text
        case OtherBlock():
            return block.fields
        case Image() | Audio():
            return dict(block.extra)
        case _:
            assert_never(block)


def _readable(block: Block) -> str:
    """Returns the text of a block that a model reads for certain."""
    match block:
        case Text() | Refusal():
            return block.text
        case ToolCall():
            return f"{block.name} {block.arguments}"
        case Document():
            return block.media.text or ""
        case _:
            return ""


def _verbatim_texts(conversation: Conversation) -> Iterator[str]:
    """Yields the texts that are in the prompt unchanged."""
    for message in conversation.messages:
        if message.role in _VERBATIM_ROLES:
            yield from (block.text for block in message.blocks if type(block) is Text)
