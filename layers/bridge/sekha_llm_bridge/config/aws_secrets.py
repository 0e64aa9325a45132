"""Fetches SSM parameters and Secrets Manager secrets with the bridge's own signed requests.

Imported only when the file refers to one. boto3 would add about 400 ms to a cold start; it is used only outside of
Lambda, to find the credentials of a profile or of a single sign-on.
"""

import asyncio
import os
from collections.abc import Callable, Collection, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from sekha_llm_bridge.aws.credentials import Credentials
from sekha_llm_bridge.aws.requests import AwsError, AwsRequests
from sekha_llm_bridge.aws.stored_values import (
    ABSENT,
    DENIED,
    Outcome,
    is_permanent,
    read_parameters,
    read_secrets,
)
from sekha_llm_bridge.clock import Clock, SystemClock
from sekha_llm_bridge.config.references import AwsReference, Store
from sekha_llm_bridge.config.secret_source import FetchedValues, SecretNotFetched, SecretUnavailable
from sekha_llm_bridge.connections import TRANSPORT_ERRORS, Connections

if TYPE_CHECKING:
    import boto3

_CALL_TIMEOUT_S = 2.0
_TOTAL_TIMEOUT_S = 5.0  # Lambda gives a function's start, and its restore from a snapshot, ten seconds

_CREATE_HINTS = {
    "ssm": "create it with `aws ssm put-parameter --type SecureString --name …`",
    "secretsmanager": "create it with `aws secretsmanager create-secret --name …`",
}
_REQUIRED_PERMISSIONS = {"ssm": "ssm:GetParameters", "secretsmanager": "secretsmanager:GetSecretValue"}
_INVALID_CREDENTIALS_CODES = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "UnrecognizedClientException",
    }
)
_NO_ANSWER = "AWS did not answer in time: check the network, or the VPC's endpoints and NAT"
_NO_CREDENTIALS = "there are no AWS credentials: give the function a role, or run `aws configure`"
_NO_REGION = "no AWS region is configured: set AWS_REGION"


class AwsSecrets:
    """The `SecretSource` for AWS, in the region of the function. It remembers nothing.

    `environ` has the region and says where credentials are to be found. Each `fetch` has an event loop and connections
    of its own, so that it works before the function's loop is made, and in any thread.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ, clock: Clock | None = None) -> None:
        self._environ = environ
        self._clock = clock or SystemClock()

    def fetch(self, references: Collection[AwsReference], *, fresh: bool = False) -> FetchedValues:  # noqa: ARG002
        """See `SecretSource`. Takes at most five seconds."""
        try:
            session = self._boto3_session()
            region = self._environ.get("AWS_REGION") or self._environ.get("AWS_DEFAULT_REGION")
            region = region or (session.region_name if session else None)
            credentials = _credentials(session) if session else None
        except Exception as exc:  # noqa: BLE001 — botocore raises whatever a broken profile causes
            failure = SecretUnavailable(f"{type(exc).__name__}: check the AWS configuration")
            return dict.fromkeys(references, failure)
        if not region:
            return dict.fromkeys(references, SecretUnavailable(_NO_REGION))
        if session is not None and credentials is None:
            return dict.fromkeys(references, SecretUnavailable(_NO_CREDENTIALS))
        found = _run_in_own_loop(lambda: self._fetch(references, region, credentials))
        return {reference: _text_or_failure(reference.store, found[reference]) for reference in references}

    def _boto3_session(self) -> "boto3.Session | None":
        """Returns what finds credentials where no variable has any. In Lambda, one always has."""
        names = ("AWS_ACCESS_KEY_ID", "AWS_CONTAINER_CREDENTIALS_FULL_URI")
        if any(name in self._environ for name in names):
            return None
        try:
            import boto3
        except ImportError:
            return None
        return boto3.Session()

    async def _fetch(
        self, references: Collection[AwsReference], region: str, credentials: Credentials | None
    ) -> Mapping[AwsReference, Outcome]:
        """Returns the outcome of each reference. Both services are called at the same time."""
        connections = Connections(self._clock)
        found: dict[AwsReference, Outcome] = dict.fromkeys(references, TimeoutError())

        async def read(store: Store, target: str, read_all: Callable[..., Any]) -> None:
            names = sorted({reference.name for reference in references if reference.store == store})
            if not names:
                return
            outcomes: Mapping[str, Outcome]
            try:
                requests = AwsRequests(
                    store,
                    target,
                    connections,
                    self._clock,
                    timeout_s=_CALL_TIMEOUT_S,
                    json_version="1.1",
                    region=region,
                    credentials=credentials,
                )
                outcomes = await read_all(requests, names, self._clock)
            except Exception as exc:  # noqa: BLE001 — a malformed answer, or no TLS: the function must start all the same
                outcomes = dict.fromkeys(names, exc)
            found.update({reference: outcomes[reference.name] for reference in found if reference.store == store})

        try:
            async with asyncio.timeout(_TOTAL_TIMEOUT_S), asyncio.TaskGroup() as tasks:
                tasks.create_task(read("ssm", "AmazonSSM", read_parameters))
                tasks.create_task(read("secretsmanager", "secretsmanager", read_secrets))
        except TimeoutError:
            pass
        finally:
            await connections.aclose()
        return found


def _credentials(session: "boto3.Session") -> Credentials | None:
    found = session.get_credentials()
    if found is None:
        return None
    frozen = found.get_frozen_credentials()
    return Credentials(str(frozen.access_key), str(frozen.secret_key), frozen.token)


def _run_in_own_loop(
    make: Callable[[], Coroutine[Any, Any, Mapping[AwsReference, Outcome]]],
) -> Mapping[AwsReference, Outcome]:
    """Returns the result of the coroutine, run in a loop that is made for it. The loop of this thread stays as it is;
    where one is running, another thread runs the coroutine.
    """

    def run() -> Mapping[AwsReference, Outcome]:
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            return runner.run(make())

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return run()
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result()


def _text_or_failure(store: Store, outcome: Outcome) -> str | SecretUnavailable:
    """Returns the text, or the failure in words. The message of AWS is left out: it has account and role names."""
    if isinstance(outcome, str):
        return outcome
    if isinstance(outcome, bytes):
        try:
            return outcome.decode()
        except UnicodeDecodeError:
            return SecretUnavailable("it is not text: store it as a string")
    kind = SecretUnavailable if is_permanent(outcome) else SecretNotFetched
    return kind(_reason(store, outcome))


def _reason(store: Store, failure: Exception) -> str:
    """Returns why a value has not been fetched, and what to do."""
    if isinstance(failure, KeyError) and is_permanent(failure):
        return _NO_CREDENTIALS
    if not isinstance(failure, AwsError):
        if isinstance(failure, (TimeoutError, OSError, *TRANSPORT_ERRORS)):
            return _NO_ANSWER
        what = "check the AWS configuration" if is_permanent(failure) else "AWS did not answer as expected"
        return f"{type(failure).__name__}: {what}"
    if failure.kind in ABSENT:
        return f"it does not exist in this account and region: correct its name, or {_CREATE_HINTS[store]}"
    if failure.kind in DENIED:
        permission = _REQUIRED_PERMISSIONS[store]
        return f"access is denied: allow the role {permission} on it (and kms:Decrypt if it has its own KMS key)"
    if failure.kind in _INVALID_CREDENTIALS_CODES:
        return f"the AWS credentials are not valid ({failure.kind}): renew them"
    return f"AWS answered {failure.kind}"
