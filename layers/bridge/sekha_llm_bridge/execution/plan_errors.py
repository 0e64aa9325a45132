"""The one error that a caller gets when no candidate answered, with what to do about it."""

import math
from collections.abc import Iterable, Sequence
from decimal import Decimal

from sekha_llm_bridge.config.models import Task
from sekha_llm_bridge.errors import (
    AllProvidersFailed,
    BridgeError,
    BudgetExceeded,
    ContextLengthExceeded,
    CostLimitExceeded,
    DeadlineExceeded,
    FailureKind,
    NoCapableModel,
    NoProviderAvailable,
    RateLimited,
    RequestError,
    Unavailable,
)
from sekha_llm_bridge.execution.budgets import error_for_shortages
from sekha_llm_bridge.execution.deadline import Deadline
from sekha_llm_bridge.execution.failover import FailedAttempt, FailoverState
from sekha_llm_bridge.pricing import usd_text
from sekha_llm_bridge.routing import CatalogModel, ConsideredModel, Exclusion, ExclusionKind, RoutePlan
from sekha_llm_bridge.routing.model_refs import names_of
from sekha_llm_bridge.routing.names import sentences_on_lists

MIN_ATTEMPT_S = 0.2  # an attempt with less time could hardly be answered
_DEFAULT_RETRY_AFTER_S = 1.0
_LIST_RETRY_AFTER_S = 30.0  # the scheduled check runs once a minute
_TEMPORARY = (ExclusionKind.BREAKER, ExclusionKind.COOLDOWN, ExclusionKind.PENDING)
_STATES = {
    ExclusionKind.BREAKER: "has an open circuit breaker",
    ExclusionKind.COOLDOWN: "limits its rate",
    ExclusionKind.PENDING: "has a secret that could not be fetched yet",
}
_REMEDY_OF_A_SINGLE_PROVIDER = "a longer timeout_secs gives it more time"
_MAX_NAMED_MODELS = 3
_MAX_TEXT_OF_EACH = 300  # characters of a provider's own message, where several failed
ExcludedModel = tuple[CatalogModel, Exclusion]


def require_candidates(plan: RoutePlan) -> None:
    """Raises the error that an empty plan means: all breakers open or cooling down, models that are not known yet, too
    expensive, or not capable.
    """
    if plan.ranked:
        return
    if temporary := _temporarily_excluded(plan):
        raise _error_for_temporary_exclusions(_excluded(temporary), plan)
    if plan.catalog.unlisted and not plan.request.pinned:
        message = "; ".join(sentences_on_lists(plan.catalog))
        raise NoProviderAvailable(f"no model can answer now; {message}", retry_after_s=_LIST_RETRY_AFTER_S)
    if expensive := plan.excluded_by(ExclusionKind.COST):
        raise _cost_limit_exceeded(plan, expensive)
    if too_small := plan.excluded_by(ExclusionKind.CONTEXT):
        raise _context_length_exceeded(max((row.entry for row in too_small), key=lambda entry: entry.window), plan)
    rows = [row for row in plan.considered_models if _may_answer(row.entry, plan)]
    reasons = _grouped_by_reason(_excluded(rows)) or "no model is configured" + _disabled(plan)
    if not plan.request.pinned:
        reasons += "".join(f"; {sentence}" for sentence in sentences_on_lists(plan.catalog))
    raise NoCapableModel(f"{_subject(plan, 'no configured model can', 'cannot')} do this: {reasons}")


def deadline_exceeded() -> BridgeError:
    """Returns the error for a request whose deadline passed before a provider answered."""
    remedy = "ask for less, or set a shorter timeout_secs, which leaves the next model more time"
    return DeadlineExceeded(f"the deadline passed before a provider answered; {remedy}")


def error_for_exhausted_plan(state: FailoverState, deadline: Deadline) -> BridgeError:
    """Returns the error for a plan whose candidates all failed, or were refused by their breakers."""
    plan, failed = state.plan, state.failed
    if not failed:
        excluded = [*state.skipped, *_excluded(plan.excluded_by(ExclusionKind.BREAKER))]
        excluded += _excluded(plan.excluded_by(ExclusionKind.PENDING))
        excluded += _excluded(plan.excluded_by(ExclusionKind.COOLDOWN)) if state.shortages else []
        later = [(entry, exclusion) for entry, exclusion in excluded if exclusion.kind in _TEMPORARY]
        if (no_room := error_for_shortages(state)) is not None and not later:
            return no_room
        excluded = later or excluded
        return _error_for_temporary_exclusions(excluded, plan)
    # A prompt that was too long for a small model does not explain why a larger one did not answer.
    others = [one for one in failed if one.failure.kind is not FailureKind.CONTEXT_LENGTH_EXCEEDED]
    if not others:
        return _error_for_too_long_prompt(state)
    if all(one.error.status < 500 for one in others):
        return _error_for_unsuitable_candidates(state, others[-1])
    if all(one.failure.kind is FailureKind.RATE_LIMITED for one in others):
        requested_s = [one.failure.retry_after_s for one in others]
        cooldowns_s = [row.exclusion.retry_after_s for row in plan.excluded_by(ExclusionKind.COOLDOWN) if row.exclusion]
        waits_s = (*requested_s, *cooldowns_s)
        soonest_s = min(_DEFAULT_RETRY_AFTER_S if wait_s is None else wait_s for wait_s in waits_s)
        return _rate_limited(soonest_s, plan)
    if failed[-1].failure.kind is FailureKind.TIMEOUT and deadline.remaining_s() <= MIN_ATTEMPT_S:
        return deadline_exceeded()
    is_single = min(state.max_candidates, len(plan.ranked)) == 1
    tried = ", ".join(dict.fromkeys(_described(one, is_single=is_single) for one in failed))
    subject = f"{_every_provider(plan)} failed"
    if state.max_candidates < len(plan.ranked):
        subject = "the first choice failed, and no other may be tried"
    return AllProvidersFailed(f"{subject} ({tried}){_not_tried(state)}")


def _error_for_unsuitable_candidates(state: FailoverState, last: FailedAttempt) -> BridgeError:
    """No candidate could do it: wait for those that are excluded now, pay for them, or change the request."""
    plan = state.plan
    if (no_room := error_for_shortages(state)) is not None:
        return no_room
    if last.failure.kind is FailureKind.CANDIDATE_UNSUITABLE:
        if temporary := _temporarily_excluded(plan):
            return _error_for_temporary_exclusions(_excluded(temporary), plan)
        if expensive := plan.excluded_by(ExclusionKind.COST):
            return _cost_limit_exceeded(plan, expensive)
    return last.error


def _error_for_too_long_prompt(state: FailoverState) -> BridgeError:
    """The prompt was too long for every model tried: wait for a larger window, pay for it, or shorten the prompt."""
    if (no_room := error_for_shortages(state)) is not None:
        return no_room
    largest_window = max(one.entry.window for one in state.failed)
    larger = [row for row in state.plan.considered_models if row.exclusion and row.entry.window > largest_window]
    if temporary := [row for row in larger if row.exclusion and row.exclusion.kind in _TEMPORARY]:
        return _error_for_temporary_exclusions(_excluded(temporary), state.plan)
    if expensive := [row for row in larger if row.exclusion and row.exclusion.kind is ExclusionKind.COST]:
        return _cost_limit_exceeded(state.plan, expensive)
    last = max(state.failed, key=lambda one: one.entry.window)
    return _context_length_exceeded(last.entry, state.plan, last.failure.provider_text)


def _context_length_exceeded(entry: CatalogModel, plan: RoutePlan, provider_text: str = "") -> ContextLengthExceeded:
    """Returns the error for a prompt that is too long for `entry`, the candidate with the largest window.

    LiteLLM recognises the error by the words "maximum context length is", LangChain by the code in the message.
    """
    request = plan.request
    is_embedding = request.task is Task.EMBEDDING
    param = "messages" if not is_embedding else "input"
    if is_embedding and request.longest_input is not None:
        param = f"input[{request.longest_input}]"
    kind = FailureKind.CONTEXT_LENGTH_EXCEEDED
    message = (
        f"{param} is too long: this model's maximum context length is {entry.window} tokens ({_name(entry)})"
        f"{_asked_output(plan)}; {kind.remedy.lower()} ({kind.code})"
    )
    text = f". The provider's message: {provider_text}" if provider_text else ""
    estimate = request.exact_prompt_tokens.get(entry.key, request.prompt.estimate)
    return ContextLengthExceeded(
        message + text,
        param=param.partition("[")[0],
        prompt_tokens=max(estimate, entry.window + 1),
        max_tokens=entry.window,
    )


def _asked_output(plan: RoutePlan) -> str:
    """Returns the output that a window must have room for, too: a prompt that seems short enough is not, with it."""
    asked = plan.request.output_tokens if plan.request.is_output_needed else None
    return f", and {asked} of output are asked for" if asked else ""


def _may_answer(entry: CatalogModel, plan: RoutePlan) -> bool:
    """Returns whether the request allows the model: any, or one of those that it names."""
    return not plan.request.pinned or any(ref.matches(entry) for ref in plan.request.pinned)


def _subject(plan: RoutePlan, of_any: str, of_pinned: str) -> str:
    """Returns the start of a message: about any model, or about those that are the only ones that may answer."""
    pinned = plan.request.pinned
    return f"{names_of(pinned)} {of_pinned}" if pinned else of_any


def _every_provider(plan: RoutePlan) -> str:
    pinned = plan.request.pinned
    return f"every provider of {names_of(pinned)}" if pinned else "every provider that could answer"


def _disabled(plan: RoutePlan) -> str:
    """Names the providers that are not used, with the reason of each."""
    reasons = (f"; provider {provider.config.id} is disabled: {provider.reason}" for provider in plan.catalog.disabled)
    return "".join(reasons)


def _described(failed: FailedAttempt, *, is_single: bool) -> str:
    """A failed attempt in words: the provider, what happened, and what the operator can do."""
    kind = failed.failure.kind
    remedy = _REMEDY_OF_A_SINGLE_PROVIDER if is_single and kind is FailureKind.TIMEOUT else kind.remedy
    text = failed.failure.provider_text[:_MAX_TEXT_OF_EACH]
    details = [failed.failure.message, *([remedy] if remedy else []), *([f"its message: {text}"] if text else [])]
    return f"{failed.entry.provider.id}: {'; '.join(details)}"


def _excluded(rows: Iterable[ConsideredModel]) -> list[ExcludedModel]:
    return [(row.entry, row.exclusion) for row in rows if row.exclusion]


def _error_for_temporary_exclusions(excluded: Sequence[ExcludedModel], plan: RoutePlan) -> Unavailable:
    """The error where missing secrets, breakers and cool-downs exclude every candidate, with the soonest time for a
    retry.
    """
    soonest_s = min(exclusion.retry_after_s or _DEFAULT_RETRY_AFTER_S for _, exclusion in excluded)
    kinds = {exclusion.kind for _, exclusion in excluded}
    if kinds == {ExclusionKind.COOLDOWN}:
        return _rate_limited(soonest_s, plan)
    state = " or ".join(text for kind, text in _STATES.items() if kind in kinds)
    reasons = _grouped_by_reason(excluded)
    message = f"{_every_provider(plan)} {state} ({reasons}); {_try_again_in(soonest_s)}"
    return NoProviderAvailable(message, retry_after_s=soonest_s)


def _temporarily_excluded(plan: RoutePlan) -> list[ConsideredModel]:
    return [row for kind in _TEMPORARY for row in plan.excluded_by(kind)]


def _rate_limited(soonest_s: float, plan: RoutePlan) -> RateLimited:
    message = f"{_every_provider(plan)} limits its rate now; {_try_again_in(soonest_s)}"
    return RateLimited(message, retry_after_s=soonest_s)


def _try_again_in(seconds: float) -> str:
    return f"try again in {max(1, math.ceil(seconds))} s"


def _cost_limit_exceeded(plan: RoutePlan, expensive: Sequence[ConsideredModel]) -> RequestError:
    """Names the cheapest model; one whose price is unknown only where no other is left."""
    priced = [row for row in expensive if row.quote.bound_usd is not None]
    cheapest = min(priced or expensive, key=lambda row: row.quote.bound_usd or Decimal(0))
    reason = cheapest.exclusion.reason if cheapest.exclusion else ""
    fits = _subject(plan, "no model fits", "cannot answer within")
    limit = f"{fits} the cost limit of ${usd_text(plan.limit_usd or Decimal(0))}"
    label = "; the cheapest is " if priced else "; of "
    budget = plan.context.budget
    if priced and budget is not None and plan.limit is not None and plan.limit.total_usd == budget.usd:
        left = f"{fits} the budget of {budget.owner_name}, of which ${usd_text(budget.usd)} can be used"
        message = f"{left}{label}{_name(cheapest.entry)}: {reason}. Shorten the request, or use a free model"
        needed = {"needed_usd": float(cheapest.quote.bound_usd or 0)}
        return BudgetExceeded(message, budget={**budget.fields, **needed})
    remedy = ". Raise max_cost (and max_cost_per_request), or shorten the request" if priced else ""
    if plan.limit is not None and plan.limit.is_default:
        remedy = ". Shorten the request, or set max_cost_per_request in the configuration, which has its default value"
    elif plan.request.features_with_unbounded_cost:
        remedy = ". Leave it out, or name a free model"
    message = f"{limit}{label}{_name(cheapest.entry)}: {reason}{remedy}{_spent_before(plan)}"
    return CostLimitExceeded(message, param="max_cost")


def _spent_before(plan: RoutePlan) -> str:
    if plan.limit is None or plan.limit.usd == plan.limit.total_usd:
        return ""
    spent_usd = plan.request.billed_usd if plan.limit.is_default else plan.request.spent_usd
    return f"; of ${usd_text(plan.limit.total_usd)}, earlier calls of this request have used ${usd_text(spent_usd)}"


def _not_tried(state: FailoverState) -> str:
    """Names the models that could have answered, had cost or breakers allowed it."""
    kinds = (ExclusionKind.COST, *_TEMPORARY)
    rows = (row for kind in kinds for row in state.plan.excluded_by(kind))
    excluded = [*state.skipped, *_excluded(rows)]
    return f"; not tried: {_grouped_by_reason(excluded)}" if excluded else ""


def _grouped_by_reason(excluded: Iterable[ExcludedModel]) -> str:
    """Returns `a/x, a/y: cannot see images; b/z: …`, with only a few names for each reason."""
    groups: dict[str, list[str]] = {}
    for entry, exclusion in excluded:
        groups.setdefault(exclusion.reason, []).append(_name(entry))
    return "; ".join(f"{_first_names(names)}: {reason}" for reason, names in groups.items())


def _first_names(names: Sequence[str]) -> str:
    more = len(names) - _MAX_NAMED_MODELS
    return ", ".join(names[:_MAX_NAMED_MODELS]) + (f" and {more} more" if more > 0 else "")


def _name(entry: CatalogModel) -> str:
    return "/".join(entry.key)
