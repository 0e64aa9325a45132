"""Reads parameters of SSM and secrets of Secrets Manager, in as few calls as the two services allow.

A failure concerns one name, and is returned in place of its value: a denied or absent name does not keep the others
from being read. Each call is sent a second time, after a random pause, if it failed quickly and may succeed now.

Sources: API references of GetParameters (10 names; unknown ones are in `InvalidParameters`; the whole call is denied if
one of them is), GetSecretValue and BatchGetSecretValue (20 secrets; each failure is in `Errors`; the action has a
permission of its own, and a policy of a VPC endpoint that denies one secret denies the whole call).
"""

import asyncio
import base64
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import httpcore

from sekha_llm_bridge.aws.requests import AwsError, AwsRequests
from sekha_llm_bridge.batching import split_into_batches
from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.connections import InvalidURL

MAX_PARAMETERS = 10
MAX_SECRETS = 20
_MAX_PAUSE_S = 0.3
_ARN_SUFFIX_LENGTH = len("-AbCdEf")  # Secrets Manager adds it to a name, and accepts an ARN without it
# The system's source, because environments that were restored from one snapshot share the state of any other.
_SYSTEM_RANDOM = random.SystemRandom()

ABSENT = frozenset({"ParameterNotFound", "ParameterVersionNotFound", "ResourceNotFoundException"})
DENIED = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "DecryptionFailure",
        "DisabledException",
        "InvalidKeyId",
        "KMSAccessDeniedException",
        "KMSDisabledException",
        "KMSInvalidStateException",
        "KMSNotFoundException",
        "NotAuthorized",
        "OptInRequired",
        "UnauthorizedOperation",
    }
)
INVALID = frozenset(
    {
        "InvalidParameterException",
        "InvalidRequestException",  # also a secret that is scheduled for deletion
        "SerializationException",
        "UnknownOperationException",
        "ValidationException",
    }
)
PERMANENT = ABSENT | DENIED | INVALID
"""Errors that stay until somebody acts. Every other error, known or not, may be over at the next attempt: throttling,
a failure of the service, credentials that have expired. To ask again costs little; to give a provider up costs its use.
"""

Outcome: TypeAlias = str | bytes | Exception


def is_permanent(failure: Exception) -> bool:
    """Returns whether a failed read stays so until somebody acts. A variable with credentials may be missing, or the
    address of a service malformed.
    """
    if isinstance(failure, AwsError):
        return failure.kind in PERMANENT
    if isinstance(failure, KeyError):
        return str(failure.args[0]).startswith("AWS_")
    return isinstance(failure, InvalidURL | httpcore.UnsupportedProtocol)


async def read_parameters(ssm: AwsRequests, names: Sequence[str], clock: Clock) -> Mapping[str, Outcome]:
    """Returns the decrypted value, or the failure, of each parameter."""
    batches = split_into_batches(names, lambda _: 0, max_size=0, max_items=MAX_PARAMETERS)
    return _merged(await asyncio.gather(*(_read_batch_of_parameters(ssm, batch, clock) for batch in batches)))


async def read_secrets(manager: AwsRequests, names: Sequence[str], clock: Clock) -> Mapping[str, Outcome]:
    """Returns the value, or the failure, of each secret; a binary value as bytes."""
    batches = split_into_batches(names, lambda _: 0, max_size=0, max_items=MAX_SECRETS)
    return _merged(await asyncio.gather(*(_read_batch_of_secrets(manager, batch, clock) for batch in batches)))


async def _read_batch_of_parameters(ssm: AwsRequests, names: Sequence[str], clock: Clock) -> Mapping[str, Outcome]:
    try:
        answer = await _call(ssm, "GetParameters", {"Names": list(names), "WithDecryption": True}, clock)
    except Exception as exc:  # noqa: BLE001 — any failure is the outcome of the names
        if len(names) == 1 or not is_permanent(exc):
            return dict.fromkeys(names, exc)
        return _merged(await asyncio.gather(*(_read_batch_of_parameters(ssm, [name], clock) for name in names)))
    found = {key: row["Value"] for row in answer.get("Parameters", ()) for key in _names_of_parameter(row)}
    return {name: found.get(name, AwsError("ParameterNotFound", {})) for name in names}


def _names_of_parameter(row: Mapping[str, Any]) -> Iterable[str]:
    """Yields the names by which the parameter may have been asked for: `Selector` is its version or label."""
    selector = row.get("Selector") or ""
    yield from (f"{row[key]}{selector}" for key in ("Name", "ARN") if row.get(key))


async def _read_batch_of_secrets(manager: AwsRequests, names: Sequence[str], clock: Clock) -> Mapping[str, Outcome]:
    if len(names) == 1:
        return {names[0]: await _read_secret(manager, names[0], clock)}
    try:
        answer = await _call(manager, "BatchGetSecretValue", {"SecretIdList": list(names)}, clock)
    except Exception as exc:  # noqa: BLE001 — as above
        if not is_permanent(exc):
            return dict.fromkeys(names, exc)
        answer = {}
    outcomes = {name: _from_batch(answer, name) for name in names}
    missing = [name for name, outcome in outcomes.items() if outcome is None]
    rest = await asyncio.gather(*(_read_secret(manager, name, clock) for name in missing))
    found = {name: outcome for name, outcome in outcomes.items() if outcome is not None}
    return {**found, **dict(zip(missing, rest, strict=True))}


def _from_batch(answer: Mapping[str, Any], name: str) -> Outcome | None:
    """Returns the outcome of one secret; None where the answer has none, or one that is read alone with more detail."""
    for row in answer.get("SecretValues", ()):
        arn = str(row.get("ARN", ""))
        if name in {row.get("Name"), arn, arn[:-_ARN_SUFFIX_LENGTH]}:
            return _secret_value(row)
    for row in answer.get("Errors", ()):
        if row.get("SecretId") == name:
            return AwsError(str(row.get("ErrorCode")), {})
    return None


async def _read_secret(manager: AwsRequests, name: str, clock: Clock) -> Outcome:
    try:
        return _secret_value(await _call(manager, "GetSecretValue", {"SecretId": name}, clock))
    except Exception as exc:  # noqa: BLE001 — as above
        return exc


def _secret_value(row: Mapping[str, Any]) -> str | bytes:
    return str(row["SecretString"]) if "SecretString" in row else base64.b64decode(row["SecretBinary"])


async def _call(requests: AwsRequests, action: str, payload: Mapping[str, Any], clock: Clock) -> dict[str, Any]:
    """Sends the request; once more if it failed and may succeed now. A request that timed out is not repeated: Lambda
    gives a function's start ten seconds.
    """
    try:
        return await requests.call(action, payload)
    except Exception as exc:
        if is_permanent(exc) or "Timeout" in type(exc).__name__:
            raise
    await clock.sleep(_SYSTEM_RANDOM.uniform(0.05, _MAX_PAUSE_S))
    return await requests.call(action, payload)


def _merged(parts: Iterable[Mapping[str, Outcome]]) -> Mapping[str, Outcome]:
    return {name: outcome for part in parts for name, outcome in part.items()}
