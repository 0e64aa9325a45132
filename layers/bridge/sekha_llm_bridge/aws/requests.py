"""Signed requests to one AWS service in its JSON protocol.

botocore does the same for all services, but importing it takes nearly as long as all other imports of a function
together (infra/decisions/0014).
"""

import hashlib
import hmac
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import orjson

from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.connections import Connections, Reply

_OK = 200
_TIMEOUT_S = 2.0
_MAX_KIND_LENGTH = 60
_RENEW_BEFORE_EXPIRY = timedelta(minutes=5)
_ALGORITHM = "AWS4-HMAC-SHA256"


class AwsError(Exception):
    """The service answered with an error. `kind` is AWS's name of the error, `fields` is the body."""

    def __init__(self, kind: str, fields: Mapping[str, Any]) -> None:
        super().__init__(kind)
        self.kind = kind
        self.fields = fields


@contextmanager
def translate_errors(service: str, error_type: type[Exception]) -> Iterator[None]:
    """Raises `error_type` for every exception: an error of the service, no credentials, a malformed response, a bug.

    The message has only the kind of error: the exception's own message may quote what was sent.
    """
    try:
        yield
    except Exception as exc:
        kind = exc.kind if isinstance(exc, AwsError) else type(exc).__name__
        raise error_type(f"{service} request failed ({kind})") from exc


@dataclass(frozen=True, slots=True)
class Credentials:
    """The credentials that sign requests. They are valid until `expires_at`; None means forever."""

    access_key_id: str
    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    expires_at: datetime | None = None


class AwsRequests:
    """Sends signed requests to `service` in the environment's region. `target` is the prefix of its action names.

    A request takes at most `timeout_s`. A caller that waits for less time cancels it.
    """

    def __init__(
        self, service: str, target: str, connections: Connections, clock: Clock, *, timeout_s: float = _TIMEOUT_S
    ) -> None:
        self._service = service
        self._target = target
        self._connections = connections
        self._clock = clock
        self._region = os.environ.get("AWS_REGION") or os.environ["AWS_DEFAULT_REGION"]
        self._endpoint = _endpoint(service, self._region)
        self._timeout_s = timeout_s
        self._credentials: Credentials | None = None
        if self._endpoint.startswith("https:"):
            connections.tls_context()  # now, in Lambda's init phase: a TLS context takes long to make

    async def call(self, action: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the service's answer. Sends the request once: a repeated write could be counted twice.

        Raises `AwsError`, and exceptions of the connection or of a malformed answer.
        """
        body = orjson.dumps(payload)
        headers = {"content-type": "application/x-amz-json-1.0", "x-amz-target": f"{self._target}.{action}"}
        signed = sign_headers(
            headers,
            body,
            url=self._endpoint,
            region=self._region,
            service=self._service,
            credentials=await self._valid_credentials(),
            now=self._clock.now(),
        )
        reply = await self._exchange("POST", self._endpoint, body, signed)
        answer: dict[str, Any] = orjson.loads(reply.content)
        if reply.status == _OK:
            return answer
        kind = str(answer["__type"]).rpartition("#")[2]
        kind = kind if kind.isalnum() and len(kind) < _MAX_KIND_LENGTH else "UnknownError"
        if kind == "ExpiredTokenException":
            self._credentials = None
        raise AwsError(kind, answer)

    async def _valid_credentials(self) -> Credentials:
        known = self._credentials
        if known is None or (known.expires_at and known.expires_at - self._clock.now() < _RENEW_BEFORE_EXPIRY):
            self._credentials = known = await self._fetch_credentials()
        return known

    async def _fetch_credentials(self) -> Credentials:
        """Returns credentials from Lambda's endpoint if a snapshot was restored, otherwise from the environment.

        https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html
        """
        if url := os.environ.get("AWS_CONTAINER_CREDENTIALS_FULL_URI"):
            token = os.environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN")
            reply = await self._exchange("GET", url, None, {"authorization": token} if token else {})
            body = orjson.loads(reply.content)
            expires_at = datetime.fromisoformat(body["Expiration"])
            return Credentials(body["AccessKeyId"], body["SecretAccessKey"], body["Token"], expires_at)
        if "AWS_ACCESS_KEY_ID" not in os.environ and _endpoint_override(self._service):
            return Credentials("local", "local")  # a local stand-in for AWS does not check them
        return Credentials(
            os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"], os.environ.get("AWS_SESSION_TOKEN")
        )

    async def _exchange(self, method: str, url: str, content: bytes | None, headers: Mapping[str, str]) -> Reply:
        return await self._connections.exchange(
            method, url, content=content, headers=headers, timeout_s=self._timeout_s
        )


def sign_headers(
    headers: Mapping[str, str],
    body: bytes,
    *,
    url: str,
    region: str,
    service: str,
    credentials: Credentials,
    now: datetime,
) -> dict[str, str]:
    """Returns the headers of a POST to the root of `url`, with a Signature Version 4.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
    """
    moment = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    signed = {**headers, "host": urlsplit(url).netloc, "x-amz-date": moment}
    if credentials.token:
        signed["x-amz-security-token"] = credentials.token
    names = ";".join(sorted(signed))
    lines = "".join(f"{name}:{signed[name].strip()}\n" for name in sorted(signed))
    canonical_request = f"POST\n/\n\n{lines}\n{names}\n{_sha256(body)}"
    scope = f"{moment[:8]}/{region}/{service}/aws4_request"
    to_sign = f"{_ALGORITHM}\n{moment}\n{scope}\n{_sha256(canonical_request.encode())}"
    key = f"AWS4{credentials.secret}".encode()
    for part in scope.split("/"):
        key = _hmac_sha256(key, part)
    signature = _hmac_sha256(key, to_sign).hex()
    credential = f"Credential={credentials.access_key_id}/{scope}"
    return {**signed, "authorization": f"{_ALGORITHM} {credential}, SignedHeaders={names}, Signature={signature}"}


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _hmac_sha256(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def _endpoint_override(service: str) -> str | None:
    names = (f"AWS_ENDPOINT_URL_{service.upper()}", "AWS_ENDPOINT_URL")
    return next((os.environ[name] for name in names if os.environ.get(name)), None)


def _endpoint(service: str, region: str) -> str:
    """Returns the service's URL. Regions in China have another domain; the local stack sets the URL."""
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return _endpoint_override(service) or f"https://{service}.{region}.{domain}/"
