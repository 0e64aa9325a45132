"""Requests to one AWS service in its JSON protocol: credentials, signature, and the name of what went wrong.

botocore does the same for every service there is, and takes nearly as long to import as all else that a function needs
(infra/decisions/0014).
"""

import hashlib
import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import orjson

from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.connections import Connections, Reply

_OK = 200
_LONGEST_KIND = 60
_RENEWED_BEFORE = timedelta(minutes=5)
_ALGORITHM = "AWS4-HMAC-SHA256"


class AwsError(Exception):
    """The service refused; `kind` is its name for that, `fields` what it says besides."""

    def __init__(self, kind: str, fields: Mapping[str, Any]) -> None:
        super().__init__(kind)
        self.kind = kind
        self.fields = fields


def kind_of(failure: BaseException) -> str:
    """What kept an answer from coming, in a word: messages may quote anything."""
    return failure.kind if isinstance(failure, AwsError) else type(failure).__name__


@dataclass(frozen=True, slots=True)
class Credentials:
    """What requests are sign_headers with, until they expire; None: never."""

    access_key_id: str
    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    expires_at: datetime | None = None


class AwsRequests:
    """Sends sign_headers requests to `service` in the region of the environment. `target` begins its action's names.

    `timeout_s` is for one request; whoever waits less cancels it.
    """

    def __init__(
        self, service: str, target: str, connections: Connections, clock: Clock, *, timeout_s: float = 2.0
    ) -> None:
        self._service = service
        self._target = target
        self._connections = connections
        self._clock = clock
        self._region = os.environ.get("AWS_REGION") or os.environ["AWS_DEFAULT_REGION"]
        self._endpoint = _endpoint(service, self._region)
        self._timeout_s = timeout_s
        self._keys: Credentials | None = None
        if self._endpoint.startswith("https:"):
            connections.trust()  # now, in the init phase

    async def call(self, action: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """What the service answers. Nothing is sent twice: what was done once must not be done again.

        Raises `AwsError`, and whatever else keeps an answer from being one.
        """
        body = orjson.dumps(payload)
        headers = {"content-type": "application/x-amz-json-1.0", "x-amz-target": f"{self._target}.{action}"}
        sent = sign_headers(
            headers,
            body,
            url=self._endpoint,
            region=self._region,
            service=self._service,
            keys=await self._valid_keys(),
            now=self._clock.now(),
        )
        reply = await self._exchange("POST", self._endpoint, body, sent)
        answer: dict[str, Any] = orjson.loads(reply.content)
        if reply.status == _OK:
            return answer
        kind = str(answer["__type"]).rpartition("#")[2]
        kind = kind if kind.isalnum() and len(kind) < _LONGEST_KIND else "an error that it does not name"
        if kind == "ExpiredTokenException":
            self._keys = None
        raise AwsError(kind, answer)

    async def _valid_keys(self) -> Credentials:
        known = self._keys
        if known is None or (known.expires_at and known.expires_at - self._clock.now() < _RENEWED_BEFORE):
            self._keys = known = await self._fetched_keys()
        return known

    async def _fetched_keys(self) -> Credentials:
        """A function that was restored from a snapshot is given its keys by an endpoint, any other by its environment.

        https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html
        """
        if url := os.environ.get("AWS_CONTAINER_CREDENTIALS_FULL_URI"):
            token = os.environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN")
            reply = await self._exchange("GET", url, None, {"authorization": token} if token else {})
            given = orjson.loads(reply.content)
            expires_at = datetime.fromisoformat(given["Expiration"])
            return Credentials(given["AccessKeyId"], given["SecretAccessKey"], given["Token"], expires_at)
        if "AWS_ACCESS_KEY_ID" not in os.environ and _overridden(self._service):
            return Credentials("local", "local")  # whoever stands in for AWS does not look at them
        return Credentials(
            os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"], os.environ.get("AWS_SESSION_TOKEN")
        )

    async def _exchange(self, method: str, url: str, content: bytes | None, headers: Mapping[str, str]) -> Reply:
        return await self._connections.exchange(
            method, url, content=content, headers=headers, timeout_s=self._timeout_s
        )


def sign_headers(
    headers: Mapping[str, str], body: bytes, *, url: str, region: str, service: str, keys: Credentials, now: datetime
) -> dict[str, str]:
    """The headers of a POST to the root of `url`, with those that sign it: Signature Version 4.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-sign_headers-request.html
    """
    moment = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    sent = {**headers, "host": urlsplit(url).netloc, "x-amz-date": moment}
    if keys.token:
        sent["x-amz-security-token"] = keys.token
    names = ";".join(sorted(sent))
    lines = "".join(f"{name}:{sent[name].strip()}\n" for name in sorted(sent))
    request = f"POST\n/\n\n{lines}\n{names}\n{_hash(body)}"
    scope = f"{moment[:8]}/{region}/{service}/aws4_request"
    to_sign = f"{_ALGORITHM}\n{moment}\n{scope}\n{_hash(request.encode())}"
    key = f"AWS4{keys.secret}".encode()
    for part in scope.split("/"):
        key = _mac(key, part)
    signature = _mac(key, to_sign).hex()
    credential = f"Credential={keys.access_key_id}/{scope}"
    return {**sent, "authorization": f"{_ALGORITHM} {credential}, SignedHeaders={names}, Signature={signature}"}


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _mac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def _overridden(service: str) -> str | None:
    names = (f"AWS_ENDPOINT_URL_{service.upper()}", "AWS_ENDPOINT_URL")
    return next((os.environ[name] for name in names if os.environ.get(name)), None)


def _endpoint(service: str, region: str) -> str:
    """Where the service is; in China its name has another ending, and the local stack has one of its own."""
    ending = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return _overridden(service) or f"https://{service}.{region}.{ending}/"
