"""The calls of models that one request makes: through the router, within one deadline and one cost limit."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, TypeVar

from fastapi import Request

from sekha_llm_bridge.api.chat.conversation import conversation_of
from sekha_llm_bridge.api.chat.request import ChatRequest
from sekha_llm_bridge.api.chat.routing import provider_request, route_request
from sekha_llm_bridge.api.memory.answers import AnswerFault
from sekha_llm_bridge.api.memory.prompts import Messages, with_fault
from sekha_llm_bridge.api.memory.request import MemoryRequest
from sekha_llm_bridge.api.parsing import validated
from sekha_llm_bridge.api.request_state import RESPONSE_TIMEOUT_S, attempts_of, bridge_of, deadline_of
from sekha_llm_bridge.conversation import ChatAnswer, Conversation, FinishReason, Refusal, Text
from sekha_llm_bridge.errors import (
    BridgeError,
    ContextLengthExceeded,
    CostLimitExceeded,
    FailureKind,
    NoCapableModel,
    NoProviderAvailable,
    ProviderError,
    RateLimited,
    UnusableAnswer,
)
from sekha_llm_bridge.execution import Receipt
from sekha_llm_bridge.execution.attempts import cost_bound_usd, known_cost_usd, spent_usd, usd
from sekha_llm_bridge.execution.chat_operation import ChatOperation
from sekha_llm_bridge.routing import ExclusionKind, RouteRequest

T = TypeVar("T")
_MAX_ASKED = 2  # the first time, and once more with the fault named
_SAFETY = 1.3  # tokenizers of other vendors produce up to a third more tokens than the estimate


class TextTooLong(Exception):
    """No model that may answer now has a context window for the text; a shorter one may fit. The cause is the error
    for the caller, if there is nothing shorter to ask."""


class _Unusable(Exception):
    """An answer that cannot be used, and why."""

    def __init__(self, answer: str, fault: str) -> None:
        super().__init__(fault)
        self.answer = answer


@dataclass
class ModelCalls:
    """The calls of one request. `text_field` is the field of the request that has the text. `tokens_used` is the sum of
    all answers, by the provider's count or an estimate.
    """

    request: Request
    options: MemoryRequest
    text_field: str
    tokens_used: int = 0
    _receipt: Receipt | None = None

    def __post_init__(self) -> None:
        """Starts the time of the request."""
        self._bridge = bridge_of(self.request)
        self._deadline = deadline_of(self.request).at_most(RESPONSE_TIMEOUT_S)
        self._attempts = attempts_of(self.request)

    @property
    def model_id(self) -> str:
        """The model that answered last."""
        return self._receipt.model_id if self._receipt else ""

    def receipt(self) -> dict[str, object]:
        """Returns the `bridge` object: that of the last answer, with the attempts and the cost of all."""
        if self._receipt is None:
            return {}
        attempts = self._attempts.attempts
        return {
            **self._receipt.public(),
            "attempts": [attempt.public() for attempt in attempts],
            "cost": usd(known_cost_usd(attempts)),
            "cost_bound": usd(cost_bound_usd(attempts)),
        }

    async def text(self, messages: Messages, *, max_tokens: int) -> str:
        """Returns a text. Raises `TextTooLong`, and otherwise as `json` does."""
        return await self._usable(messages, lambda answer: answer, max_tokens=max_tokens, must_fit=True)

    async def json(
        self, messages: Messages, name: str, schema: Mapping[str, Any], read: Callable[[str], T], *, max_tokens: int
    ) -> T:
        """Returns what `read` makes of an answer with that JSON schema; `read` raises `AnswerFault` for
        one that cannot be used, which the model is told once. Where no model has JSON schemas, it is asked without.

        Raises `UnusableAnswer`, and the errors of a chat.
        """
        described = {"name": name, "strict": True, "schema": schema}
        form: dict[str, Any] | None = {"type": "json_schema", "json_schema": described}
        try:
            return await self._usable(messages, read, max_tokens=max_tokens, response_format=form)
        except NoCapableModel:
            pass
        except ProviderError as exc:
            if exc.kind is not FailureKind.CANDIDATE_UNSUITABLE:
                raise
        return await self._usable(messages, read, max_tokens=max_tokens)

    async def _usable(self, messages: Messages, read: Callable[[str], T], **wanted: Any) -> T:
        fault = ""
        for _ in range(_MAX_ASKED):
            try:
                answer = await self._ask(messages, **wanted)
                try:
                    return read(answer)
                except AnswerFault as exc:
                    raise _Unusable(answer, str(exc)) from exc
            except _Unusable as exc:
                fault = str(exc)
                messages = with_fault(messages, exc.answer, fault)
        model = self.model_id
        raise UnusableAnswer(f"the answer of {model} cannot be used, also when it was asked again: {fault}")

    async def _ask(
        self,
        messages: Messages,
        *,
        max_tokens: int,
        response_format: Mapping[str, Any] | None = None,
        must_fit: bool = False,
    ) -> str:
        fields = {
            "model": self.options.model,
            "preferred_model": self.options.preferred_model,
            "task": self.options.task,
            "max_cost": self._left_usd(),
            "messages": messages,
            "max_tokens": max_tokens,
            "response_format": response_format,
        }
        fields = {name: value for name, value in fields.items() if value is not None}
        body = provider_request(fields)
        conversation = conversation_of(body)
        route = route_request(validated(ChatRequest, fields), body, conversation, self._bridge)
        if must_fit:
            route = _with_safe_window(route, max_tokens)
        operation = ChatOperation(route, conversation)
        try:
            result = await self._bridge.service.run(operation, self._deadline, self._attempts)
        except (ContextLengthExceeded, CostLimitExceeded, NoProviderAvailable, RateLimited) as exc:
            if must_fit and await self._may_fit_if_shorter(exc, route, conversation):
                raise TextTooLong from self._about_field(exc)
            raise self._about_field(exc) from exc
        self._receipt = result.receipt
        if result.answer.usage is not None:
            self.tokens_used += result.answer.usage.prompt_tokens + result.answer.usage.completion_tokens
        return _text_of(result.answer)

    async def _may_fit_if_shorter(self, error: Exception, route: RouteRequest, conversation: Conversation) -> bool:
        """Returns whether a shorter text has more models: some are excluded by their context windows only."""
        if isinstance(error, ContextLengthExceeded):
            return True
        plan = await self._bridge.service.explain(route, self._deadline, conversation)
        return bool(plan.excluded_by(ExclusionKind.CONTEXT))

    def _about_field(self, error: BridgeError) -> BridgeError:
        """Returns an error about the messages that a model was sent as one about the field that the caller sent."""
        if not isinstance(error, ContextLengthExceeded):
            return error
        return ContextLengthExceeded(str(error).replace("messages", self.text_field, 1), param=self.text_field)

    def _left_usd(self) -> Decimal | None:
        """Returns what the earlier calls of the request leave of its cost limit."""
        limits = (self.options.max_cost, self._bridge.settings.routing.max_cost_per_request)
        limit_usd = min((usd for usd in limits if usd is not None), default=None)
        return None if limit_usd is None else max(limit_usd - spent_usd(self._attempts.attempts), Decimal(0))


def _with_safe_window(route: RouteRequest, max_tokens: int) -> RouteRequest:
    """Returns the request for models whose window surely holds it: a server may cut off a longer one silently."""
    return replace(route, context_tokens=int(route.prompt.estimate * _SAFETY) + max_tokens)


def _text_of(answer: ChatAnswer) -> str:
    """Returns the text of an answer. Raises `_Unusable` for one that was refused, is empty or is not complete."""
    choice = answer.choices[0]
    text = "".join(block.text for block in choice.blocks if isinstance(block, Text)).strip()
    if any(isinstance(block, Refusal) for block in choice.blocks):
        raise _Unusable(text, "it is a refusal")
    if choice.finish_reason == FinishReason.LENGTH:
        raise _Unusable(text, "it was cut off at its maximum length; be shorter")
    if not text:
        raise _Unusable("", "it is empty")
    return text
