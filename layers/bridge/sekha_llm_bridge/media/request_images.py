"""The images of one request as bytes, for adapters that do not send URLs to their provider."""

import asyncio
import base64
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from sekha_llm_bridge.config.models import VisionCapabilities
from sekha_llm_bridge.conversation import Block, Conversation, Image, Media
from sekha_llm_bridge.errors import FailureKind, InvalidRequest, ProviderError
from sekha_llm_bridge.media.fetch import ByteBudget, ImageFetcher, ProxyRequired
from sekha_llm_bridge.media.inspect import COMMON_FORMATS, format_names

MAX_FETCHES = 4  # at the same time
MAX_FETCH_S = 20.0

ParamOf = Callable[[int, int], str]
"""Returns the path of an image's URL in the caller's request, from the index of its message and of its block."""


class ImageLimits(NamedTuple):
    """What one model accepts of each image."""

    formats: frozenset[str] = COMMON_FORMATS
    max_bytes: float = float("inf")

    @classmethod
    def of(cls, capabilities: VisionCapabilities | None) -> "ImageLimits":
        """Returns the limits of a configured model; without any, those that every model has."""
        if capabilities is None:
            return cls()
        return cls(format_names(capabilities.supported_formats), capabilities.max_image_size_mb * 1_000_000)


def chat_param(message: int, block: int) -> str:
    """Returns the path of an image's URL in OpenAI's chat request."""
    return f"messages[{message}].content[{block}].image_url.url"


class _Inline(NamedTuple):
    media: Media
    n_bytes: int


class RequestImages:
    """The images by URL of one inbound request. Each is fetched once, for all candidates, and only when one needs it.

    `fetcher` makes the fetcher when the first image is fetched.
    """

    def __init__(self, fetcher: Callable[[], ImageFetcher], *, param_of: ParamOf = chat_param) -> None:
        self._fetcher, self._param_of = fetcher, param_of
        self._fetched: dict[str, _Inline] = {}

    async def resolve(self, conversation: Conversation, *, limits: ImageLimits, timeout_s: float) -> Conversation:
        """Returns the conversation with every http(s) image as inline data. Other images stay as they are.

        Fetches within half of `timeout_s`, so that the provider has the other half. Raises `ProviderError`, which does
        not count against the provider: REQUEST_REJECTED for an image that cannot be fetched, which is the caller's to
        correct; CANDIDATE_UNSUITABLE for one that this model does not take, or where the bridge itself cannot fetch.
        """
        params = {url: self._param_of(message, block) for message, block, url in _links(conversation)}
        if not params:
            return conversation
        missing = {url: param for url, param in params.items() if url not in self._fetched}
        await self._fetch(missing, timeout_s=min(MAX_FETCH_S, timeout_s / 2))
        for url, param in params.items():
            _check(self._fetched[url], limits, param)
        messages = (
            message._replace(blocks=tuple(map(self._inline, message.blocks))) for message in conversation.messages
        )
        return conversation._replace(messages=tuple(messages), original=None)

    async def _fetch(self, params: Mapping[str, str], *, timeout_s: float) -> None:
        """Fetches the images at these URLs. The first failure ends all."""
        budget = ByteBudget(used=sum(one.n_bytes for one in self._fetched.values()))
        fetcher, slots = self._fetcher(), asyncio.Semaphore(MAX_FETCHES)
        ends_at_s = asyncio.get_running_loop().time() + timeout_s

        async def fetch(url: str, param: str) -> None:
            async with slots:
                left_s = max(0.0, ends_at_s - asyncio.get_running_loop().time())
                image = await fetcher.fetch(url, timeout_s=left_s, budget=budget, param=param)
            data = base64.b64encode(image.data).decode()
            self._fetched[url] = _Inline(Media(media_type=image.media_type, data=data), len(image.data))

        try:
            async with asyncio.TaskGroup() as group:
                for url, param in params.items():
                    group.create_task(fetch(url, param))
        except* (InvalidRequest, ProxyRequired) as failed:
            raise _failure(failed) from failed

    def _inline(self, block: Block) -> Block:
        if isinstance(block, Image) and block.media.url in self._fetched:
            return block._replace(media=self._fetched[block.media.url].media)
        return block


def _links(conversation: Conversation) -> Iterator[tuple[int, int, str]]:
    """Yields (index of the message, index of the block, URL) of every image by URL."""
    for i, message in enumerate(conversation.messages):
        for j, block in enumerate(message.blocks):
            if isinstance(block, Image) and (url := block.media.url) and url[:4].lower() == "http":
                yield i, j, url


def _check(image: _Inline, limits: ImageLimits, param: str) -> None:
    image_format = (image.media.media_type or "").removeprefix("image/")
    fault = None
    if image_format not in limits.formats:
        fault = f"takes no {image_format} images"
    elif image.n_bytes > limits.max_bytes:
        fault = f"takes images of up to {limits.max_bytes / 1_000_000:g} MB, and the one at the URL is larger"
    if fault is not None:
        raise ProviderError(FailureKind.CANDIDATE_UNSUITABLE, f"the model {fault}", param=param)


def _failure(failed: BaseExceptionGroup[InvalidRequest | ProxyRequired]) -> ProviderError:
    """Returns the error for the first failure of a task group, which has no groups within."""
    first = failed.exceptions[0]
    if isinstance(first, InvalidRequest):
        return ProviderError(FailureKind.REQUEST_REJECTED, str(first), param=first.param)
    return ProviderError(FailureKind.CANDIDATE_UNSUITABLE, str(first))
