"""Gives references their values: from the environment, from SSM, from Secrets Manager.

Values kept in AWS are fetched once each, several at a time, before anything is filled in. What has no value leaves a
`Gap`, and a stand-in that lets the rest of the section be checked.
"""

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TypeAlias

from sekha_llm_bridge.config.document import Data
from sekha_llm_bridge.config.faults import Place
from sekha_llm_bridge.config.references import MalformedReference, Remote, Template, Variable, parse
from sekha_llm_bridge.config.secret_source import SecretSource, SecretUnavailable

FETCHES_AT_ONCE = 8

# For required keys, so that only the gap is reported; other keys are left out. `{}` is the place in the lists.
_STAND_INS = {
    "id": "unnamed_{}",
    "provider_type": "openai",
    "model_id": "unnamed_{}",
    "task": "chat_small",
    "tasks": "chat_small",
    "context_window": "1",
    "dimension": "1",
    "input_usd_per_mtok": "0",
}


@dataclass(frozen=True, slots=True)
class Gap:
    """A reference at `place` that gives no value. `malformed`: it never can."""

    place: Place
    reason: str
    malformed: bool


@dataclass(frozen=True, slots=True)
class Resolved:
    """Data without references; the `gaps` in it; and the `variables` that it mentions, set or not."""

    data: Data
    gaps: tuple[Gap, ...]
    variables: frozenset[str]


class Nothing(Enum):
    """A value that consists of references which all are empty: as if the key were absent."""

    HERE = "here"


class NoValue(Exception):
    """A reference has no value; the message names it and the remedy."""


Fetched: TypeAlias = dict[Remote, "str | SecretUnavailable"]
Filling: TypeAlias = "str | Nothing | NoValue | MalformedReference | None"


def resolve(data: Data, *, environ: Mapping[str, str], secrets: SecretSource | None, fresh: bool = False) -> Resolved:
    """`data` with its references filled in. `fresh` passes over what `secrets` (by default AWS) has cached."""
    templates = {text: _parsed(text) for text in _strings(data) if "${" in text}
    good = [template for template in templates.values() if isinstance(template, tuple)]
    wanted = {remote for template in good for remote in _remotes(template, environ)}
    values = _Values(environ, _fetch(wanted, secrets or _aws(environ), fresh=fresh) if wanted else {})
    pass_over = _Pass({text: _filling(template, values) for text, template in templates.items()})
    filled = pass_over.value(data, ())
    names = frozenset(name for template in good for name in _variables(template))
    return Resolved(filled, tuple(pass_over.gaps), names)


@dataclass(frozen=True, slots=True)
class _Values:
    environ: Mapping[str, str]
    fetched: Fetched

    def text(self, template: Template) -> str:
        return "".join(piece if isinstance(piece, str) else self._value(piece) for piece in template)

    def _value(self, reference: Variable | Remote) -> str:
        if isinstance(reference, Remote):
            return self._fetched(reference)
        if value := _set(self.environ, reference.name):
            return value
        if reference.default is not None:
            return self.text(reference.default)
        raise NoValue(f"{reference} has no value: set the variable {reference.name}, or write a default with `:-`")

    def _fetched(self, reference: Remote) -> str:
        value = self.fetched[replace(reference, key=None)]
        if isinstance(value, SecretUnavailable):
            raise NoValue(f"{reference} cannot be fetched: {value}")
        return value if reference.key is None else _json_value(reference, value)


@dataclass(slots=True)
class _Pass:
    """One walk over the data that puts in the fillings."""

    fillings: Mapping[str, Filling]
    gaps: list[Gap] = field(default_factory=list)

    def value(self, data: Data, place: Place) -> Data:
        if isinstance(data, dict):
            filled = ((key, self._filled(value, (*place, key))) for key, value in data.items())
            return {key: value for key, value in filled if not isinstance(value, Nothing)}
        if isinstance(data, list):
            items = (self._filled(item, (*place, index)) for index, item in enumerate(data))
            return ["" if isinstance(item, Nothing) else item for item in items]
        return data

    def _filled(self, data: Data, place: Place) -> "Data | Nothing":
        if not isinstance(data, str):
            return self.value(data, place)
        filling = self.fillings.get(data, data)
        if isinstance(filling, NoValue | MalformedReference):
            self.gaps.append(Gap(place, str(filling), malformed=isinstance(filling, MalformedReference)))
            return _stand_in(place)
        return filling


def _stand_in(place: Place) -> str | Nothing:
    key = next((step for step in reversed(place) if isinstance(step, str)), "")
    index = "_".join(str(step) for step in place if isinstance(step, int))
    return _STAND_INS[key].format(index) if key in _STAND_INS else Nothing.HERE


def _strings(data: Data) -> Iterator[str]:
    if isinstance(data, str):
        yield data
    elif data is not None:
        for part in data.values() if isinstance(data, dict) else data:
            yield from _strings(part)


def _parsed(text: str) -> Template | MalformedReference:
    try:
        return parse(text)
    except MalformedReference as error:
        return error


def _filling(template: Template | MalformedReference, values: _Values) -> Filling:
    """The value of a whole string. One that is a single `${VAR}` may be null, as `${LIMIT:-null}` is."""
    if isinstance(template, MalformedReference):
        return template
    try:
        text = values.text(template)
    except NoValue as error:
        return error
    if not text:
        return Nothing.HERE
    return None if text == "null" and len(template) == 1 and isinstance(template[0], Variable) else text


def _set(environ: Mapping[str, str], name: str) -> str | None:
    """A variable's value; one that is empty or blank counts as not set."""
    value = environ.get(name, "")
    return value if value.strip() else None


def _remotes(template: Template, environ: Mapping[str, str]) -> Iterator[Remote]:
    """What must be fetched, given that a default counts only when its variable is not set."""
    for piece in template:
        if isinstance(piece, Remote):
            yield replace(piece, key=None)
        elif isinstance(piece, Variable) and piece.default and not _set(environ, piece.name):
            yield from _remotes(piece.default, environ)


def _variables(template: Template) -> Iterator[str]:
    for piece in template:
        if isinstance(piece, Variable):
            yield piece.name
            yield from _variables(piece.default or ())


def _aws(environ: Mapping[str, str]) -> SecretSource:
    from sekha_llm_bridge.config.aws_secrets import AwsSecrets  # boto3 and Powertools: only for files that need them

    return AwsSecrets(environ)


def _fetch(wanted: set[Remote], secrets: SecretSource, *, fresh: bool) -> Fetched:
    remotes = sorted(wanted, key=str)
    with ThreadPoolExecutor(FETCHES_AT_ONCE) as pool:
        values = pool.map(lambda remote: _fetch_one(remote, secrets, fresh=fresh), remotes)
        return dict(zip(remotes, values, strict=True))


def _fetch_one(remote: Remote, secrets: SecretSource, *, fresh: bool) -> str | SecretUnavailable:
    try:
        fetch = secrets.ssm if remote.store == "ssm" else secrets.secret
        return fetch(remote.name, fresh=fresh)
    except SecretUnavailable as error:
        return error


def _json_value(reference: Remote, text: str) -> str:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        remedy = f"leave out `#{reference.key}`"
        raise NoValue(f"{reference} cannot be read: the secret is not a JSON object; {remedy}")
    if reference.key not in value:
        raise NoValue(f"{reference} cannot be read: the secret has no key `{reference.key}`")
    found = value[reference.key]
    return found if isinstance(found, str) else json.dumps(found)
