"""Signed requests to one AWS service in its JSON protocol.

botocore does the same for all services, but importing it takes nearly as long as all other imports of a function
together (infra/decisions/0014).
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import orjson

from sekha_llm_bridge.aws.credentials import Credentials, RoleCredentials
from sekha_llm_bridge.aws.signing import sign_headers
from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.connections import Connections

_OK = 200
_TIMEOUT_S = 2.0
# Names in the variables AWS_ENDPOINT_URL_…, where they differ from the name of the host.
_ENDPOINT_VARIABLES = {"secretsmanager": "SECRETS_MANAGER"}
_MAX_KIND_LENGTH = 60


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


class AwsRequests:
    """Sends signed requests to `service`. `target` is the prefix of its action names, `json_version` the version of
    its JSON protocol.

    A request takes at most `timeout_s`. A caller that waits for less time cancels it. `region` is by default that of
    the environment; `credentials` are by default those of the function's role.
    """

    def __init__(
        self,
        service: str,
        target: str,
        connections: Connections,
        clock: Clock,
        *,
        timeout_s: float = _TIMEOUT_S,
        json_version: str = "1.0",
        region: str | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        self._service = service
        self._target = target
        self._connections = connections
        self._clock = clock
        self._content_type = f"application/x-amz-json-{json_version}"
        self._region = region or os.environ.get("AWS_REGION") or os.environ["AWS_DEFAULT_REGION"]
        self._endpoint = _endpoint(service, self._region)
        self._timeout_s = timeout_s
        # A local stand-in for AWS does not check the credentials.
        stand_in = Credentials("local", "local") if _endpoint_override(service) else None
        self._credentials = RoleCredentials(
            connections, clock, timeout_s=timeout_s, stand_in=stand_in, given=credentials
        )
        if self._endpoint.startswith("https:"):
            connections.tls_context()  # now, in Lambda's init phase: a TLS context takes long to make

    async def call(self, action: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the service's answer. Sends the request once: a repeated write could be counted twice.

        Raises `AwsError`, and exceptions of the connection or of a malformed answer.
        """
        body = orjson.dumps(payload)
        headers = {"content-type": self._content_type, "x-amz-target": f"{self._target}.{action}"}
        signed = sign_headers(
            headers,
            body,
            url=self._endpoint,
            region=self._region,
            service=self._service,
            credentials=await self._credentials.get(),
            now=self._clock.now(),
        )
        reply = await self._connections.exchange(
            "POST", self._endpoint, content=body, headers=signed, timeout_s=self._timeout_s
        )
        answer: dict[str, Any] = orjson.loads(reply.content)
        if reply.status == _OK:
            return answer
        kind = str(answer["__type"]).rpartition("#")[2]
        kind = kind if kind.isalnum() and len(kind) < _MAX_KIND_LENGTH else "UnknownError"
        if kind == "ExpiredTokenException":
            self._credentials.forget()
        raise AwsError(kind, answer)


def _endpoint_override(service: str) -> str | None:
    variable = _ENDPOINT_VARIABLES.get(service, service.upper())
    names = (f"AWS_ENDPOINT_URL_{variable}", "AWS_ENDPOINT_URL")
    return next((os.environ[name] for name in names if os.environ.get(name)), None)


def _endpoint(service: str, region: str) -> str:
    """Returns the service's URL. Regions in China have another domain; the local stack sets the URL."""
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return _endpoint_override(service) or f"https://{service}.{region}.{domain}/"
