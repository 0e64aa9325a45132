"""Where reports come from: `GET /api/v1/health` of a bridge, over HTTP."""

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

# The bridge itself answers at once; the rest is for a function's cold start.
_ANSWER_S = 10.0
_CONNECT_S = 5.0
_ERRNO = re.compile(r"^\[Errno -?\d+\] ")
_PATH = "/api/v1/health"
_URL_OPTION = "(--url or SEKHA_BRIDGE_URL)"
_IS_IT_A_BRIDGE = f"is this the URL of a bridge? {_URL_OPTION}"
_REPORTING = frozenset({HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE})


class NoReport(Exception):
    """There is no report. `subject` is the URL or the option that is to blame, `reason` the problem with it and the
    remedy, printable; neither holds the key.
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
    """A bridge that can be asked again and again, over one connection."""

    url: str
    client: httpx.Client

    def ask(self) -> Answer:
        """The bridge's report of this moment. Raises `NoReport` when it gives none or is silent for 10 s."""
        try:
            response = self.client.get(f"{self.url}{_PATH}")
        except httpx.HTTPError as exc:
            raise NoReport(self.url, f"cannot be reached, {_reason(exc)}", _how_to_reach(self.url)) from exc
        if response.status_code not in _REPORTING:
            raise _refusal(response)
        return _parsed(response)


@contextmanager
def open_source(url: str, api_key: str | None) -> Iterator[HealthSource]:
    """The bridge at `url`, which may end in `/v1`. Raises `NoReport` when `url` or `api_key` cannot be used."""
    base_url = parse_base_url(url)
    with _client(_headers(api_key), may_use_proxy=not _is_here(base_url)) as client:
        yield HealthSource(base_url, client)


def parse_base_url(text: str) -> str:
    """The bridge's address without a slash or `/v1` at its end. Raises `NoReport` for what is no http address."""
    if "@" in text:  # not repeated: there is a password before it
        raise NoReport("--url", "holds a user name or password", "leave it out; a key is given with --api-key")
    try:
        url = httpx.URL(text.strip())
        url.host.encode("idna")  # as the resolver does, which would raise it as no error of httpx
    except (httpx.InvalidURL, UnicodeError):
        url = httpx.URL()
    if url.scheme not in {"http", "https"} or not url.host:
        raise NoReport(repr(text), "is no URL of a bridge", f"it looks like http://127.0.0.1:8000 {_URL_OPTION}")
    path = url.path.rstrip("/").removesuffix("/v1").rstrip("/")
    return f"{url.scheme}://{url.netloc.decode()}{path}"


def _client(headers: dict[str, str], *, may_use_proxy: bool) -> httpx.Client:
    """Uses the environment's proxy, but not for what runs on this machine."""
    timeout = httpx.Timeout(_ANSWER_S, connect=_CONNECT_S)
    try:
        return httpx.Client(timeout=timeout, headers=headers, trust_env=may_use_proxy)
    except (httpx.InvalidURL, ImportError, ValueError) as exc:  # ImportError: SOCKS needs a package of its own
        raise NoReport(
            "the proxy of the environment", f"cannot be used, {exc}", "check HTTPS_PROXY and its like"
        ) from exc


def _headers(api_key: str | None) -> dict[str, str]:
    key = (api_key or "").strip()
    if not key:
        return {}
    if not (key.isascii() and key.isprintable()):
        raise NoReport("--api-key", "has a character that no header can carry", "check it, or SEKHA_BRIDGE_API_KEY")
    return {"authorization": f"Bearer {key}"}


def _reason(error: httpx.HTTPError) -> str:
    if isinstance(error, httpx.ConnectTimeout):
        return f"no connection within {_CONNECT_S:.0f} s"
    if isinstance(error, httpx.TimeoutException):
        return f"no answer within {_ANSWER_S:.0f} s"
    return _ERRNO.sub("", str(error)) or type(error).__name__


def _how_to_reach(url: str) -> str:
    if _is_here(url):
        return "is it running? `infra/local/up` starts it"
    return f"check the URL {_URL_OPTION} and the network"


def _is_here(url: str) -> bool:
    """Whether it is an address of this machine itself."""
    host = httpx.URL(url).host
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _refusal(response: httpx.Response) -> NoReport:
    """What an answer means that cannot be a report."""
    problem = f"answered {response.status_code} instead of a health report"
    return NoReport(_asked_url(response), problem, _how_to_be_let_in(response))


def _how_to_be_let_in(response: httpx.Response) -> str:
    if response.next_request is not None:
        return f"give the URL that it redirects to, {response.next_request.url}"
    if response.status_code == HTTPStatus.UNAUTHORIZED and "authorization" not in response.request.headers:
        return "a key is needed, give it with --api-key or in SEKHA_BRIDGE_API_KEY"
    if response.status_code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return "check the key (--api-key or SEKHA_BRIDGE_API_KEY) and the URL"
    return _IS_IT_A_BRIDGE


def _parsed(response: httpx.Response) -> Answer:
    try:
        report = HealthReport.model_validate_json(response.content)
    except ValidationError as exc:
        problem = f"answered {response.status_code}, but not with a health report ({_first_fault(exc)})"
        raise NoReport(_asked_url(response), problem, _IS_IT_A_BRIDGE) from exc
    return Answer(report, response.json())


def _asked_url(response: httpx.Response) -> str:
    return str(response.request.url)


def _first_fault(error: ValidationError) -> str:
    """Where the first fault is and what it is; not the value, which may be anything."""
    fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
    if fault["type"] == "json_invalid":
        return "no JSON"
    return f"{'.'.join(map(str, fault['loc'])) or 'the whole'}: {fault['msg']}"
