"""Reads the report of a bridge: `GET /api/v1/health`."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any

import httpx
from pydantic import ValidationError

from sekha_llm_bridge.cli.health.printable import printable
from sekha_llm_bridge.cli.health.report import HealthReport

# Enough for the cold start of a function.
_ANSWER_TIMEOUT_S = 10.0
_CONNECT_TIMEOUT_S = 5.0
_ERRNO = re.compile(r"^\[Errno -?\d+\] ")
_PATH = "/api/v1/health"
_URL_OPTION = "(--url or SEKHA_BRIDGE_URL)"
_CHECK_URL = f"is this the URL of a bridge? {_URL_OPTION}"
_REPORT_STATUSES = frozenset({HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE})


class NoReport(Exception):
    """There is no report. `subject`: the URL or option that is at fault. `reason`: the problem and the remedy,
    printable. Neither contains the key.
    """

    def __init__(self, subject: str, problem: str, remedy: str) -> None:
        self.subject = subject
        self.reason = printable(f"{problem}: {remedy}")
        super().__init__(f"{subject}: {self.reason}")


@dataclass(frozen=True, slots=True)
class Answer:
    """A report, and the JSON document that it was parsed from."""

    report: HealthReport
    document: Any


@dataclass(frozen=True, slots=True)
class HealthSource:
    """A client of one bridge. It reuses its connection."""

    url: str
    client: httpx.Client

    def ask(self) -> Answer:
        """Returns the current report. Raises `NoReport` when the bridge sends none within 10 s."""
        try:
            response = self.client.get(f"{self.url}{_PATH}")
        except httpx.HTTPError as exc:
            remedy = f"check the URL {_URL_OPTION} and the network"
            if _is_local(self.url):
                remedy = "is it running? `infra/local/up` starts it"
            raise NoReport(self.url, f"cannot be reached, {_reason(exc)}", remedy) from exc
        if response.status_code not in _REPORT_STATUSES:
            problem = f"answered {response.status_code} instead of a health report"
            raise NoReport(str(response.request.url), problem, _access_remedy(response))
        return _parsed(response)


@contextmanager
def open_source(url: str, api_key: str | None) -> Iterator[HealthSource]:
    """Yields a client of the bridge at `url`, which may end in `/v1`. Raises `NoReport` when `url` or `api_key` cannot
    be used."""
    base_url = parse_base_url(url)
    with _client(_headers(api_key), may_use_proxy=not _is_local(base_url)) as client:
        yield HealthSource(base_url, client)


def parse_base_url(text: str) -> str:
    """Returns the bridge's address without a slash or `/v1` at its end. Raises `NoReport` for an invalid address."""
    if "@" in text:  # the address contains a password, so the message does not repeat it
        raise NoReport("--url", "holds a user name or password", "leave it out; a key is given with --api-key")
    try:
        url = httpx.URL(text.strip())
        url.host.encode("idna")  # the resolver does this later, and its UnicodeError is no error of httpx
    except (httpx.InvalidURL, UnicodeError):
        url = httpx.URL()
    if url.scheme not in {"http", "https"} or not url.host:
        raise NoReport(repr(text), "is not the URL of a bridge", f"it looks like http://127.0.0.1:8000 {_URL_OPTION}")
    path = url.path.rstrip("/").removesuffix("/v1").rstrip("/")
    return f"{url.scheme}://{url.netloc.decode()}{path}"


def _client(headers: dict[str, str], *, may_use_proxy: bool) -> httpx.Client:
    """Returns the HTTP client. It uses the environment's proxy, except for a bridge on this machine."""
    timeout = httpx.Timeout(_ANSWER_TIMEOUT_S, connect=_CONNECT_TIMEOUT_S)
    try:
        return httpx.Client(timeout=timeout, headers=headers, trust_env=may_use_proxy)
    except (httpx.InvalidURL, ImportError, ValueError) as exc:  # ImportError: a SOCKS proxy needs another package
        raise NoReport(
            "the proxy of the environment", f"cannot be used, {exc}", "check HTTPS_PROXY, HTTP_PROXY and ALL_PROXY"
        ) from exc


def _headers(api_key: str | None) -> dict[str, str]:
    key = (api_key or "").strip()
    if not key:
        return {}
    if not (key.isascii() and key.isprintable()):
        raise NoReport("--api-key", "has a character that a header cannot have", "check it, or SEKHA_BRIDGE_API_KEY")
    return {"authorization": f"Bearer {key}"}


def _reason(error: httpx.HTTPError) -> str:
    if isinstance(error, httpx.ConnectTimeout):
        return f"no connection within {_CONNECT_TIMEOUT_S:.0f} s"
    if isinstance(error, httpx.TimeoutException):
        return f"no answer within {_ANSWER_TIMEOUT_S:.0f} s"
    return _ERRNO.sub("", str(error)) or type(error).__name__


def _is_local(url: str) -> bool:
    """Whether `url` is an address of this machine."""
    host = httpx.URL(url).host
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _access_remedy(response: httpx.Response) -> str:
    if response.next_request is not None:
        return f"give the URL that it redirects to, {response.next_request.url}"
    if response.status_code == HTTPStatus.UNAUTHORIZED and "authorization" not in response.request.headers:
        return "a key is needed, give it with --api-key or in SEKHA_BRIDGE_API_KEY"
    if response.status_code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return "check the key (--api-key or SEKHA_BRIDGE_API_KEY) and the URL"
    return _CHECK_URL


def _parsed(response: httpx.Response) -> Answer:
    try:
        report = HealthReport.model_validate_json(response.content)
    except ValidationError as exc:
        problem = f"answered {response.status_code}, but not with a health report ({_first_fault(exc)})"
        raise NoReport(str(response.request.url), problem, _CHECK_URL) from exc
    return Answer(report, response.json())


def _first_fault(error: ValidationError) -> str:
    """Returns the place and the kind of the first fault, without the value: it may be anything."""
    fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
    if fault["type"] == "json_invalid":
        return "not JSON"
    return f"{'.'.join(map(str, fault['loc'])) or 'the document'}: {fault['msg']}"
