"""The report of one inbound request: everything that is known of it when it ends."""

from dataclasses import astuple
from decimal import Decimal
from typing import NamedTuple, Self

from sekha_llm_bridge.errors import BridgeError
from sekha_llm_bridge.execution.attempts import Attempt, AttemptLog, cost_bound_usd, known_cost_usd, total_cost_usd, usd
from sekha_llm_bridge.execution.receipt import answer_headers, cost_headers
from sekha_llm_bridge.execution.used_models import used_models
from sekha_llm_bridge.usage import Usage


class RequestReport(NamedTuple):
    """All attempts of one inbound request, their cost in USD, and the error, if it ended with one.

    The log line, the headers and the error's details are made of it. `cost_usd` of an answer is the sum of the known
    costs; of an error it is None where the cost of any attempt is unknown. `cost_bound_usd` is the maximum cost of all
    attempts.
    """

    attempts: tuple[Attempt, ...]
    cost_usd: Decimal | None
    cost_bound_usd: Decimal | None
    error: BridgeError | None

    @classmethod
    def of(cls, log: AttemptLog | None, error: BridgeError | None) -> Self:
        """Returns the report of a request that ended with `error`, or with an answer. `log` is None before any plan."""
        attempts = tuple(log.attempts) if log is not None else ()
        return cls(
            attempts=attempts,
            cost_usd=total_cost_usd(attempts) if error else known_cost_usd(attempts),
            cost_bound_usd=cost_bound_usd(attempts),
            error=error,
        )

    @property
    def usage(self) -> Usage | None:
        """The sum of the tokens that the providers counted; None if no provider counted them."""
        counted = [astuple(attempt.usage) for attempt in self.attempts if attempt.usage is not None]
        return Usage(*map(sum, zip(*counted, strict=True))) if counted else None

    def log_fields(self) -> dict[str, object]:
        """Returns the fields for the log line: without prompts, keys and error texts of providers.

        `provider` and `model` are those of the answer, or of the last attempt where there is none. `used` has what was
        used of each model, from which the usage of keys is counted. Names with `gen_ai` are those of OpenTelemetry's
        conventions (https://github.com/open-telemetry/semantic-conventions-genai).
        """
        fields: dict[str, object] = {}
        if self.error is not None:
            fields["error"] = self.error.code
        if not self.attempts:
            return fields
        answered = [attempt for attempt in self.attempts if attempt.code == "ok"] if self.error is None else []
        last = (answered or self.attempts)[-1]
        fields |= {
            "attempts": [f"{attempt.provider_id}: {attempt.code}" for attempt in self.attempts],
            "attempt_count": len(self.attempts),
            "provider": last.provider_id,
            "model": last.model_id,
            "gen_ai.provider.name": last.provider_id,
            **({"gen_ai.response.model": last.model_id} if answered else {}),
            **self._token_fields(),
            "cost_usd": usd(self.cost_usd),
            "max_cost_usd": usd(self.cost_bound_usd),
            "used": [{**model._asdict(), **used._asdict()} for model, used in used_models(self.attempts).items()],
        }
        return fields

    def _token_fields(self) -> dict[str, object]:
        usage = self.usage
        if usage is None:
            return {}
        return {
            "gen_ai.usage.input_tokens": usage.prompt_tokens,
            "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
            "gen_ai.usage.output_tokens": usage.completion_tokens + usage.unlisted_tokens,
        }

    def headers(self) -> dict[str, str]:
        """Returns the `x-bridge-` headers; they name a model only where one model gave the whole answer."""
        answered = {(one.provider_id, one.model_id) for one in self.attempts if one.code == "ok"}
        if self.error is None and len(answered) == 1:
            return answer_headers(*answered.pop(), len(self.attempts), self.cost_usd)
        return cost_headers(len(self.attempts), self.cost_usd) if self.attempts else {}

    def error_details(self) -> dict[str, object]:
        """Returns the fields that an error's envelope has besides those of the error itself."""
        if not self.attempts:
            return {}
        return {
            "attempts": [attempt.public() for attempt in self.attempts],
            "cost": usd(self.cost_usd),
            "cost_bound": usd(self.cost_bound_usd),
        }
