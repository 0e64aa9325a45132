"""For any chunks of a provider, the client gets the same answer: nothing is lost, repeated or out of order, and finish
reasons come only at the end.
"""

import json
from collections import defaultdict
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sekha_llm_bridge.api.chat.events import ChunkEvents
from sekha_llm_bridge.providers.openai.stream import ChunkReader

deltas = st.fixed_dictionaries(
    {}, optional={"content": st.sampled_from(["", " a", "b\n", "é🐋"]), "role": st.just("assistant"), "x": st.just([1])}
)
choices = st.builds(
    lambda index, delta, finish: {"index": index, "delta": delta, "finish_reason": finish},
    st.integers(0, 2),
    deltas,
    st.sampled_from([None, None, None, "stop", "length"]),
)
frames = st.fixed_dictionaries({}, optional={"filtered": st.integers(0, 9), "usage": st.none()})
events = st.lists(
    st.builds(lambda frame, some: {**frame, "choices": some}, frames, st.lists(choices, max_size=2)), max_size=12
)


def texts(chunks: list[dict[str, Any]]) -> dict[int, str]:
    """The text of each choice."""
    text_by_index: dict[int, str] = defaultdict(str)
    for chunk in chunks:
        for choice in chunk["choices"]:
            text_by_index[choice["index"]] += choice["delta"].get("content") or ""
    return dict(text_by_index)


@given(sent=events, with_usage=st.booleans())
def test_a_client_gets_the_answer_that_was_sent_with_its_finish_reasons_only_at_the_end(
    sent: list[dict[str, Any]], *, with_usage: bool
) -> None:
    reader, writer = ChunkReader(1, lambda: 1_700_000_000), ChunkEvents(with_usage=with_usage)
    raw = [writer.encode(reader.read(event)) for event in sent]
    raw.append(writer.end({"total_tokens": 1}, {"cost": 1}))
    *written, done = b"".join(raw).decode().removesuffix("\n\n").split("\n\n")
    assert done == "data: [DONE]"
    chunks = [json.loads(event.removeprefix("data: ")) for event in written]
    *before, last = chunks[:-1] if with_usage else chunks
    assert texts([*before, last]) == texts(sent)
    assert not any(choice["finish_reason"] for chunk in before for choice in chunk["choices"])
    ends = {c["index"]: c["finish_reason"] for event in sent for c in event["choices"] if c["finish_reason"]}
    assert {choice["index"]: choice["finish_reason"] for choice in last["choices"]} == ends
    roles = [choice["index"] for chunk in chunks for choice in chunk["choices"] if "role" in choice["delta"]]
    assert sorted(roles) == sorted(texts(sent))
    assert "bridge" in chunks[-1]
    assert not any("bridge" in chunk for chunk in chunks[:-1])
    assert {value for event in sent if (value := event.get("filtered")) is not None} >= {
        chunk["filtered"] for chunk in chunks if "filtered" in chunk
    }
