"""The bridge's own fields of a request, which every inbound API of chats takes, also as headers.

Headers are for clients that cannot add fields to the body, such as the command lines of coding agents.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, StrictBool, ValidationError

from sekha_llm_bridge.api.fields import MaxCost, TaskName
from sekha_llm_bridge.config.models import Task
from sekha_llm_bridge.errors import InvalidRequest

HEADER_PREFIX = "x-bridge-"
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


class OptionFields(BaseModel):
    """The bridge's own fields, without `model`, which each inbound API has itself."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    require_vision: StrictBool | None = None
    max_cost: MaxCost | None = None
    preferred_model: str | None = None
    task: TaskName | None = None
    allow_fallback: StrictBool | None = None


OPTION_FIELDS = frozenset(OptionFields.model_fields)
"""Their names. A header is `x-bridge-` and the name, with hyphens."""

_HEADERS = {HEADER_PREFIX + name.replace("_", "-"): name for name in OPTION_FIELDS}


class Options(NamedTuple):
    """The model that a request names, and the bridge's own fields. See contract, section 2, "Chat completions"."""

    model: str | None = None
    preferred_model: str | None = None
    task: Task | None = None
    needs_vision: bool = False
    max_cost_usd: Decimal | None = None
    allows_fallback: bool = True

    @classmethod
    def of(cls, model: str | None, fields: OptionFields, headers: Mapping[str, str] | None = None) -> "Options":
        """Returns the options of a request. A field takes precedence over its header; of two cost limits, the lower one
        holds. Raises `InvalidRequest` for a header with a bad value.
        """
        sent = _from_headers(headers or {})
        limits = [limit for limit in (fields.max_cost, sent.max_cost) if limit is not None]
        require_vision, allow_fallback = (
            getattr(sent, name) if getattr(fields, name) is None else getattr(fields, name)
            for name in ("require_vision", "allow_fallback")
        )
        return cls(
            model,
            fields.preferred_model or sent.preferred_model,
            fields.task or sent.task,
            bool(require_vision),
            min(limits, default=None),
            allow_fallback is not False,
        )


_NO_OPTIONS = OptionFields()


def _from_headers(headers: Mapping[str, str]) -> OptionFields:
    sent: dict[str, Any] = {name: headers[header] for header, name in _HEADERS.items() if header in headers}
    if not sent:
        return _NO_OPTIONS
    for name in ("require_vision", "allow_fallback"):
        if name in sent:
            sent[name] = _BOOLEANS.get(sent[name].strip().lower(), sent[name])
    try:
        return OptionFields.model_validate(sent)
    except ValidationError as exc:
        error = exc.errors(include_url=False, include_context=False, include_input=False)[0]
        header = HEADER_PREFIX + str(error["loc"][0]).replace("_", "-")
        message = str(error["msg"]).removeprefix("Value error, ")
        raise InvalidRequest(f"the header {header}: {message[:1].lower()}{message[1:]}", param=header) from None
