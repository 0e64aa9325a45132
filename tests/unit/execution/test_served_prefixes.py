"""The memory of which model has served the beginning of a prompt: bounded, short, and without the prompt itself."""

from typing import Any

import pytest

from sekha_llm_bridge.api.chat.conversation import conversation_of
from sekha_llm_bridge.execution.served_prefixes import ServedPrefixes, prefix_key
from tests.fakes.clock import FakeClock

A, B = ("a", "m"), ("b", "m")
SYSTEM = {"role": "system", "content": "Be brief."}
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]


def key(*messages: dict[str, Any], **fields: Any) -> bytes:
    return prefix_key(conversation_of({"messages": list(messages), **fields}))


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def test_the_model_that_has_answered_last_is_remembered_for_five_minutes() -> None:
    clock = FakeClock()
    served = ServedPrefixes(clock)
    assert served.model(b"x") is None
    served.add(b"x", A)
    clock.advance(299)
    assert served.model(b"x") == A
    served.add(b"x", B)
    clock.advance(299)
    assert served.model(b"x") == B
    clock.advance(1)
    assert served.model(b"x") is None


def test_the_time_in_which_the_environment_is_frozen_counts() -> None:
    clock = FakeClock()
    served = ServedPrefixes(clock)
    served.add(b"x", A)
    clock.freeze(300)
    assert served.model(b"x") is None


def test_only_the_last_used_ones_are_kept() -> None:
    served = ServedPrefixes(FakeClock(), max_prefixes=2)
    for prefix in (b"x", b"y", b"x", b"z"):
        served.add(prefix, A)
    assert [served.model(prefix) for prefix in (b"x", b"y", b"z")] == [A, None, A]
    assert len(served) == 2


def test_later_turns_of_a_conversation_have_the_same_key() -> None:
    first = key(SYSTEM, user("a"), tools=TOOLS)
    assert key(SYSTEM, user("a"), {"role": "assistant", "content": "b"}, user("c"), tools=TOOLS) == first
    assert key(SYSTEM, user("other"), tools=TOOLS) == first
    assert key(SYSTEM, user("a"), tools=TOOLS, temperature=0.5) == first


@pytest.mark.parametrize(
    "other",
    [
        key({**SYSTEM, "content": "Be brief!"}, user("a"), tools=TOOLS),
        key(SYSTEM, user("a")),
        key(user("a"), tools=TOOLS),
        key(user("a")),
    ],
    ids=["system", "no tools", "no system", "neither"],
)
def test_another_system_prompt_or_other_tools_are_another_beginning(other: bytes) -> None:
    assert key(SYSTEM, user("a"), tools=TOOLS) != other


def test_without_system_prompt_and_tools_the_first_message_is_the_beginning() -> None:
    assert key(user("a")) == key(user("a"), {"role": "assistant", "content": "b"}, user("c"))
    assert key(user("a")) != key(user("b"))


def image(data: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}


def test_two_images_are_two_beginnings_also_where_they_begin_alike() -> None:
    one, other, longer = (
        key({"role": "user", "content": [image(data), {"type": "text", "text": "?"}]})
        for data in ("A" * 9000, "B" * 9000, "A" * 9004)
    )
    assert len({one, other, longer}) == 3


def test_a_key_is_a_hash_of_sixteen_bytes() -> None:
    assert len(key(user("a" * 10_000))) == 16
