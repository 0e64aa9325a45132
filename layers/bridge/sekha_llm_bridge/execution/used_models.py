"""What the attempts of one request have used, by model."""

from collections.abc import Mapping, Sequence

from sekha_llm_bridge.access.usage_records.amounts import Amounts, UsedModel, pico_usd
from sekha_llm_bridge.execution.attempts import Attempt

_NOTHING = Amounts()


def used_models(attempts: Sequence[Attempt]) -> Mapping[UsedModel, Amounts]:
    """Returns what was used, by model; models of which nothing was used are left out. The request counts as one request
    of the model that answered last; of that of the last attempt, where none did.
    """
    used: dict[UsedModel, Amounts] = {}
    for attempt in attempts:
        model = _model(attempt)
        used[model] = used.get(model, _NOTHING).plus(_amounts(attempt))
    if attempts:
        last = _model(next((one for one in reversed(attempts) if one.code == "ok"), attempts[-1]))
        used[last] = used[last].plus(Amounts(requests=1))
    return {model: amounts for model, amounts in used.items() if not amounts.is_nothing}


def _model(attempt: Attempt) -> UsedModel:
    return UsedModel(attempt.provider_id, attempt.model_id)


def _amounts(attempt: Attempt) -> Amounts:
    usage, bound_usd = attempt.usage, attempt.cost_bound_usd
    return Amounts(
        input_tokens=usage.prompt_tokens if usage else 0,
        cached_input_tokens=usage.cached_tokens if usage else 0,
        output_tokens=usage.completion_tokens + usage.unlisted_tokens if usage else 0,
        cost_pico_usd=pico_usd(attempt.cost_usd) if attempt.cost_usd is not None else 0,
        max_cost_pico_usd=pico_usd(bound_usd) if bound_usd is not None else 0,
        unpriced_attempts=1 if bound_usd is None else 0,
    )
