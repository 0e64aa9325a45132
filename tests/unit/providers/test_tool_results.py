"""Results of calls for formats that take only texts in them, and system messages for those that take them only first."""

from typing import Any

from sekha_llm_bridge.conversation import Document, Image, Media, Message, Role, Text
from sekha_llm_bridge.providers.system_messages import with_system_as_user
from sekha_llm_bridge.providers.tool_results import with_media_after_results

IMAGE = Image(Media(url="https://example.org/a.png"))
PDF = Document(Media(media_type="application/pdf", data="JVBERi0="))
NOTE = Document(Media(text="a text"))
BELOW = Text("(See the next message of the user.)")


def result(call_id: str, *blocks: Any) -> Message:
    return Message(Role.TOOL, blocks, call_id=call_id)


def user(*blocks: Any) -> Message:
    return Message(Role.USER, blocks, is_text=False)


def origin(call_id: str) -> Text:
    return Text(f"From the result of the call {call_id}:")


def test_media_of_several_results_are_in_one_message_after_the_last_of_them() -> None:
    said = Message(Role.ASSISTANT, (Text("hm"),))
    sent = [said, result("a", Text("x"), IMAGE), result("b", PDF, NOTE), said, result("c", IMAGE), user(Text("y"))]
    assert list(with_media_after_results(sent)) == [
        said,
        result("a", Text("x"), BELOW),
        result("b", NOTE, BELOW),
        user(origin("a"), IMAGE, origin("b"), PDF),
        said,
        result("c", BELOW),
        user(origin("c"), IMAGE, Text("y")),
    ]


def test_results_without_media_stay_as_they_are() -> None:
    sent = [result("a", Text("x")), result("b", NOTE), user(Text("y"), IMAGE)]
    assert list(with_media_after_results(sent)) == sent


def text(value: str) -> dict[str, str]:
    return {"type": "text", "text": value}


def test_later_system_messages_are_joined_with_the_users_beside_them() -> None:
    first: dict[str, Any] = {"role": "system", "content": "one"}
    said: dict[str, Any] = {"role": "assistant", "content": "hm"}
    sent: list[dict[str, Any]] = [
        *(first, {"role": "user", "content": "hi"}, {"role": "developer", "content": [text("two")]}),
        *(said, {"role": "system", "content": "three"}, {"role": "user", "content": [text("go")]}, said),
        *({"role": "user", "content": "on"}, {"role": "user", "content": "and on"}),
    ]
    assert with_system_as_user(sent, n_leading=1) == [
        first,
        {"role": "user", "content": [text("hi"), text("<system_message>\ntwo\n</system_message>")]},
        said,
        {"role": "user", "content": [text("<system_message>\nthree\n</system_message>"), text("go")]},
        *sent[6:],
    ]
