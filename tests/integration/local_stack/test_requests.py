"""Requests through the gateway to a real function process."""

import socket
from urllib.parse import urlsplit

import httpx
import pytest

from local_stack.testing import RunningStack

pytestmark = pytest.mark.stack


def test_a_request_reaches_the_function_as_a_proxy_event(client: httpx.Client) -> None:
    event = client.post("/act?a=1&a=2", headers={"X-Mine": "yes"}, content=b"{}").json()
    assert (event["httpMethod"], event["path"], event["body"]) == ("POST", "/act", "{}")
    assert event["multiValueQueryStringParameters"] == {"a": ["1", "2"]}
    assert event["headers"]["X-Mine"] == "yes"


def test_encoded_slashes_stay_in_a_path_variable(client: httpx.Client) -> None:
    event = client.get("/things/llama3.1%3A8b%2Fx").json()
    assert event["pathParameters"] == {"id": "llama3.1%3A8b%2Fx"}
    assert event["resource"] == "/things/{id}"


def test_a_greedy_path_variable_has_the_rest_of_the_path(client: httpx.Client) -> None:
    assert client.get("/deep/a/b%2Fc").json()["pathParameters"] == {"rest": "a/b%2Fc"}


def test_every_answer_carries_the_requests_ids(client: httpx.Client) -> None:
    answer = client.get("/things/x")
    assert answer.headers["x-amzn-requestid"] == answer.json()["requestContext"]["requestId"]
    assert answer.headers["x-amz-apigw-id"]


def test_an_unknown_path_gets_the_response_of_the_template(client: httpx.Client) -> None:
    answer = client.get("/nowhere")
    assert answer.status_code == 404
    assert answer.json() == {"id": answer.headers["x-request-id"], "m": "Missing Authentication Token"}


def test_an_unknown_method_has_no_route(client: httpx.Client) -> None:
    assert client.delete("/things/x").status_code == 404


def test_head_has_the_headers_of_an_answer_and_no_body(client: httpx.Client) -> None:
    answer = client.head("/act")
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["content-length"]) > 0


def test_binary_bodies_are_received_and_sent(client: httpx.Client) -> None:
    event = client.post("/act", content=b"\xff\x00", headers={"content-type": "text/plain"}).status_code
    assert event == 502  # text that is no text is mended, and then it is no JSON
    answer = {"statusCode": 200, "body": "/wA=", "isBase64Encoded": True, "headers": {"Content-Type": "image/png"}}
    made = client.post("/act", json={"do": "raw", "answer": answer}, headers={"accept": "image/png"})
    assert (made.content, made.headers["content-type"]) == (b"\xff\x00", "image/png")


def test_functions_see_the_users_the_templates_and_the_stacks_variables(client: httpx.Client) -> None:
    seen = client.post("/act", json={"do": "environment"}).json()
    assert (seen["FIXED"], seen["HANDED"], seen["USERS_OWN"]) == ("from the template", "from the user", "kept")
    assert seen["TABLE"] == "sekha-local-Table"
    assert seen["AWS_ENDPOINT_URL_DYNAMODB"].startswith("http://127.0.0.1:")
    assert seen["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "256"


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body_keeps_the_connection_usable(client: httpx.Client, status: int) -> None:
    answer = {"statusCode": status, "body": "left out", "headers": {"X-Empty": "", "X-Spaced": " a "}}
    made = client.post("/act", json={"do": "raw", "answer": answer})
    assert (made.status_code, made.content) == (status, b"")
    assert (made.headers["x-empty"], made.headers["x-spaced"]) == ("", "a")
    assert client.get("/act").status_code == 200


def test_a_client_disconnect_leaves_the_function_usable(stack: RunningStack, client: httpx.Client) -> None:
    address = urlsplit(stack.base_url)
    for part in (
        b"POST /act HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{",
        b"GET /act HTTP/1.1\r\nHost: x\r\n\r\n",
    ):
        with socket.create_connection((address.hostname, address.port)) as connection:
            connection.sendall(part)
    assert client.get("/act").status_code == 200


def test_invalid_http_is_refused(stack: RunningStack) -> None:
    address = urlsplit(stack.base_url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(b"what is this\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")


def test_one_connection_serves_many_requests(stack: RunningStack) -> None:
    address = urlsplit(stack.base_url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(b"HEAD /act HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
        received = b""
        while received.count(b"HTTP/1.1 200 OK") < 3:
            chunk = connection.recv(65536)
            assert chunk, "the connection was closed"
            received += chunk


def test_the_log_has_the_lines_of_the_function_and_of_the_platform(stack: RunningStack, client: httpx.Client) -> None:
    client.post("/act", json={"do": "fail"})
    assert "ValueError: a bug" in stack.log("Acting")
    assert "Memory Size: 256 MB" in stack.log("Acting")
