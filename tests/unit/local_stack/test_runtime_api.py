"""What the Runtime API makes of what a runtime sends it; the runtime is a bare connection here."""

import asyncio
from collections.abc import Callable, Coroutine

import pytest

from local_stack.invocation import Answer, FaultKind, FunctionFault, Invocation
from local_stack.runtime_api import RuntimeApi

REPORT = "eyJlcnJvclR5cGUiOiAiQnVnIiwgImVycm9yTWVzc2FnZSI6ICJsYXRlIn0="  # {"errorType": "Bug", "errorMessage": "late"}


class Runtime:
    """A Runtime API with one invocation under way, and the connection that its answer is sent on."""

    def __init__(self, api: RuntimeApi) -> None:
        self._api = api
        self.invocation = Invocation(b"{}", request_id="one", trace_id="")

    async def take_event(self) -> None:
        self._api.offer(self.invocation, deadline_ms=0)
        await self.connect()
        self.writer.write(b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"\r\n\r\n{}" in await self.reader.read(65536)
        self.writer.close()
        await self.connect()

    async def connect(self) -> None:
        host, port = self._api.address.split(":")
        self.reader, self.writer = await asyncio.open_connection(host, int(port))

    def post(self, body: str, *, mode: str = "streaming") -> None:
        """Sends an answer, or the beginning of one."""
        self.writer.write(
            b"POST /2018-06-01/runtime/invocation/one/response HTTP/1.1\r\nHost: x\r\nContent-Type: text/x-own\r\n"
            b"Transfer-Encoding: chunked\r\nLambda-Runtime-Function-Response-Mode: " + f"{mode}\r\n\r\n{body}".encode()
        )

    async def answer(self) -> Answer:
        return await self.invocation.answer_started

    async def said(self) -> bytes:
        """What the API answers."""
        return await self.reader.read(65536)


def run(scenario: Callable[[Runtime], Coroutine[object, object, None]]) -> None:
    """Runs `scenario` with an API that takes streams of 10 bytes."""

    async def around() -> None:
        api = RuntimeApi("arn", max_streamed_bytes=10)
        await api.start()
        try:
            runtime = Runtime(api)
            await runtime.take_event()
            await asyncio.wait_for(scenario(runtime), 10)
            runtime.writer.close()
        finally:
            await api.close()

    asyncio.run(around())


def test_a_stream_begins_with_its_content_type_before_it_has_ended() -> None:
    async def scenario(runtime: Runtime) -> None:
        runtime.post("1\r\na\r\n")
        answer = await runtime.answer()
        assert answer.content_type == "text/x-own"
        assert await anext(answer.body) == b"a"
        runtime.writer.write(b"0\r\n\r\n")
        assert await answer.read() == b""
        assert (await runtime.said()).startswith(b"HTTP/1.1 202 ")

    run(scenario)


@pytest.mark.parametrize(
    ("trailers", "said"),
    [
        (f"Lambda-Runtime-Function-Error-Type: T\r\nLambda-Runtime-Function-Error-Body: {REPORT}\r\n", "Bug: late"),
        ("lambda-runtime-function-error-type: T\r\n", "T"),
        ("Lambda-Runtime-Function-Error-Type: T\r\nLambda-Runtime-Function-Error-Body: no base64\r\n", "T"),
        (f"Lambda-Runtime-Function-Error-Body: {REPORT}\r\n", "Bug: late"),
    ],
)
def test_error_trailers_are_the_functions_failure(trailers: str, said: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        runtime.post(f"1\r\na\r\n0\r\n{trailers}\r\n")
        answer = await runtime.answer()
        with pytest.raises(FunctionFault, match=f"^{said}$") as caught:
            await answer.read()
        assert caught.value.kind is FaultKind.UNHANDLED
        assert (await runtime.said()).startswith(b"HTTP/1.1 202 ")

    run(scenario)


def test_a_stream_that_exceeds_the_limit_fails_with_lambdas_error_type() -> None:
    async def scenario(runtime: Runtime) -> None:
        runtime.post("a\r\n0123456789\r\n1\r\nx\r\n0\r\n\r\n")
        answer = await runtime.answer()
        assert await anext(answer.body) == b"0123456789"
        with pytest.raises(FunctionFault, match=r"exceeded maximum allowed payload size \(10 bytes\)") as caught:
            await anext(answer.body)
        assert caught.value.kind.value == "Function.ResponseSizeTooLarge"
        assert (await runtime.said()).startswith(b"HTTP/1.1 413 ")

    run(scenario)


def test_a_connection_that_ends_during_a_stream_is_a_truncated_answer() -> None:
    async def scenario(runtime: Runtime) -> None:
        runtime.post("5\r\nabc")
        answer = await runtime.answer()
        runtime.writer.close()
        with pytest.raises(FunctionFault) as caught:
            await answer.read()
        assert caught.value.kind.value == "Runtime.TruncatedResponse"

    run(scenario)


def test_an_invalid_chunked_body_is_a_truncated_answer() -> None:
    async def scenario(runtime: Runtime) -> None:
        runtime.post("no length\r\n")
        with pytest.raises(FunctionFault):
            await (await runtime.answer()).read()

    run(scenario)


def test_the_connection_is_closed_when_the_reader_of_the_stream_disconnects() -> None:
    async def scenario(runtime: Runtime) -> None:
        runtime.post("1\r\na\r\n")
        (await runtime.answer()).body.abandon()
        assert await runtime.said() == b""

    run(scenario)


def test_a_second_answer_is_refused() -> None:
    async def scenario(runtime: Runtime) -> None:
        runtime.post("0\r\n\r\n")
        assert (await runtime.said()).startswith(b"HTTP/1.1 202 ")
        runtime.post("0\r\n\r\n")
        assert (await runtime.said()).startswith(b"HTTP/1.1 403 ")
        runtime.post("0\r\n\r\n", mode="buffered")
        assert (await runtime.said()).startswith(b"HTTP/1.1 403 ")

    run(scenario)


def test_an_unknown_response_mode_is_refused() -> None:
    async def scenario(runtime: Runtime) -> None:
        runtime.post("0\r\n\r\n", mode="telepathy")
        assert b"Runtime.InvalidResponseModeHeader" in await runtime.said()

    run(scenario)
