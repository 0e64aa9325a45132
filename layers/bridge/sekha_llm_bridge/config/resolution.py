"""Replaces references by their values from environment variables, SSM and Secrets Manager.

Values stored in AWS are fetched first, all together. A reference without a value is reported as `UnresolvedReference`
and replaced by a placeholder, so that the rest of its section can be validated. A variable of the environment may hold
a reference to a stored value; then it stands for that value.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TypeAlias

from sekha_llm_bridge.config.document import Data
from sekha_llm_bridge.config.fault import KeyPath
from sekha_llm_bridge.config.faults import is_secret
from sekha_llm_bridge.config.references import (
    AwsReference,
    MalformedReference,
    Template,
    TemplatePart,
    Variable,
    parse,
    stored_reference,
)
from sekha_llm_bridge.config.secret_source import (
    FetchedValues,
    SecretNotFetched,
    SecretSource,
    SecretUnavailable,
    SecretUse,
)

# In place of a credential that this function does not read: it is known to be configured, and never sent.
NOT_READ = "not-read"

# For required keys, so that they are not also reported as missing. Other keys are omitted. `{}` is the list indexes.
_PLACEHOLDERS = {
    "id": "unnamed_{}",
    "base_url": "https://unknown.invalid",
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
    """A reference at `key_path` that has no value. `is_malformed`: its syntax is invalid. `is_stored`: it is to a value
    stored in AWS. `is_temporary`: that could not be fetched now, and may be at the next attempt.
    """

    key_path: KeyPath
    reason: str
    is_malformed: bool
    is_stored: bool = False
    is_temporary: bool = False


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


class NotStored(MissingValue):
    """A reference to a value stored in AWS has none."""


class NotFetched(NotStored):
    """A value stored in AWS could not be fetched now."""


Result: TypeAlias = "str | Omitted | MissingValue | MalformedReference | None"


def resolve(
    data: Data,
    *,
    environ: Mapping[str, str],
    secrets: SecretSource | None,
    uses: SecretUse = SecretUse.ALL,
    fresh: bool = False,
) -> Resolved:
    """Returns `data` with its references replaced. `fresh` fetches stored values although they are known. `secrets`
    fetches them, by default from AWS. `uses`: which stored values are read; the others get placeholders and count as
    present.
    """
    templates = {text: _parse_or_error(text, environ) for text in _strings(data) if "${" in text}
    stored = {
        text: references
        for text, template in templates.items()
        if isinstance(template, tuple) and (references := frozenset(_aws_references(template, environ)))
    }
    to_fetch = frozenset[AwsReference]().union(*_to_read(data, stored, uses)) if stored else frozenset()
    fetched = (secrets or _default_secret_source(environ)).fetch(to_fetch, fresh=fresh) if to_fetch else {}
    values = _ValueSource(environ, fetched)
    not_read = {text for text, references in stored.items() if not references <= to_fetch}
    results = {text: _resolve_template(each, values) for text, each in templates.items() if text not in not_read}
    substitution = _Substitution(results, frozenset(stored), uses)
    substituted = substitution.value(data, ())
    well_formed = [template for text in templates if isinstance(template := _parse_or_error(text, {}), tuple)]
    names = frozenset(name for template in well_formed for name in _variables(template))
    return Resolved(substituted, tuple(substitution.unresolved), names)


def is_empty(text: str, environ: Mapping[str, str]) -> bool:
    """Returns whether a string of the file stands for nothing: references to variables that have no value, or only
    empty ones. Fetches nothing: a stored value counts as present.
    """
    template = _parse_or_error(text, environ)
    if isinstance(template, MalformedReference) or any(_aws_references(template, environ)):
        return False
    return _resolve_template(template, _ValueSource(environ, {})) is Omitted.OMITTED


def _to_read(
    data: Data, stored: Mapping[str, frozenset[AwsReference]], uses: SecretUse
) -> Iterator[frozenset[AwsReference]]:
    sections = data.items() if isinstance(data, dict) else [("", data)]
    for name, section in sections:
        if _use_of((name,)) in uses:
            yield from (stored[text] for text in _strings(section) if text in stored)


def _use_of(key_path: KeyPath) -> SecretUse:
    return SecretUse.CHROMA if key_path[:1] == ("chroma",) else SecretUse.PROVIDERS


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
            _require_well_formed(reference, value)
            return value
        if reference.default is not None:
            return self.text(reference.default)
        raise MissingValue(f"{reference} has no value: set the variable {reference.name}, or write a default with `:-`")

    def _fetched(self, reference: AwsReference) -> str:
        value = self.fetched[replace(reference, key=None)]
        if isinstance(value, SecretNotFetched):
            raise NotFetched(f"{reference} could not be fetched yet: {value}")
        if isinstance(value, SecretUnavailable):
            raise NotStored(f"{reference} cannot be fetched: {value}")
        return value if reference.key is None else _json_value(reference, value)


@dataclass(slots=True)
class _Substitution:
    """Replaces strings by their resolved values and collects the unresolved references."""

    results: Mapping[str, Result]
    stored: frozenset[str]
    uses: SecretUse
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
        if data in self.stored and _use_of(key_path) not in self.uses:
            return NOT_READ if is_secret(key_path) else _placeholder(key_path)
        result = self.results.get(data, data)
        if isinstance(result, MissingValue | MalformedReference):
            self.unresolved.append(
                UnresolvedReference(
                    key_path,
                    str(result),
                    is_malformed=isinstance(result, MalformedReference),
                    is_stored=isinstance(result, NotStored),
                    is_temporary=isinstance(result, NotFetched),
                )
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


def _parse_or_error(text: str, environ: Mapping[str, str]) -> Template | MalformedReference:
    """Returns the template, with the references that variables hold in place of these variables."""
    try:
        return _with_stored_variables(parse(text), environ)
    except MalformedReference as error:
        return error


def _with_stored_variables(template: Template, environ: Mapping[str, str]) -> Template:
    return tuple(_stored_or_same(part, environ) for part in template)


def _stored_or_same(part: TemplatePart, environ: Mapping[str, str]) -> TemplatePart:
    if not isinstance(part, Variable):
        return part
    if value := _variable_value(environ, part.name):
        try:
            return stored_reference(value) or part
        except MalformedReference:
            return part  # reported when its value is needed
    return replace(part, default=_with_stored_variables(part.default, environ)) if part.default else part


def _require_well_formed(variable: Variable, value: str) -> None:
    try:
        stored_reference(value)
    except MalformedReference as error:
        raise MissingValue(f"{variable} has {error}") from None


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
    from sekha_llm_bridge.config.aws_secrets import AwsSecrets  # a file without references starts faster

    return AwsSecrets(environ)


def _json_value(reference: AwsReference, text: str) -> str:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        remedy = f"leave out `#{reference.key}`"
        raise NotStored(f"{reference} cannot be read: the secret is not a JSON object; {remedy}")
    if reference.key not in value:
        raise NotStored(f"{reference} cannot be read: the secret has no key `{reference.key}`")
    found = value[reference.key]
    return found if isinstance(found, str) else json.dumps(found)
