"""`GET /api/v1/usage`: what the caller's API key has used in a period; without keys, what was used by all."""

from fastapi import Request, Response

from sekha_llm_bridge.access.usage_records.store import UsageStore, UsageUnavailable
from sekha_llm_bridge.access.usage_records.sums import GroupBy, UsagePeriod, document_of, period_of
from sekha_llm_bridge.api.app import json_response
from sekha_llm_bridge.api.caller import caller_of
from sekha_llm_bridge.api.request_state import bridge_of
from sekha_llm_bridge.errors import AccessUnavailable, InvalidRequest

_PARAMETERS = ("from", "to", "by")
_RETRY_AFTER_S = 5.0


async def usage(request: Request) -> Response:
    """Answers with the sums of a period by day, model or key, and their total. A request is counted within minutes
    after its end.
    """
    by, caller, bridge = _group_by(request), caller_of(request), bridge_of(request)
    period = _period(request)
    if not bridge.resources.table:
        raise AccessUnavailable("this bridge has no table, so usage is not counted")
    store = UsageStore(bridge.resources.table, bridge.connections, bridge.clock)
    try:
        records = await store.read(period.first, period.last, key_id=caller.key_id or None)
    except UsageUnavailable as exc:
        message = "the table of usage does not answer; try again"
        raise AccessUnavailable(message, retry_after_s=_RETRY_AFTER_S) from exc
    return json_response(document_of(records, period, by, key_id=caller.key_id or None))


def _group_by(request: Request) -> GroupBy:
    """Also refuses parameters that there are not: a misspelt one would be left out silently."""
    unknown = next((name[:50] for name in request.query_params if name not in _PARAMETERS), None)
    if unknown is not None:
        raise InvalidRequest(f"there is no parameter {unknown}; there are {', '.join(_PARAMETERS)}", param=unknown)
    wanted = request.query_params.get("by", GroupBy.DAY.value)
    try:
        return GroupBy(wanted)
    except ValueError:
        raise InvalidRequest("by must be day, model or key", param="by") from None


def _period(request: Request) -> UsagePeriod:
    parameters, today = request.query_params, bridge_of(request).clock.now().date()
    try:
        return period_of(parameters.get("from"), parameters.get("to"), today=today)
    except ValueError as exc:
        raise InvalidRequest(str(exc), param=str(exc).partition(" ")[0]) from exc
