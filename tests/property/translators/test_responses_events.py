"""For any chunks of a provider, the events of a response have the published order, and the same items as the whole answer
has; and a stream that is cut never ends as a whole one does.
"""

from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sekha_llm_bridge.api.responses.output import Output, OutputRules, output_items
from sekha_llm_bridge.api.responses.request import ResponsesRequest
from sekha_llm_bridge.api.responses.response import ResponseFrame, usage_body
from sekha_llm_bridge.api.responses.stream import ResponseStreamEncoder
from sekha_llm_bridge.api.responses.tools import tools_of
from sekha_llm_bridge.conversation import Block, Choice, ChoiceDelta, Reasoning, Refusal, Text, ToolCall, ToolCallDelta
from sekha_llm_bridge.errors import StreamInterrupted
from sekha_llm_bridge.providers.openai.stream import ChunkReader
from sekha_llm_bridge.usage import Usage
from tests.fakes.response_events import Event, check_response_events, parse_response_events
from tests.property.translators.generated import examples

TOOLS: list[Event] = [
    {"type": "function", "name": "f", "parameters": {"type": "object"}},
    {"type": "custom", "name": "patch"},
    {"type": "tool_search", "execution": "client", "parameters": {"type": "object"}},
    {"type": "namespace", "name": "n", "description": "", "tools": [{"type": "function", "name": "f"}]},
]
pieces = st.sampled_from(["", " a", "b\n", "é🐋", '{"input": "x"}'])
details = st.fixed_dictionaries(
    {"type": st.just("reasoning.text"), "text": pieces},
    optional={"signature": st.just("s"), "data": st.just("d"), "format": st.just("anthropic-claude-v1")},
)
calls = st.builds(
    lambda index, name, arguments: {
        "index": index,
        "id": f"call_{index}",
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    },
    st.integers(0, 2),
    st.sampled_from(["f", "patch", "tool_search", "n__f"]),
    pieces,
)
deltas = st.fixed_dictionaries(
    {},
    optional={
        "content": pieces,
        "refusal": pieces,
        "reasoning_content": pieces,
        "reasoning_details": st.lists(details, max_size=2),
        "tool_calls": st.lists(calls, max_size=2),
        "annotations": st.just([{"type": "url_citation", "url_citation": {"url": "https://example.org"}}]),
    },
)
finishes = st.sampled_from([None, None, None, "stop", "length", "content_filter", "tool_calls"])
chunks = st.lists(st.tuples(deltas, finishes), max_size=10)
rules = st.builds(
    OutputRules,
    st.just(tools_of(ResponsesRequest.model_validate({"input": "", "tools": TOOLS}).tools or ())),
    st.booleans(),
    st.booleans(),
)


def encoder(output_rules: OutputRules) -> ResponseStreamEncoder:
    request = ResponsesRequest.model_validate({"input": "Hi", "tools": TOOLS})
    frame = ResponseFrame(request, {"tools": TOOLS}, "resp_1", 1_700_000_000)
    found = ResponseStreamEncoder(frame, output_rules, lambda: 1_700_000_001, "auto")
    found.begin("m")
    return found


def written(found: ResponseStreamEncoder, sent: list[tuple[Event, str | None]]) -> Iterator[bytes]:
    reader = ChunkReader(1, lambda: 1_700_000_000)
    for delta, finish in sent:
        yield found.chunk(reader.read({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}))


@examples
@given(chunks, rules)
def test_a_whole_stream_has_the_published_order_and_everything_that_was_sent(
    sent: list[tuple[Event, str | None]], output_rules: OutputRules
) -> None:
    found = encoder(output_rules)
    raw = [*written(found, sent), found.finish(usage_body(Usage(1, 2), None, is_estimated=False), {"cost": 1})]
    events = parse_response_events(b"".join(raw).decode())
    last = check_response_events(events)
    assert last["bridge"] == {"cost": 1}
    texts = [
        part["text"]
        for item in last["output"]
        if item["type"] == "message"
        for part in item["content"]
        if "text" in part
    ]
    assert "".join(texts) == "".join(delta.get("content", "") for delta, _ in sent)
    finish = next((finish for _, finish in reversed(sent) if finish), None)
    assert (last["status"] == "incomplete") == (finish in {"length", "content_filter"})


@examples
@given(chunks, rules, st.integers(0, 10))
def test_a_stream_that_is_cut_never_ends_as_a_whole_one_does(
    sent: list[tuple[Event, str | None]], output_rules: OutputRules, n_arrived: int
) -> None:
    found = encoder(output_rules)
    raw = [*written(found, sent[:n_arrived]), found.error(StreamInterrupted("cut"), "request-1", {})]
    events = parse_response_events(b"".join(raw).decode())
    assert check_response_events(events)["status"] == "failed"
    assert [event["type"] for event in events[-2:]] == ["error", "response.failed"]
    assert not {"response.completed", "response.incomplete"} & {event["type"] for event in events}


blocks: st.SearchStrategy[Block] = st.one_of(
    pieces.map(Text),
    pieces.map(Refusal),
    st.tuples(pieces, st.sampled_from([None, "s"]), st.sampled_from([None, "d"])).map(
        lambda parts: Reasoning(parts[0], signature=parts[1], encrypted=parts[2])
    ),
    st.tuples(st.sampled_from(["f", "patch"]), pieces).map(lambda parts: ToolCall("c", *parts)),
)


def in_halves(block: Block, n_calls: int) -> list[ChoiceDelta]:
    """A block as two deltas. A signature, and what is encrypted, come with the second."""
    match block:
        case Text(text):
            return [ChoiceDelta(text=half) for half in halves(text)]
        case Refusal(text):
            return [ChoiceDelta(refusal=half) for half in halves(text)]
        case Reasoning(text, _, signature):
            if block.encrypted is not None:
                return [ChoiceDelta(reasoning=(block,))]
            first, second = halves(text)
            return [ChoiceDelta(reasoning=(Reasoning(first), Reasoning(second, signature=signature)))]
        case ToolCall(call_id, name, arguments):
            first, second = halves(arguments)
            begun = ToolCallDelta(n_calls, first, call_id, "function", name)
            return [ChoiceDelta(tool_calls=(begun,)), ChoiceDelta(tool_calls=(ToolCallDelta(n_calls, second),))]
    raise TypeError(type(block).__name__)


def halves(text: str) -> tuple[str, str]:
    return text[: len(text) // 2], text[len(text) // 2 :]


def without_ids(items: list[Any]) -> list[Any]:
    return [{name: value for name, value in item.items() if name != "id"} for item in items]


@examples
@given(st.lists(blocks, max_size=6), rules, finishes)
def test_a_stream_ends_with_the_items_of_the_whole_answer(
    sent: list[Block], output_rules: OutputRules, finish: str | None
) -> None:
    whole = output_items(Choice(0, tuple(sent), finish), output_rules)
    streamed, n_calls = Output(output_rules), 0
    for block in sent:
        for delta in in_halves(block, n_calls):
            streamed.add(delta)
        n_calls += isinstance(block, ToolCall)
    streamed.finish(finish)
    assert without_ids(streamed.items) == without_ids(whole)


def test_an_answer_without_chunks_still_has_a_beginning_and_an_end() -> None:
    found: Any = encoder(OutputRules())
    events = parse_response_events(found.finish(usage_body(None, None, is_estimated=True), {}).decode())
    assert check_response_events(events)["usage"]["estimated"] is True
