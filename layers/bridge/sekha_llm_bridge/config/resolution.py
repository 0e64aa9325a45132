"""Replaces references by their values from environment variables, SSM and Secrets Manager.

Values stored in AWS are fetched first, each once, up to eight at the same time. A reference without a value is reported
as `UnresolvedReference` and replaced by a placeholder, so that the rest of its section can be validated.
"""

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TypeAlias

from sekha_llm_bridge.config.document import Data
from sekha_llm_bridge.config.fault import KeyPath
from sekha_llm_bridge.config.references import AwsReference, MalformedReference, Template, Variable, parse
from sekha_llm_bridge.config.secret_source import SecretSource, SecretUnavailable

MAX_CONCURRENT_FETCHES = 8

# For required keys, so that they are not also reported as missing. Other keys are omitted. `{}` is the list indexes.
_PLACEHOLDERS = {
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
class UnresolvedReference:
    """A reference at `key_path` that has no value. `is_malformed`: its syntax is invalid."""

    key_path: KeyPath
    reason: str
    is_malformed: bool


@dataclass(frozen=True, slots=True)
class Resolved:
    """Data with references replaced, the `unresolved` references, and all `variables` in the file, set or not."""

    data: Data
    unresolved: tuple[UnresolvedReference, ...]
    variables: frozenset[str]


class Omitted(Enum):
    """A value that consists of references with empty values. Its key is treated as absent."""

    OMITTED = "omitted"


class MissingValue(Exception):
    """A reference has no value. The message contains the reference and what to do."""


FetchedValues: TypeAlias = dict[AwsReference, "str | SecretUnavailable"]
Result: TypeAlias = "str | Omitted | MissingValue | MalformedReference | None"


def resolve(data: Data, *, environ: Mapping[str, str], secrets: SecretSource | None, fresh: bool = False) -> Resolved:
    """Returns `data` with its references replaced. `fresh` ignores the cache of `secrets`, by default AWS."""
    templates = {text: _parse_or_error(text) for text in _strings(data) if "${" in text}
    well_formed = [template for template in templates.values() if isinstance(template, tuple)]
    to_fetch = {reference for template in well_formed for reference in _aws_references(template, environ)}
    values = _ValueSource(
        environ, _fetch(to_fetch, secrets or _default_secret_source(environ), fresh=fresh) if to_fetch else {}
    )
    substitution = _Substitution({text: _resolve_template(template, values) for text, template in templates.items()})
    substituted = substitution.value(data, ())
    names = frozenset(name for template in well_formed for name in _variables(template))
    return Resolved(substituted, tuple(substitution.unresolved), names)


@dataclass(frozen=True, slots=True)
class _ValueSource:
    environ: Mapping[str, str]
    fetched: FetchedValues

    def text(self, template: Template) -> str:
        return "".join(part if isinstance(part, str) else self._value(part) for part in template)

    def _value(self, reference: Variable | AwsReference) -> str:
        if isinstance(reference, AwsReference):
            return self._fetched(reference)
        if value := _variable_value(self.environ, reference.name):
            return value
        if reference.default is not None:
            return self.text(reference.default)
        raise MissingValue(f"{reference} has no value: set the variable {reference.name}, or write a default with `:-`")

    def _fetched(self, reference: AwsReference) -> str:
        value = self.fetched[replace(reference, key=None)]
        if isinstance(value, SecretUnavailable):
            raise MissingValue(f"{reference} cannot be fetched: {value}")
        return value if reference.key is None else _json_value(reference, value)


@dataclass(slots=True)
class _Substitution:
    """Replaces strings by their resolved values and collects the unresolved references."""

    results: Mapping[str, Result]
    unresolved: list[UnresolvedReference] = field(default_factory=list)

    def value(self, data: Data, key_path: KeyPath) -> Data:
        if isinstance(data, dict):
            entries = ((key, self._substitute(value, (*key_path, key))) for key, value in data.items())
            return {key: value for key, value in entries if not isinstance(value, Omitted)}
        if isinstance(data, list):
            items = (self._substitute(item, (*key_path, index)) for index, item in enumerate(data))
            return ["" if isinstance(item, Omitted) else item for item in items]
        return data

    def _substitute(self, data: Data, key_path: KeyPath) -> "Data | Omitted":
        if not isinstance(data, str):
            return self.value(data, key_path)
        result = self.results.get(data, data)
        if isinstance(result, MissingValue | MalformedReference):
            self.unresolved.append(
                UnresolvedReference(key_path, str(result), is_malformed=isinstance(result, MalformedReference))
            )
            return _placeholder(key_path)
        return result


def _placeholder(key_path: KeyPath) -> str | Omitted:
    key = next((step for step in reversed(key_path) if isinstance(step, str)), "")
    index = "_".join(str(step) for step in key_path if isinstance(step, int))
    return _PLACEHOLDERS[key].format(index) if key in _PLACEHOLDERS else Omitted.OMITTED


def _strings(data: Data) -> Iterator[str]:
    if isinstance(data, str):
        yield data
    elif data is not None:
        for part in data.values() if isinstance(data, dict) else data:
            yield from _strings(part)


def _parse_or_error(text: str) -> Template | MalformedReference:
    try:
        return parse(text)
    except MalformedReference as error:
        return error


def _resolve_template(template: Template | MalformedReference, values: _ValueSource) -> Result:
    """Returns the value of a complete string. A single `${VAR}` can resolve to null, for example `${LIMIT:-null}`."""
    if isinstance(template, MalformedReference):
        return template
    try:
        text = values.text(template)
    except MissingValue as error:
        return error
    if not text:
        return Omitted.OMITTED
    return None if text == "null" and len(template) == 1 and isinstance(template[0], Variable) else text


def _variable_value(environ: Mapping[str, str], name: str) -> str | None:
    """Returns the value of a variable, or None when it is not set or blank."""
    value = environ.get(name, "")
    return value if value.strip() else None


def _aws_references(template: Template, environ: Mapping[str, str]) -> Iterator[AwsReference]:
    """Yields the references to fetch. A default is included only when its variable is not set."""
    for part in template:
        if isinstance(part, AwsReference):
            yield replace(part, key=None)
        elif isinstance(part, Variable) and part.default and not _variable_value(environ, part.name):
            yield from _aws_references(part.default, environ)


def _variables(template: Template) -> Iterator[str]:
    for part in template:
        if isinstance(part, Variable):
            yield part.name
            yield from _variables(part.default or ())


def _default_secret_source(environ: Mapping[str, str]) -> SecretSource:
    from sekha_llm_bridge.config.aws_secrets import AwsSecrets  # imports boto3 and Powertools

    return AwsSecrets(environ)


def _fetch(to_fetch: set[AwsReference], secrets: SecretSource, *, fresh: bool) -> FetchedValues:
    references = sorted(to_fetch, key=str)
    with ThreadPoolExecutor(MAX_CONCURRENT_FETCHES) as pool:
        values = pool.map(lambda reference: _fetch_one(reference, secrets, fresh=fresh), references)
        return dict(zip(references, values, strict=True))


def _fetch_one(reference: AwsReference, secrets: SecretSource, *, fresh: bool) -> str | SecretUnavailable:
    try:
        fetch = secrets.ssm if reference.store == "ssm" else secrets.secret
        return fetch(reference.name, fresh=fresh)
    except SecretUnavailable as error:
        return error


def _json_value(reference: AwsReference, text: str) -> str:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        remedy = f"leave out `#{reference.key}`"
        raise MissingValue(f"{reference} cannot be read: the secret is not a JSON object; {remedy}")
    if reference.key not in value:
        raise MissingValue(f"{reference} cannot be read: the secret has no key `{reference.key}`")
    found = value[reference.key]
    return found if isinstance(found, str) else json.dumps(found)
