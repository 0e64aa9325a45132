"""Parameters of SSM and secrets of Secrets Manager, by way of Powertools, cached.

Imported only when the file refers to one: boto3 and Powertools cost a cold start some 400 ms.
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

MAX_AGE_S = 300  # a rotated secret is seen after this; sooner by a refetch after the provider's 401

# botocore's own defaults are a minute to connect and several tries: longer than a function has to start.
_CONFIG = Config(connect_timeout=1, read_timeout=2, retries={"mode": "standard", "total_max_attempts": 2})

_CREATE = {
    "ssm": "create it with `aws ssm put-parameter --type SecureString --name …`",
    "secretsmanager": "create it with `aws secretsmanager create-secret --name …`",
}
_ALLOW = {"ssm": "ssm:GetParameter", "secretsmanager": "secretsmanager:GetSecretValue"}
_MISSING = frozenset({"ParameterNotFound", "ParameterVersionNotFound", "ResourceNotFoundException"})
_DENIED = frozenset(
    {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "DecryptionFailure", "KMSAccessDeniedException"}
)
_BAD_CREDENTIALS = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "UnrecognizedClientException",
    }
)


class AwsSecrets:
    """The `SecretSource` of a deployment. Clients are made when first needed, in the Lambda's region.

    `environ` is read for AWS_REGION only; credentials and endpoints are found by boto3 itself.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._environ = environ
        self._lock = Lock()  # making a boto3 client is not safe in several threads at once; using one is
        self._ssm: SSMProvider | None = None
        self._secrets: SecretsProvider | None = None

    def ssm(self, path: str, *, fresh: bool) -> str:
        """See `SecretSource`."""
        return _fetched("ssm", lambda: self._parameters().get(path, max_age=MAX_AGE_S, decrypt=True, force_fetch=fresh))

    def secret(self, name: str, *, fresh: bool) -> str:
        """See `SecretSource`."""
        return _fetched(
            "secretsmanager", lambda: self._secrets_manager().get(name, max_age=MAX_AGE_S, force_fetch=fresh)
        )

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
        """Lambda's variable, which boto3 does not read; without it boto3 looks into its own configuration."""
        return self._environ.get("AWS_REGION") or None


def _fetched(store: str, fetch: Callable[[], Any]) -> str:
    """What `fetch` gives, or its failure in our words; not chained, because AWS's message names accounts and roles."""
    try:
        value = fetch()
    except GetParameterError as error:
        reason = _reason(store, error.__context__)
    except (boto.BotoCoreError, ValueError) as error:  # no client: no region, or a malformed endpoint
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
    """Why a fetch failed, and the remedy."""
    match error:
        case boto.ClientError():
            return _refusal(store, str(error.response.get("Error", {}).get("Code", "unknown")))
        case boto.NoCredentialsError():
            return "there are no AWS credentials: give the function a role, or run `aws configure`"
        case boto.NoRegionError():
            return "no AWS region is known: set AWS_REGION"
        case boto.ConnectionError() | boto.HTTPClientError():
            return "AWS did not answer in time: check the network, or the VPC's endpoints and NAT"
    return f"{type(error).__name__}: check the AWS configuration"


def _refusal(store: str, code: str) -> str:
    if code in _MISSING:
        return f"it does not exist in this account and region: correct its name, or {_CREATE[store]}"
    if code in _DENIED:
        return f"access is denied: allow the role {_ALLOW[store]} on it (and kms:Decrypt on a key of its own)"
    if code in _BAD_CREDENTIALS:
        return f"the AWS credentials are not valid ({code}): renew them"
    return f"AWS answered {code}"
