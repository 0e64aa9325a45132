"""Images in chat requests: inline ones by their bytes, the guide's requests, and what a model must accept."""

import base64
import time
from typing import Any

import pytest

from sekha_llm_bridge.api.conversations.images import check_image_url, image_needs, media_of_url
from tests.fakes.functions import Function, FunctionResponse
from tests.fakes.images import AVIF, BMP, HTML, PDF, SVG, TEXT, TIFF, gif, jpeg, png, webp
from tests.fakes.provider import FakeProvider
from tests.fakes.settings import chat_model, provider
from tests.unit.api.chat_function import PATH, error, function

GUIDE_URL = "https://example.com/image.jpg"


def inline(data: bytes, subtype: str = "png") -> str:
    return f"data:image/{subtype};base64,{base64.b64encode(data).decode()}"


def sees(fake: FakeProvider, **fields: Any) -> Function:
    """A chat function with one model that accepts images."""
    model = chat_model("sees", supports_vision=True, **fields)
    return function(provider("p", chat_model("blind"), model, base_url=f"{fake.url}/v1"))


def look(chat: Function, *urls: str, **fields: Any) -> FunctionResponse:
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    content = [{"type": "text", "text": "What's in this image?"}, *parts]
    return chat("POST", PATH, {"messages": [{"role": "user", "content": content}], **fields})


@pytest.mark.parametrize(
    ("data", "subtype", "sent"),
    [(png(), "png", "png"), (jpeg(), "jpeg", "jpeg"), (jpeg(), "jpg", "jpeg"), (gif(), "gif", "gif"),
     (webp(), "webp", "webp"), (webp(b"VP8X"), "WEBP", "webp"), (jpeg(), "png", "jpeg")],
)  # fmt: skip
def test_an_inline_image_is_sent_unchanged_with_the_type_of_its_bytes(
    fake: FakeProvider, data: bytes, subtype: str, sent: str
) -> None:
    assert look(sees(fake), inline(data, subtype)).status == 200
    assert fake.received[0].body["messages"][0]["content"][1]["image_url"]["url"] == inline(data, sent)


@pytest.mark.parametrize(
    ("data", "words"),
    [(TEXT, "its content is text"), (HTML, "its content is an HTML page"), (PDF, "its content is a PDF document"),
     (b"\0\1\2\3" * 9, "its content is of an unknown format"), (b"ABC", "its content is text"),
     (png()[:20], "a damaged image"), (jpeg()[:12], "a damaged image")],
)  # fmt: skip
def test_an_inline_image_that_is_none_is_a_400_for_its_field(fake: FakeProvider, data: bytes, words: str) -> None:
    answer = look(sees(fake), GUIDE_URL, inline(data))
    assert answer.status == 400
    assert error(answer)["param"] == "messages[0].content[2].image_url.url"
    assert words in error(answer)["message"]
    assert fake.received == []


@pytest.mark.parametrize(
    "bomb", [png(50_000, 50_000), jpeg(65_000, 65_000), gif(1, 1, image=(65_535, 65_535)), webp(b"VP8X", 10**7, 100)]
)
def test_an_inline_image_of_too_many_pixels_is_a_400(fake: FakeProvider, bomb: bytes) -> None:
    answer = look(sees(fake), inline(bomb))
    assert answer.status == 400
    assert "more than 100 million" in error(answer)["message"]


@pytest.mark.parametrize(
    ("data", "subtype", "name"),
    [
        (TIFF, "tiff", "tiff"),
        (TIFF, "png", "tiff"),
        (BMP, "bmp", "bmp"),
        (SVG, "svg+xml", "svg"),
        (AVIF, "avif", "avif"),
    ],
)
def test_an_unusual_format_is_a_400_that_names_it(fake: FakeProvider, data: bytes, subtype: str, name: str) -> None:
    answer = look(sees(fake), inline(data, subtype))
    assert answer.status == 400
    assert error(answer)["code"] == "no_capable_model"
    assert f"is not known to take {name} images" in error(answer)["message"]
    limited = look(sees(fake, vision_capabilities={}), inline(data, subtype))
    assert f"takes no {name} images" in error(limited)["message"]


@pytest.mark.parametrize("name", ["tiff", "tif", "image/tiff", ".TIFF"])
def test_an_unusual_format_goes_to_the_model_that_lists_it(fake: FakeProvider, name: str) -> None:
    takes_tiff = chat_model("scans", supports_vision=True, vision_capabilities={"supported_formats": [name]})
    chat = function(provider("p", chat_model("sees", supports_vision=True), takes_tiff, base_url=f"{fake.url}/v1"))
    assert look(chat, inline(TIFF, "tiff")).json()["model"] == "scans"
    assert look(chat, inline(png())).json()["model"] == "sees"


def test_a_format_that_only_the_sender_can_know_goes_to_the_model_that_lists_it(fake: FakeProvider) -> None:
    raw = inline(b"\0\1\2\3" * 9, "x-raw")
    assert look(sees(fake), raw).status == 400
    assert look(sees(fake, vision_capabilities={"supported_formats": ["x-raw"]}), raw).status == 200


def test_number_and_size_of_images_are_limited_as_configured(fake: FakeProvider) -> None:
    chat = sees(fake, vision_capabilities={"max_images": 2, "max_image_size_mb": 0.01})
    small, large = inline(png()), inline(png(padding=10_000))
    assert look(chat, small, GUIDE_URL).status == 200
    assert "takes 2 images, not 3" in error(look(chat, small, small, GUIDE_URL))["message"]
    assert "takes images of up to 0.01 MB" in error(look(chat, large))["message"]


def test_number_and_size_have_no_limit_where_none_is_configured(fake: FakeProvider) -> None:
    assert look(sees(fake), *[inline(png(padding=10_000))] * 30).status == 200


def test_the_default_limits_are_those_of_the_contract(fake: FakeProvider) -> None:
    chat = sees(fake, vision_capabilities={})
    assert look(chat, *[inline(png())] * 10).status == 200
    assert "takes 10 images, not 11" in error(look(chat, *[inline(png())] * 11))["message"]


def test_an_image_inside_the_result_of_a_tool_is_checked_and_counted(fake: FakeProvider) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "photo", "arguments": "{}"}}
    part = {"type": "image_url", "image_url": {"url": inline(png())}}
    messages = [
        {"role": "user", "content": "Look."},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": [part]},
    ]
    assert sees(fake)("POST", PATH, {"messages": messages}).json()["model"] == "sees"
    part["image_url"] = {"url": inline(TEXT)}
    answer = sees(fake)("POST", PATH, {"messages": messages})
    assert error(answer)["param"] == "messages[2].content[0].image_url.url"


@pytest.mark.parametrize("text", ["====", "=", "A", "AAAA=AAA", "AAAA===", "AA AA", "ÄÄÄÄ", "AAAA\n", "-_-_", ""])
def test_text_that_is_no_base64_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="data: URL must be"):
        check_image_url(f"data:image/png;base64,{text}")


def test_base64_without_its_padding_is_read() -> None:
    url = inline(png(padding=1)).rstrip("=")
    assert inline(png(padding=1)).endswith("=")
    check_image_url(url)
    assert image_needs([media_of_url(url)]).largest_bytes == len(png(padding=1))


def test_formats_and_sizes_come_from_the_bytes() -> None:
    needs = image_needs(
        [media_of_url(url) for url in (inline(jpeg(), "png"), inline(png(padding=5), "png"), GUIDE_URL)]
    )
    assert (needs.count, needs.formats, needs.largest_bytes) == (3, frozenset({"jpeg", "png"}), len(png(padding=5)))
    assert needs.by_url
    assert not image_needs([media_of_url(inline(png()))]).by_url


def test_a_large_inline_image_is_checked_without_being_decoded() -> None:
    """A scan of the text for other characters costs about half a millisecond a megabyte, a decoder several times that.

    The limit is far above that, for busy machines; with a regular expression over the text it took 14 ms.
    """
    url = inline(png(padding=7_500_000))
    media = media_of_url(url)
    durations_s = []
    for _ in range(5):
        started_s = time.perf_counter()
        check_image_url(url)
        image_needs([media])
        durations_s.append(time.perf_counter() - started_s)
    assert min(durations_s) < 0.05


# The requests of the migration guide, "Vision Messages" and "Basic chat".


def guide_providers(fake: FakeProvider) -> Function:
    models = (
        chat_model("gpt-4o-mini", supports_vision=False),
        chat_model("gpt-4o", task="chat_smart", supports_vision=True),
    )
    return function(provider("openai_prod", *models, base_url=f"{fake.url}/v1"))


def test_the_guides_vision_request_is_answered_by_gpt_4o(fake: FakeProvider) -> None:
    answer = look(guide_providers(fake), GUIDE_URL, model="gpt-4o", require_vision=True)
    assert answer.status == 200
    assert answer.json()["model"] == "gpt-4o"
    assert fake.received[0].body["messages"][0]["content"][1]["image_url"]["url"] == GUIDE_URL
    assert "require_vision" not in fake.received[0].body


def test_images_without_the_flag_need_a_vision_model_as_well(fake: FakeProvider) -> None:
    assert look(guide_providers(fake), GUIDE_URL, model="auto").json()["model"] == "gpt-4o"
    assert look(guide_providers(fake), GUIDE_URL, require_vision=False).json()["model"] == "gpt-4o"


def test_require_vision_without_an_image_takes_a_vision_model(fake: FakeProvider) -> None:
    chat = guide_providers(fake)
    hello = [{"role": "user", "content": "Hello"}]
    assert chat("POST", PATH, {"messages": hello, "require_vision": True}).json()["model"] == "gpt-4o"
    assert chat("POST", PATH, {"messages": hello, "require_vision": False}).json()["model"] == "gpt-4o-mini"


def test_an_image_for_a_named_model_without_vision_is_a_400(fake: FakeProvider) -> None:
    answer = look(guide_providers(fake), GUIDE_URL, model="gpt-4o-mini")
    assert answer.status == 400
    assert "cannot see images" in error(answer)["message"]
