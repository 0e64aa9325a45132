"""The images of one request as bytes, fetched once for all candidates."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from ipaddress import ip_address
from typing import Any, TypeVar

import pytest

from sekha_llm_bridge.config.models import VisionCapabilities
from sekha_llm_bridge.connections import Connections
from sekha_llm_bridge.conversation import Conversation, Image, Media, Message, Role, Text
from sekha_llm_bridge.errors import CallOutcome, FailureKind, ProviderError
from sekha_llm_bridge.media.fetch import ImageFetcher
from sekha_llm_bridge.media.request_images import MAX_FETCHES, ImageLimits, RequestImages
from tests.fakes.clock import FakeClock
from tests.fakes.image_server import Answer, ImageServer, image_server, ok
from tests.fakes.images import TEXT, gif, jpeg, png

T = TypeVar("T")
INLINE = Image(Media(media_type="image/png", data="AAAA"))
NO_LIMITS = ImageLimits()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "ALL_PROXY", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


async def loopback(host: str, port: int) -> Sequence[str]:
    return ["127.0.0.1"]


def request_images(made: list[ImageFetcher] | None = None) -> RequestImages:
    def fetcher() -> ImageFetcher:
        is_loopback = ip_address("127.0.0.1").__eq__
        one = ImageFetcher(Connections(FakeClock()).tls_context, resolve=loopback, is_allowed=is_loopback)
        if made is not None:
            made.append(one)
        return one

    return RequestImages(fetcher)


def image(url: str) -> Image:
    return Image(Media(url=url), detail="low")


def conversation(*blocks: Image | Text) -> Conversation:
    return Conversation((Message(Role.SYSTEM, (Text("Be brief."),)), Message(Role.USER, blocks, is_text=False)))


def with_server(answers: dict[str, Answer], use: Callable[[ImageServer], Coroutine[Any, Any, T]]) -> T:
    async def run() -> T:
        async with image_server(answers) as server:
            return await use(server)

    return asyncio.run(run())


def failure_of(answer: Answer, limits: ImageLimits = NO_LIMITS) -> ProviderError:
    async def use(server: ImageServer) -> None:
        asked = conversation(Text("What is it?"), image(server.url("/x.png")))
        await request_images().resolve(asked, limits=limits, timeout_s=10)

    with pytest.raises(ProviderError) as caught:
        with_server({"/x.png": answer}, use)
    return caught.value


def test_an_image_by_url_becomes_inline_and_everything_else_stays() -> None:
    async def use(server: ImageServer) -> None:
        asked = conversation(Text("What is it?"), image(server.url("/x.png")), INLINE)
        found = await request_images().resolve(asked, limits=NO_LIMITS, timeout_s=10)
        data = base64.b64encode(jpeg()).decode()
        fetched = Image(Media(media_type="image/jpeg", data=data), detail="low")
        assert found == conversation(Text("What is it?"), fetched, INLINE)
        assert asked.messages[1].blocks[1] == image(server.url("/x.png"))

    with_server({"/x.png": ok(jpeg())}, use)


def test_an_image_in_the_result_of_a_tool_becomes_inline() -> None:
    async def use(server: ImageServer) -> None:
        result = Message(Role.TOOL, (image(server.url("/x.png")),), call_id="c", is_text=False)
        found = await request_images().resolve(Conversation((result,)), limits=NO_LIMITS, timeout_s=10)
        block = found.messages[0].blocks[0]
        assert isinstance(block, Image)
        assert block.media == Media(media_type="image/png", data=base64.b64encode(png()).decode())
        assert found.messages[0].call_id == "c"

    with_server({"/x.png": ok(png())}, use)


def test_nothing_is_made_or_fetched_where_no_image_is_by_url() -> None:
    made: list[ImageFetcher] = []
    asked = conversation(Text("Hello"), INLINE)
    found = asyncio.run(request_images(made).resolve(asked, limits=NO_LIMITS, timeout_s=10))
    assert found is asked
    assert made == []


def test_each_image_is_fetched_once_for_all_candidates_and_messages() -> None:
    async def use(server: ImageServer) -> None:
        images = request_images()
        asked = conversation(*[image(server.url("/x.png"))] * 3, image(server.url("/y.gif")))
        first = await images.resolve(asked, limits=NO_LIMITS, timeout_s=10)
        assert await images.resolve(asked, limits=NO_LIMITS, timeout_s=10) == first
        assert sorted(request.split()[1] for request in server.requests) == ["/x.png", "/y.gif"]

    with_server({"/x.png": ok(png()), "/y.gif": ok(gif())}, use)


def test_an_attempt_that_was_cancelled_leaves_the_next_one_what_was_fetched() -> None:
    async def slow() -> AsyncIterator[bytes]:
        await asyncio.sleep(0.4)
        yield ok(png())

    async def use(server: ImageServer) -> None:
        images = request_images()
        asked = conversation(image(server.url("/x.png")), image(server.url("/slow.png")))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await images.resolve(asked, limits=NO_LIMITS, timeout_s=10)
        await images.resolve(asked, limits=NO_LIMITS, timeout_s=10)
        assert sorted(request.split()[1] for request in server.requests) == ["/slow.png", "/slow.png", "/x.png"]

    with_server({"/x.png": ok(png()), "/slow.png": slow}, use)


def test_a_few_images_are_fetched_at_the_same_time_and_no_more() -> None:
    async def slow() -> AsyncIterator[bytes]:
        await asyncio.sleep(0.05)
        yield ok(png())

    async def use(server: ImageServer) -> int:
        asked = conversation(*(image(server.url(f"/{i}")) for i in range(12)))
        await request_images().resolve(asked, limits=NO_LIMITS, timeout_s=10)
        return server.most_open

    assert with_server({f"/{i}": slow for i in range(12)}, use) == MAX_FETCHES


@pytest.mark.parametrize("answer", [b"HTTP/1.1 404 x\r\nContent-Length: 0\r\n\r\n", ok(TEXT), b"nonsense"])
def test_an_image_that_cannot_be_fetched_is_the_callers_and_counts_against_no_breaker(answer: Answer) -> None:
    error = failure_of(answer)
    assert error.kind is FailureKind.REQUEST_REJECTED
    assert (error.status, error.param) == (400, "messages[1].content[1].image_url.url")
    assert error.kind.outcome is CallOutcome.NEUTRAL
    assert not error.kind.try_next
    assert not error.failure.may_be_billed


def test_an_image_that_this_model_does_not_take_leaves_the_next_model_to_try() -> None:
    only_jpeg = ImageLimits.of(VisionCapabilities(supported_formats=("jpg",), max_image_size_mb=1, max_images=1))
    error = failure_of(ok(png()), only_jpeg)
    assert error.kind is FailureKind.CANDIDATE_UNSUITABLE
    assert str(error) == "the model takes no png images"
    assert error.failure.unsupported_feature is None  # another image is another matter
    tiny = ImageLimits.of(VisionCapabilities(max_image_size_mb=0.001))
    assert "up to 0.001 MB" in str(failure_of(ok(png(padding=2000)), tiny))


def test_a_bridge_behind_a_proxy_leaves_the_image_to_the_next_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    assert failure_of(ok(png())).kind is FailureKind.CANDIDATE_UNSUITABLE


def test_half_of_the_attempts_time_is_left_for_the_provider() -> None:
    async def silence() -> AsyncIterator[bytes]:
        await asyncio.sleep(30)
        yield b""

    async def use(server: ImageServer) -> float:
        started_s = time.monotonic()
        asked = conversation(*(image(server.url(f"/{i}")) for i in range(8)))
        with pytest.raises(ProviderError, match="could not be fetched in time"):
            await request_images().resolve(asked, limits=NO_LIMITS, timeout_s=0.6)
        return time.monotonic() - started_s

    assert 0.25 < with_server({f"/{i}": silence for i in range(8)}, use) < 2


def test_the_images_of_a_request_have_a_total_limit() -> None:
    large = ok(png(padding=19_000_000))

    async def use(server: ImageServer) -> None:
        images = request_images()
        await images.resolve(conversation(image(server.url("/0"))), limits=NO_LIMITS, timeout_s=60)
        asked = conversation(*(image(server.url(f"/{i}")) for i in range(4)))
        with pytest.raises(ProviderError, match="more than 50 MB"):
            await images.resolve(asked, limits=NO_LIMITS, timeout_s=60)

    with_server({f"/{i}": large for i in range(4)}, use)
