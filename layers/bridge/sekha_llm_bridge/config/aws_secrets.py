"""Fetches and caches SSM parameters and Secrets Manager secrets with Powertools.

Imported only when the file refers to one, because importing boto3 and Powertools adds about 400 ms to a cold start.
"""

import os
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any

import boto3
from aws_lambda_powertools.utilities.parameters import SecretsProvider, SSMProvider
from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError
from botocore import exceptions as boto
from botocore.config import Config

from sekha_llm_bridge.config.secret_source import SecretUnavailable

MAX_AGE_S = 300  # a rotated secret is used after this time, or earlier after the provider's 401

# The defaults of botocore (60 s to connect, several attempts) can be longer than Lambda's limit for startup.
_CONFIG = Config(connect_timeout=1, read_timeout=2, retries={"mode": "standard", "total_max_attempts": 2})

_CREATE_HINTS = {
    "ssm": "create it with `aws ssm put-parameter --type SecureString --name …`",
    "secretsmanager": "create it with `aws secretsmanager create-secret --name …`",
}
_REQUIRED_PERMISSIONS = {"ssm": "ssm:GetParameter", "secretsmanager": "secretsmanager:GetSecretValue"}
_NOT_FOUND_CODES = frozenset({"ParameterNotFound", "ParameterVersionNotFound", "ResourceNotFoundException"})
_ACCESS_DENIED_CODES = frozenset(
    {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "DecryptionFailure", "KMSAccessDeniedException"}
)
_INVALID_CREDENTIALS_CODES = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "UnrecognizedClientException",
    }
)


class AwsSecrets:
    """The `SecretSource` for AWS. Creates each client at its first use, in the region of the function.

    Only AWS_REGION is read from `environ`; boto3 itself finds credentials and endpoints.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._environ = environ
        self._lock = Lock()  # creating boto3 clients is not thread-safe; using them is
        self._ssm: SSMProvider | None = None
        self._secrets: SecretsProvider | None = None

    def ssm(self, path: str, *, fresh: bool) -> str:
        """See `SecretSource`."""
        return _fetch("ssm", lambda: self._parameters().get(path, max_age=MAX_AGE_S, decrypt=True, force_fetch=fresh))

    def secret(self, name: str, *, fresh: bool) -> str:
        """See `SecretSource`."""
        return _fetch("secretsmanager", lambda: self._secrets_manager().get(name, max_age=MAX_AGE_S, force_fetch=fresh))

    def _parameters(self) -> SSMProvider:
        with self._lock:
            if self._ssm is None:
                self._ssm = SSMProvider(boto3_client=boto3.client("ssm", region_name=self._region, config=_CONFIG))
            return self._ssm

    def _secrets_manager(self) -> SecretsProvider:
        with self._lock:
            if self._secrets is None:
                client = boto3.client("secretsmanager", region_name=self._region, config=_CONFIG)
                self._secrets = SecretsProvider(boto3_client=client)
            return self._secrets

    @property
    def _region(self) -> str | None:
        """The region in AWS_REGION, which Lambda sets and boto3 does not read; None: boto3 uses its configuration."""
        return self._environ.get("AWS_REGION") or None


def _fetch(store: str, fetch: Callable[[], Any]) -> str:
    """Returns the result of `fetch` as text. Raises `SecretUnavailable` for its failures.

    The exception is not chained, because the message of AWS contains account and role names.
    """
    try:
        value = fetch()
    except GetParameterError as error:
        reason = _reason(store, error.__context__)
    except (
        boto.BotoCoreError,
        ValueError,
    ) as error:  # the client cannot be created: no region, or a malformed endpoint
        reason = _reason(store, error)
    else:
        return _text(value)
    raise SecretUnavailable(reason)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            value = None
    if not isinstance(value, str):
        raise SecretUnavailable("it is not text: store it as a string")
    return value


def _reason(store: str, error: BaseException | None) -> str:
    """Returns why a fetch failed and what to do."""
    match error:
        case boto.ClientError():
            return _client_error_reason(store, str(error.response.get("Error", {}).get("Code", "unknown")))
        case boto.NoCredentialsError():
            return "there are no AWS credentials: give the function a role, or run `aws configure`"
        case boto.NoRegionError():
            return "no AWS region is configured: set AWS_REGION"
        case boto.ConnectionError() | boto.HTTPClientError():
            return "AWS did not answer in time: check the network, or the VPC's endpoints and NAT"
    return f"{type(error).__name__}: check the AWS configuration"


def _client_error_reason(store: str, code: str) -> str:
    if code in _NOT_FOUND_CODES:
        return f"it does not exist in this account and region: correct its name, or {_CREATE_HINTS[store]}"
    if code in _ACCESS_DENIED_CODES:
        permission = _REQUIRED_PERMISSIONS[store]
        return f"access is denied: allow the role {permission} on it (and kms:Decrypt if it has its own KMS key)"
    if code in _INVALID_CREDENTIALS_CODES:
        return f"the AWS credentials are not valid ({code}): renew them"
    return f"AWS answered {code}"
