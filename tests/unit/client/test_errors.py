"""Every error that a bridge can answer has a class, which has what the answer says."""

import pickle
import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from sekha_llm_bridge import client, errors
from sekha_llm_bridge.client import errors as client_errors
from sekha_llm_bridge.client.errors import error_of, retry_after_s
from sekha_llm_bridge.errors import BridgeError, FailureKind

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "layers" / "bridge" / "sekha_llm_bridge"


def classes_of(module: object) -> list[type[BridgeError]]:
    found = vars(module).values()
    return [kind for kind in found if isinstance(kind, type) and issubclass(kind, BridgeError)]


def codes_of_the_server() -> set[str]:
    """The codes of the tree, of the kinds of failure, of API Gateway's answers, and any other in the code."""
    of_classes = {kind.code for kind in classes_of(errors)}
    of_failures = {kind.code for kind in FailureKind}
    of_gateway = set(re.findall(r'"code": "(\w+)"', (ROOT / "template.yaml").read_text()))
    server = [path for path in PACKAGE.rglob("*.py") if path.parent.name != "client"]
    in_code = {code for path in server for code in re.findall(r'^    code = "(\w+)"', path.read_text(), re.MULTILINE)}
    assert {"cost_limit_exceeded", "content_refused", "payload_too_large"} <= of_classes | of_failures | of_gateway
    return of_classes | of_failures | of_gateway | in_code


@pytest.mark.parametrize("code", sorted(codes_of_the_server()))
def test_every_code_of_the_server_has_a_class(code: str) -> None:
    error = error_of({"error": {"message": "m", "code": code}}, status=418, headers={})
    assert code in client_errors._BY_CODE
    assert type(error) is not BridgeError
    assert (error.code, error.status, str(error)) == (code, 418, "m")


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (kind, kind.code)
        for kind in classes_of(errors)
        if "code" in vars(kind) and kind not in {BridgeError, errors.RequestError}
    ],
)
def test_a_code_of_the_tree_is_its_own_class(kind: type[BridgeError], code: str) -> None:
    assert type(error_of({"error": {"code": code}}, status=400, headers={})) is kind


@pytest.mark.parametrize("status", range(400, 600))
def test_an_unknown_code_has_a_class_by_its_status(status: int) -> None:
    error = error_of({"error": {"code": "new_in_a_later_version", "message": "m"}}, status=status, headers={})
    assert isinstance(error, errors.RequestError) == (status < 500 and status != 429)
    assert isinstance(error, errors.Unavailable) == (status in {429, 502, 503, 504})
    assert (error.status, error.code) == (status, "new_in_a_later_version")


@pytest.mark.parametrize(
    ("code", "status", "name"),
    [
        ("invalid_request", 400, "InvalidRequest"),
        ("invalid_api_key", 401, "AuthenticationFailed"),
        ("access_denied", 403, "PermissionDenied"),
        ("payload_too_large", 413, "PayloadTooLarge"),
        ("quota_exceeded", 429, "QuotaExceeded"),
        ("unsupported_by_model", 400, "UnsupportedByModel"),
        ("dimensions_not_supported", 400, "UnsupportedByModel"),
        ("context_length_exceeded", 400, "ContextLengthExceeded"),
        ("content_refused", 400, "ContentRefused"),
        ("timeout", 502, "ProviderFailed"),
        ("internal_error", 500, "InternalError"),
    ],
)
def test_the_class_is_found_by_the_code(code: str, status: int, name: str) -> None:
    assert type(error_of({"error": {"code": code}}, status=status, headers={})).__name__ == name


def test_an_error_has_everything_that_the_answer_says() -> None:
    envelope = {
        "message": "all failed",
        "type": "provider_error",
        "param": "messages",
        "code": "all_providers_failed",
        "request_id": "r1",
        "attempts": [{"provider_id": "p", "code": "timeout"}],
        "candidates": [{"provider_id": "p", "excluded": "why"}],
        "bridge": {"cost": 0.5},
    }
    error = error_of({"error": envelope}, status=502, headers={"retry-after": "3"})
    assert type(error) is errors.AllProvidersFailed
    assert (error.message, error.type, error.param, error.status) == ("all failed", "provider_error", "messages", 502)
    assert (error.request_id, error.retry_after_s) == ("r1", 3.0)
    assert error.attempts[0]["code"] == "timeout"
    assert error.candidates[0]["excluded"] == "why"
    assert error.receipt == {"cost": 0.5}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"message": "Forbidden"}, "Forbidden"),
        ({"detail": "Not Found"}, "Not Found"),
        ({"error": "model not found"}, "model not found"),
        ({"error": None}, "the bridge answered 403"),
        ([], "the bridge answered 403"),
        ({"error": {"message": 5, "code": ["x"]}}, "the bridge answered 403"),
    ],
)
def test_another_form_of_error_keeps_its_message(document: object, message: str) -> None:
    error = error_of(document, status=403, headers={"x-request-id": "r2"})
    assert (type(error).__name__, str(error), error.request_id) == ("PermissionDenied", message, "r2")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "2"}, 0.25),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT"}, 0.0),
    ],
)
def test_the_wait_is_read_in_every_form(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers) == seconds


def test_a_wait_may_be_a_date() -> None:
    then = datetime.now(UTC) + timedelta(seconds=100)
    wait_s = retry_after_s({"retry-after": format_datetime(then, usegmt=True)})
    assert wait_s is not None
    assert 90 < wait_s <= 100


@pytest.mark.parametrize("kind", classes_of(client), ids=lambda kind: kind.__name__)
def test_an_error_passes_between_processes(kind: type[BridgeError]) -> None:
    error = kind.__new__(kind, "what happened")
    error.request_id, error.retry_after_s = "r", 2.0
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 — our own bytes
    assert (type(copy), str(copy), copy.request_id, copy.retry_after_s) == (kind, "what happened", "r", 2.0)


def test_the_module_draws_every_error_of_the_client() -> None:
    own = [kind.__name__ for kind in classes_of(client_errors) if kind.__module__ == client_errors.__name__]
    assert client_errors.__doc__ is not None
    assert [name for name in own if name not in client_errors.__doc__] == []


def test_every_error_of_both_trees_can_be_imported_from_the_package() -> None:
    raised = {kind.__name__ for module in (errors, client_errors) for kind in classes_of(module)}
    # The server's own: an attempt at a provider, and a client that has gone.
    assert raised - set(client.__all__) == {"ProviderError", "ClientDisconnected"}
