"""The record that the options of `keys create` and `keys update` make."""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from sekha_llm_bridge.access.caller import KeyPolicy
from sekha_llm_bridge.access.keys.record import KeyRecord
from sekha_llm_bridge.cli.keys.moments import parse_moment
from sekha_llm_bridge.cli.keys.options import Changes, Clearable
from sekha_llm_bridge.config.models import CHROMA_NAME_PATTERN
from sekha_llm_bridge.config.vocabulary import Task

_MAX_NAME_LENGTH = 100
_MAX_LABELS, _MAX_LABEL_LENGTH = 20, 100
_MAX_CALLER_BYTES = 4096  # it is in the event of every request
_MONEY = ("max_cost_per_request_usd", "daily_usd", "monthly_usd")


class InvalidChange(Exception):
    """An option has a value that a key cannot have. The message names the option."""


# The field of the policy that an option sets, where it has another name.
_POLICY_FIELDS = {
    Clearable.MODEL: "models",
    Clearable.TASK: "tasks",
    Clearable.MAX_COST_PER_REQUEST: "max_cost_per_request_usd",
}


def changed(record: KeyRecord, changes: Changes, now: datetime) -> KeyRecord:
    """Returns the record with the changes: first what is cleared, then what is set. Raises `InvalidChange`.

    Labels are added to those that the key has; models and tasks replace them.
    """
    cleared = _cleared(record, changes.clear)
    after = cleared._replace(
        name=cleared.name if changes.name is None else _name(changes.name),
        labels=_labels({**cleared.labels, **_pairs(changes.labels)}),
        expires=cleared.expires if changes.expires is None else _expiry(changes.expires, now),
        policy=cleared.policy._replace(**_policy_fields(changes)),
    )
    if len(after.caller.context_text().encode()) > _MAX_CALLER_BYTES:
        raise InvalidChange(
            f"the key's labels and policy are larger than {_MAX_CALLER_BYTES} bytes: write provider/* for its models"
        )
    return after


def _cleared(record: KeyRecord, options: Iterable[Clearable]) -> KeyRecord:
    fields: dict[Clearable, dict[str, Any]] = {
        Clearable.NAME: {"name": ""},
        Clearable.LABEL: {"labels": {}},
        Clearable.EXPIRES: {"expires": None},
    }
    for option in options:
        if option in fields:
            record = record._replace(**fields[option])
        else:
            name = _POLICY_FIELDS.get(option, option.replace("-", "_"))
            record = record._replace(policy=record.policy._replace(**{name: getattr(KeyPolicy(), name)}))
    return record


def _policy_fields(changes: Changes) -> dict[str, Any]:
    """Returns the fields of the policy that the options set."""
    fields: dict[str, Any] = {name: getattr(changes, name) for name in KeyPolicy._fields}
    given = {name: value for name, value in fields.items() if value is not None and value != ()}
    given |= {name: Decimal(given[name]) for name in _MONEY if name in given}
    if "models" in given:
        given["models"] = tuple(dict.fromkeys(map(_model, given["models"])))
    if "tasks" in given:
        given["tasks"] = tuple(dict.fromkeys(map(_task, given["tasks"])))
    for option, name in (("--chroma-tenant", "chroma_tenant"), ("--chroma-database", "chroma_database")):
        if name in given:
            given[name] = _chroma_name(option, given[name])
    return given


def _name(name: str) -> str:
    return _text("--name", name, _MAX_NAME_LENGTH)


def _model(name: str) -> str:
    return _text("--model", name, _MAX_CALLER_BYTES)


def _chroma_name(option: str, name: str) -> str:
    if not re.fullmatch(CHROMA_NAME_PATTERN, name):
        raise InvalidChange(f"{option}: {name!r} needs three to 512 letters, digits, dots, - and _")
    return name


def _task(name: str) -> Task:
    try:
        return Task(name)
    except ValueError:
        raise InvalidChange(f"--task: {name!r} is none of {', '.join(Task)}") from None


def _pairs(labels: Iterable[str]) -> dict[str, str]:
    pairs = {}
    for label in labels:
        name, separator, value = label.partition("=")
        if not separator or not name.strip():
            raise InvalidChange(f"--label: {label!r} is not NAME=VALUE")
        pairs[_text("--label", name, _MAX_LABEL_LENGTH)] = _text("--label", value, _MAX_LABEL_LENGTH, can_be_empty=True)
    return pairs


def _labels(labels: Mapping[str, str]) -> Mapping[str, str]:
    if len(labels) > _MAX_LABELS:
        raise InvalidChange(f"--label: a key has at most {_MAX_LABELS} labels")
    return labels


def _expiry(text: str, now: datetime) -> datetime:
    try:
        return parse_moment(text, now)
    except ValueError as exc:
        raise InvalidChange(f"--expires: {exc}") from exc


def _text(option: str, text: str, max_length: int, *, can_be_empty: bool = False) -> str:
    """Returns the text without spaces at its ends. Raises `InvalidChange` where it is empty, too long, or has control
    characters, which a terminal or a log would execute.
    """
    stripped = text.strip()
    if not stripped and not can_be_empty:
        raise InvalidChange(f"{option}: the value is empty")
    if len(stripped) > max_length or not stripped.isprintable():
        raise InvalidChange(f"{option}: the value needs at most {max_length} printable characters")
    return stripped
