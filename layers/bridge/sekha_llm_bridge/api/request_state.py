"""What one HTTP request has while it is served: its id, its deadline, its attempts, its error and its log line."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fastapi import Request
from starlette.types import Scope

from sekha_llm_bridge.access.spending import SETTLING_S
from sekha_llm_bridge.api.caller import caller_of
from sekha_llm_bridge.bootstrap import Bridge
from sekha_llm_bridge.cancellation import run_to_completion
from sekha_llm_bridge.errors import BridgeError, ConfigError
from sekha_llm_bridge.execution import AttemptLog, Deadline, RequestReport
from sekha_llm_bridge.execution.inbound import InboundRequest
from sekha_llm_bridge.observability import code_location, logger

RESPONSE_TIMEOUT_S = 295.0
"""The deadline of an answer that is not streamed. API Gateway closes a connection after five minutes of silence, and a
cold start takes part of that time.
"""

_TIMEOUT_WITHOUT_LAMBDA_S = 29.0  # API Gateway's default integration timeout
_KEY = "request"


@dataclass
class RequestState:
    """The state of one request. `log_fields` is its log line so far; `error` is the error that it ended with.
    `reserved_s` is the time that is needed after the models' answer, which their deadline leaves.
    `requested_model` is the name in its field `model`; `bridge` is the bridge as its caller sees it.
    """

    request_id: str
    log_fields: dict[str, object] = field(default_factory=dict)
    inbound: InboundRequest | None = None
    error: BridgeError | None = None
    reserved_s: float = 0.0
    requested_model: str | None = None
    bridge: Bridge | None = None
    _report: RequestReport | None = None

    def put_into(self, scope: Scope) -> None:
        """Makes this the state of the request that `scope` describes."""
        scope.setdefault("state", {})[_KEY] = self

    @property
    def attempts(self) -> AttemptLog | None:
        """The attempts so far; None before any plan."""
        return None if self.inbound is None else self.inbound.attempts

    async def settle(self) -> None:
        """Settles what the request has reserved of quotas; call it when no attempt runs any more."""
        if self.inbound is not None and self.inbound.spending is not None:
            await run_to_completion(self.inbound.settle())

    def report(self) -> RequestReport:
        """Returns the report of the request as it stands now."""
        known = self._report
        n_attempts = 0 if self.attempts is None else len(self.attempts.attempts)
        if known is None or known.error is not self.error or len(known.attempts) != n_attempts:
            self._report = known = RequestReport.of(self.attempts, self.error)
        return known


def state_of(request: Request) -> RequestState:
    """Returns the state of a request."""
    state: RequestState = request.scope["state"][_KEY]
    return state


def bridge_of(request: Request) -> Bridge:
    """Returns the bridge as the caller of this request sees it. Raises `AuthenticationFailed` where a key is needed and
    there is none, and `ConfigError` where the configuration cannot be used.
    """
    state = state_of(request)
    if state.bridge is None:
        state.bridge = whole_bridge_of(request).for_caller(caller_of(request))
    return state.bridge


def whole_bridge_of(request: Request) -> Bridge:
    """Returns the bridge without regard to the caller. Raises `ConfigError` where its configuration cannot be used."""
    found: Bridge | ConfigError = request.app.state.bridge
    if isinstance(found, ConfigError):
        raise found
    return found


def deadline_of(request: Request) -> Deadline:
    """Returns the time by which this request's models must have answered: what the answer needs after them is left."""
    return Deadline.after(remaining_s_of(request) - reserved_s_of(request), bridge_of(request).clock)


def reserved_s_of(request: Request) -> float:
    """Returns the time that the answer needs after the models, with what settling of quotas takes."""
    return state_of(request).reserved_s + (SETTLING_S if bridge_of(request).has_quota else 0.0)


def remaining_s_of(request: Request) -> float:
    """Returns the time until Lambda ends this invocation."""
    context = request.scope.get("aws.context")
    return context.get_remaining_time_in_millis() / 1000 if context is not None else _TIMEOUT_WITHOUT_LAMBDA_S


def inbound_of(request: Request) -> InboundRequest:
    """Returns the request's attempts, its caller, and what it reserves of quotas."""
    state = state_of(request)
    if state.inbound is None:
        bridge = bridge_of(request)
        spending = bridge.spending(remaining_s=remaining_s_of(request))
        state.inbound = InboundRequest(AttemptLog(bridge.clock), bridge.caller, spending)
    return state.inbound


def answer_headers_of(request: Request) -> Mapping[str, str]:
    """Returns the `x-bridge-` headers of an answer that is complete."""
    return state_of(request).report().headers()


def add_log_fields(request: Request, **fields: object) -> None:
    """Adds fields to the request's log line."""
    state_of(request).log_fields.update(fields)


def unexpected_error(request_id: str, exc: Exception) -> BridgeError:
    """Returns the error for a mistake in the bridge, and logs where it happened."""
    extra = {"request_id": request_id, "code_location": code_location(exc)}
    logger().error("unexpected error", extra=extra)
    return BridgeError("an unexpected error; the log has more under this request_id")
