"""What breaks as it breaks on AWS; and after each fault the next request works."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from local_stack.invocation import MAX_ANSWER_BYTES, MAX_EVENT_BYTES
from local_stack.testing import RunningStack

pytestmark = pytest.mark.stack

MB = 1024 * 1024


@pytest.fixture(autouse=True)
def _the_next_request_works(client: httpx.Client) -> Iterator[None]:
    """Holds after each test of this module."""
    yield
    assert client.get("/act").status_code == 200
    assert client.get("/brief").status_code == 200


def test_a_crash_is_a_bad_gateway(stack: RunningStack, client: httpx.Client) -> None:
    answer = client.post("/act", json={"do": "exit"})
    assert (answer.status_code, answer.json()) == (502, {"message": "Internal server error"})
    assert "Runtime exited with error: exit status 3" in stack.log("Acting")


def test_an_exception_is_a_bad_gateway_and_the_instance_is_kept(client: httpx.Client) -> None:
    before = client.post("/act", json={"do": "pid"}).json()
    assert client.post("/act", json={"do": "fail"}).status_code == 502
    assert client.post("/act", json={"do": "pid"}).json() == before


@pytest.mark.parametrize("answer", ["text", None, {"status": 200}, {"statusCode": "x"}])
def test_a_malformed_answer_is_a_bad_gateway(client: httpx.Client, answer: object) -> None:
    assert client.post("/act", json={"do": "raw", "answer": answer}).status_code == 502


def test_a_function_that_exceeds_its_timeout_is_killed(stack: RunningStack, client: httpx.Client) -> None:
    before = client.post("/brief", json={"do": "pid"}).json()
    assert client.post("/brief", json={"do": "sleep", "seconds": 60}).status_code == 502
    assert "Task timed out after 1.00 seconds" in stack.log("Brief")
    assert client.post("/brief", json={"do": "pid"}).json() != before
    assert not Path(f"/proc/{before}").exists()


def test_after_the_integration_timeout_the_client_gets_an_error_and_the_function_keeps_running(
    client: httpx.Client, tmp_path: Path
) -> None:
    mark = tmp_path / "finished"
    answer = client.post("/hurried", json={"do": "sleep", "seconds": 1, "then": str(mark)})
    assert (answer.status_code, answer.json()) == (504, {"message": "Endpoint request timed out"})
    assert not mark.exists()
    # Its instance is busy until it has finished; this waits for the mark from another.
    client.post("/act", json={"do": "meet", "folder": str(tmp_path), "number": 2})
    assert mark.exists()


def test_a_request_beyond_the_reserved_concurrency_is_refused_at_once_by_a_500(
    client: httpx.Client, tmp_path: Path
) -> None:
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, "/single", json={"do": "meet", "folder": str(tmp_path), "number": 2})
        while not list(tmp_path.iterdir()):
            time.sleep(0.01)
        second = client.post("/single", json={"do": "pid"})
        (tmp_path / "other").touch()
        assert (second.status_code, second.json()) == (500, {"message": "Internal server error"})
        assert first.result().status_code == 200
    assert client.post("/single", json={"do": "pid"}).status_code == 200


def test_a_function_that_exceeds_its_memory_is_killed(stack: RunningStack, client: httpx.Client) -> None:
    assert client.post("/act", json={"do": "hog", "mb": 400}).status_code == 502
    assert "Memory Size: 256 MB exceeded" in stack.log("Acting")


def test_a_function_that_cannot_start_is_a_bad_gateway_and_its_log_was_shown(
    stack: RunningStack, client: httpx.Client
) -> None:
    assert client.get("/broken").status_code == 502
    assert client.get("/broken").status_code == 502
    assert "RuntimeError: this module cannot be imported" in stack.printed()


def test_a_body_beyond_ten_megabytes_is_too_large(client: httpx.Client) -> None:
    assert client.post("/act", content=b"x" * (10 * MB + 1)).status_code == 413


def test_a_chunked_body_beyond_ten_megabytes_is_too_large(client: httpx.Client) -> None:
    assert client.post("/act", content=(b"x" * MB for _ in range(11))).status_code == 413


def test_an_event_beyond_lambdas_limit_is_too_large(client: httpx.Client) -> None:
    padding = MAX_EVENT_BYTES - len(client.post("/act", content=b"{}").content)
    order = '{"do": "pid"}'
    assert client.post("/act", content=order + " " * (padding - 1000)).status_code == 200
    assert client.post("/act", content=order + " " * (padding + 1000)).status_code == 413


def test_an_answer_beyond_lambdas_limit_is_a_bad_gateway(client: httpx.Client) -> None:
    framing = len('{"statusCode": 200, "body": ""}')
    fits = client.post("/act", json={"do": "fill", "bytes": MAX_ANSWER_BYTES - framing})
    assert (fits.status_code, len(fits.content)) == (200, MAX_ANSWER_BYTES - framing)
    assert client.post("/act", json={"do": "fill", "bytes": MAX_ANSWER_BYTES - framing + 1}).status_code == 502


def test_concurrent_requests_get_an_instance_each(client: httpx.Client, tmp_path: Path) -> None:
    """Each of the five answers only when all five are there."""
    order = {"do": "meet", "folder": str(tmp_path), "number": 5}
    with ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(lambda _: client.post("/act", json=order), range(5)))
    assert [answer.status_code for answer in answers] == [200] * 5
    assert len({answer.json() for answer in answers}) == 5
