"""The calls of models that one request makes: through the router, within one deadline and one cost limit."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

from fastapi import Request

from sekha_llm_bridge.api.chat.conversation import conversation_of
from sekha_llm_bridge.api.chat.request import ChatRequest
from sekha_llm_bridge.api.chat.routing import provider_request
from sekha_llm_bridge.api.conversations.options import Options
from sekha_llm_bridge.api.conversations.routing import route_request
from sekha_llm_bridge.api.memory.answers import AnswerFault
from sekha_llm_bridge.api.memory.prompts import Messages, with_fault
from sekha_llm_bridge.api.memory.request import MemoryRequest
from sekha_llm_bridge.api.parsing import validated
from sekha_llm_bridge.api.request_state import RESPONSE_TIMEOUT_S, bridge_of, deadline_of, inbound_of
from sekha_llm_bridge.conversation import ChatAnswer, Conversation, FinishReason, Refusal, Text
from sekha_llm_bridge.errors import (
    AllProvidersFailed,
    BridgeError,
    BudgetExceeded,
    ContextLengthExceeded,
    CostLimitExceeded,
    FailureKind,
    KeyLimitExceeded,
    NoCapableModel,
    NoProviderAvailable,
    ProviderError,
    RateLimited,
    UnusableAnswer,
)
from sekha_llm_bridge.execution import Receipt
from sekha_llm_bridge.execution.attempts import after_attempts, cost_bound_usd, known_cost_usd, usd
from sekha_llm_bridge.execution.chat_operation import ChatOperation
from sekha_llm_bridge.routing import ExclusionKind, RouteRequest
from sekha_llm_bridge.routing.names import resolve_model

T = TypeVar("T")
_MAX_ANSWERS = 2  # the first one, and one more with the fault named
_SAFETY = 1.3  # tokenizers of other vendors produce up to a third more tokens than the estimate
_NOBODY_ANSWERED = (AllProvidersFailed, BudgetExceeded, CostLimitExceeded, NoProviderAvailable, RateLimited)


class TextTooLong(Exception):
    """No model that may answer now has a context window for the text; a shorter one may fit. The cause is the error
    for the caller, if there is nothing shorter to ask.
    """


class _Call(NamedTuple):
    """One call. `is_text`: the answer is a text, and the prompt must surely fit into the window."""

    messages: Messages
    max_tokens: int
    response_format: Mapping[str, Any] | None = None
    is_text: bool = False


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
        self._inbound = inbound_of(self.request)
        self._attempts = self._inbound.attempts

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
        return await self._usable(
            _Call(messages, self._within_half_window(max_tokens), is_text=True), lambda text: text
        )

    async def json(
        self, messages: Messages, name: str, schema: Mapping[str, Any], read: Callable[[str], T], *, max_tokens: int
    ) -> T:
        """Returns what `read` makes of an answer with that JSON schema; `read` raises `AnswerFault` for one that cannot
        be used, which the model is told once. Where no model with JSON schemas answers, others are asked without.

        Raises `UnusableAnswer`, and the errors of a chat.
        """
        form = {"type": "json_schema", "json_schema": {"name": name, "strict": True, "schema": schema}}
        return await self._usable(_Call(messages, self._within_half_window(max_tokens), form), read)

    async def _usable(self, call: _Call, read: Callable[[str], T]) -> T:
        """Returns what `read` makes of the first answer that can be used."""
        fault: AnswerFault | None = None
        answers = 0
        while answers < _MAX_ANSWERS:
            try:
                answer = await self._ask(call)
            except (ContextLengthExceeded, TextTooLong):
                if fault is None:
                    raise
                break  # what the first answer added to the prompt does not fit
            except BridgeError as exc:
                if not await self._has_models_without_schema(call, exc):
                    raise
                call = call._replace(response_format=None)
                continue
            answers, text = answers + 1, ""
            try:
                text = _text_of(answer)
                return read(text)
            except AnswerFault as exc:
                fault, call = exc, _after_fault(call, text, exc)
        again = ", also when it was asked again" if answers > 1 else ""
        raise UnusableAnswer(f"the answer of {self.model_id} cannot be used{again}: {fault}")

    async def _ask(self, call: _Call) -> ChatAnswer:
        """Returns a model's answer. Raises `TextTooLong` where a shorter text may be answered."""
        route, conversation = self._planned(call)
        try:
            result = await self._bridge.service.run(ChatOperation(route, conversation), self._deadline, self._inbound)
        except KeyLimitExceeded:
            raise
        except (ContextLengthExceeded, *_NOBODY_ANSWERED) as exc:
            error = self._for_caller(exc)
            if call.is_text and await self._may_fit_if_shorter(exc, route, conversation):
                raise TextTooLong from error
            raise error from exc
        self._receipt = result.receipt
        if result.answer.usage is not None:
            self.tokens_used += result.answer.usage.prompt_tokens + result.answer.usage.completion_tokens
        return result.answer

    def _planned(self, call: _Call) -> tuple[RouteRequest, Conversation]:
        """Returns what the call requires of a model, within what is left of the cost limit, and its conversation."""
        fields = {
            "model": self.options.model,
            "preferred_model": self.options.preferred_model,
            "task": self.options.task,
            "messages": call.messages,
            "max_tokens": call.max_tokens,
            "response_format": call.response_format,
        }
        fields = {name: value for name, value in fields.items() if value is not None}
        conversation = conversation_of(provider_request(fields))
        chat = validated(ChatRequest, fields)
        route = route_request(conversation, Options.of(chat.model, chat), self._bridge)
        route = replace(after_attempts(route, self._attempts.attempts), max_cost_usd=self.options.max_cost)
        if call.is_text:  # a server may cut off a longer prompt silently
            route = replace(route, context_tokens=int(route.prompt.estimate * _SAFETY) + call.max_tokens)
        return route, conversation

    async def _may_fit_if_shorter(self, error: Exception, route: RouteRequest, conversation: Conversation) -> bool:
        """Returns whether a shorter text has more models: some are excluded by their context windows only."""
        if isinstance(error, ContextLengthExceeded):
            return True
        plan = await self._bridge.service.explain(route, self._deadline, conversation, inbound=self._inbound)
        return bool(plan.excluded_by(ExclusionKind.CONTEXT))

    async def _has_models_without_schema(self, call: _Call, error: BridgeError) -> bool:
        """Returns whether more models may answer if the call has no JSON schema."""
        if call.response_format is None:
            return False
        if isinstance(error, NoCapableModel):
            return True
        if isinstance(error, ProviderError):
            return error.kind is FailureKind.CANDIDATE_UNSUITABLE
        if not isinstance(error, _NOBODY_ANSWERED):
            return False
        with_schema, without = [
            await self._bridge.service.explain(route, self._deadline, conversation, inbound=self._inbound)
            for route, conversation in (self._planned(call), self._planned(call._replace(response_format=None)))
        ]
        return bool({entry.key for entry in without.ranked} - {entry.key for entry in with_schema.ranked})

    def _for_caller(self, error: BridgeError) -> BridgeError:
        """Returns an error about a call as one about the request that the caller sent."""
        if isinstance(error, ContextLengthExceeded):
            return ContextLengthExceeded(str(error).replace("messages", self.text_field, 1), param=self.text_field)
        return error

    def _within_half_window(self, max_tokens: int) -> int:
        """Returns at most half of the largest context window, so that a prompt has room beside the answer."""
        target, catalog = resolve_model(self.options.model, self._bridge.catalog), self._bridge.catalog
        usable = catalog.usable[self.options.task or target.task]
        named = [entry for entry in usable if any(ref.matches(entry) for ref in target.models)]
        window = max((entry.window for entry in (named if target.is_pinned and named else usable)), default=max_tokens)
        return max(1, min(max_tokens, window // 2))


def _after_fault(call: _Call, answer: str, fault: AnswerFault) -> _Call:
    """Returns the call after an answer that cannot be used; `answer` is what the model is shown of it. JSON that was
    cut off gets more room, because a shorter one would lack something.
    """
    if not fault.is_cut_off:
        return call._replace(messages=with_fault(call.messages, answer, str(fault)))
    if call.is_text:
        return call._replace(messages=with_fault(call.messages, answer, f"{fault}; be shorter"))
    return call._replace(max_tokens=call.max_tokens * 2)


def _text_of(answer: ChatAnswer) -> str:
    """Returns the text of an answer. Raises `AnswerFault` for one that is empty or not complete, and `ProviderError`
    for one that the model refused.
    """
    choice = answer.choices[0]
    text = "".join(block.text for block in choice.blocks if isinstance(block, Text)).strip()
    is_refused = any(isinstance(block, Refusal) for block in choice.blocks)
    if is_refused or choice.finish_reason == FinishReason.CONTENT_FILTER:
        raise ProviderError(FailureKind.CONTENT_REFUSED, "the model refused the content")
    if choice.finish_reason == FinishReason.LENGTH:
        raise AnswerFault("it was cut off at its maximum length", is_cut_off=True)
    if choice.finish_reason not in {FinishReason.STOP, None}:
        raise AnswerFault("it is not complete")
    if not text:
        raise AnswerFault("it is empty")
    return text
