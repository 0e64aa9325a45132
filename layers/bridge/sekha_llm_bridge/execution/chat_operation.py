"""A chat request as an operation, which sends the same request to each candidate, for a buffered or streamed answer."""

from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from sekha_llm_bridge.conversation import ChatAnswer, Conversation, Json
from sekha_llm_bridge.execution.counted_chunks import CountedChunks
from sekha_llm_bridge.execution.output_estimate import OutputEstimate
from sekha_llm_bridge.providers import ChatCall, Provider
from sekha_llm_bridge.routing import Candidate, RouteRequest
from sekha_llm_bridge.usage import Usage

if TYPE_CHECKING:
    from sekha_llm_bridge.media.request_images import RequestImages

_DEFAULT_OUTPUT_TOKENS = 1024
# Of a limit that is a maximum only: agents send 32,000 and more with every request, and few answers have as many.
_LIKELY_OUTPUT_TOKENS = 8192
_LIKELY_PROMPT = Decimal("1.5")  # of the estimate: tokenizers have up to a third more tokens, templates a few
_TEMPLATE_TOKENS = 512


class ChatOperation(NamedTuple):
    """A chat with a buffered answer. `images` fetches its images by URL; None where it has none."""

    route: RouteRequest
    conversation: Conversation
    images: "RequestImages | None" = None

    async def call(self, provider: Provider, candidate: Candidate, *, timeout_s: float) -> ChatAnswer:
        """Returns the model's answer, with an estimated usage where the provider did not count."""
        conversation = await conversation_for(candidate, self.conversation, self.images, timeout_s=timeout_s)
        answer = await provider.chat(chat_call(self.route, conversation, candidate), timeout_s=timeout_s)
        if answer.usage is not None:
            return answer
        output = OutputEstimate()
        for choice in answer.choices:
            output.add_message(choice)
        return answer._replace(usage=Usage(self.route.prompt.estimate, output.tokens), usage_is_estimated=True)


class ChatStreamOperation(NamedTuple):
    """A chat with a streamed answer. `stream_options` is the request's own, or None."""

    route: RouteRequest
    conversation: Conversation
    images: "RequestImages | None" = None
    stream_options: Json | None = None

    async def call(self, provider: Provider, candidate: Candidate, *, timeout_s: float) -> CountedChunks:
        """Returns the model's answer when its first token has arrived."""
        conversation = await conversation_for(candidate, self.conversation, self.images, timeout_s=timeout_s)
        call = chat_call(self.route, conversation, candidate)._replace(stream_options=self.stream_options)
        return await CountedChunks.open(provider.stream(call, timeout_s=timeout_s), self.route.prompt)


async def conversation_for(
    candidate: Candidate, conversation: Conversation, images: "RequestImages | None", *, timeout_s: float
) -> Conversation:
    """Returns the conversation as a candidate takes it: with its images inline, where its provider takes no URLs.

    Raises `ProviderError` as `RequestImages.resolve` does.
    """
    if images is None or candidate.entry.takes_images_by_url:
        return conversation
    from sekha_llm_bridge.media.request_images import ImageLimits  # few requests need it

    limits = ImageLimits.of(candidate.entry.model.vision_capabilities)
    return await images.resolve(conversation, limits=limits, timeout_s=timeout_s)


def chat_call(route: RouteRequest, conversation: Conversation, candidate: Candidate) -> ChatCall:
    """Returns the call of one candidate, with the context window that prompt and answer need: at most, by the prompt's
    upper bound, and probably, by its estimate.
    """
    prompt, model = route.prompt, candidate.entry.model
    images = prompt.images * candidate.entry.estimated_image_tokens
    output = min(candidate.quote.output_cap, route.output_tokens or _DEFAULT_OUTPUT_TOKENS)
    likely_prompt = min(prompt.bound, int(prompt.estimate * _LIKELY_PROMPT) + _TEMPLATE_TOKENS)
    likely_output = output if route.is_output_needed else min(output, _LIKELY_OUTPUT_TOKENS)
    return ChatCall(
        model.model_id,
        conversation,
        candidate.output_cap,
        min(model.context_window, prompt.bound + images + output),
        candidate.price_ceiling,
        model.max_output_tokens,
        context_window=model.context_window,
        likely_context_tokens=min(model.context_window, likely_prompt + images + likely_output),
        marks_prefix=candidate.marks_prefix,
    )
