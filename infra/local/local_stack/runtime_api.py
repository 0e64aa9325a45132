"""The Lambda Runtime API of one instance: the HTTP server from which its runtime gets events, and to which it posts
answers.

It only transfers events and answers. `instance` decides about failures and timeouts.

When the reader of a streamed answer disconnects, this server closes the connection of the answer, which a function
notices even between two chunks. Lambda itself reads the whole answer, and does not report the disconnect to the
function (https://docs.aws.amazon.com/lambda/latest/dg/configuration-response-streaming.html). The difference is
deliberate: a client disconnect could not be tested otherwise.
"""

import asyncio
import base64
import json
from http import HTTPStatus

from local_stack.disconnect import run_until_disconnect
from local_stack.http_server import BodyTooLargeError, HttpServer, Request, Response, listen
from local_stack.invocation import (
    MAX_ANSWER_BYTES,
    MAX_STREAMED_BYTES,
    Answer,
    AnswerBody,
    FaultKind,
    FunctionFault,
    Invocation,
    buffered_answer,
    too_large_fault,
)

_PREFIX = "/2018-06-01/runtime/"
_ERROR_LIMIT_BYTES = 6 * 1024 * 1024
_ERROR_TYPE = "lambda-runtime-function-error-type"
_ERROR_BODY = "lambda-runtime-function-error-body"


class RuntimeApi:
    """Serves one runtime on its own loopback port.

    `ready` is set when the runtime requests its first event; `init_failure` has the failure that it reported instead.
    """

    def __init__(self, function_arn: str, *, max_streamed_bytes: int = MAX_STREAMED_BYTES) -> None:
        self._function_arn = function_arn
        self._max_streamed_bytes = max_streamed_bytes
        self._server = HttpServer(self._handle)
        self._offered: asyncio.Queue[tuple[Invocation, int]] = asyncio.Queue()
        self._current: Invocation | None = None
        self.address = ""
        self.ready = asyncio.Event()
        self.init_failure: asyncio.Future[FunctionFault] = asyncio.get_running_loop().create_future()

    async def start(self) -> None:
        """Starts to listen, and sets `address`, the value for AWS_LAMBDA_RUNTIME_API."""
        listening = listen("127.0.0.1")
        self.address = f"127.0.0.1:{listening.getsockname()[1]}"
        await self._server.start(listening)

    async def close(self) -> None:
        """Stops serving."""
        await self._server.close()

    def offer(self, invocation: Invocation, *, deadline_ms: int) -> None:
        """Queues `invocation` for the runtime. `deadline_ms`: its deadline, in Unix milliseconds."""
        self._offered.put_nowait((invocation, deadline_ms))

    async def _handle(self, request: Request) -> Response:
        path = request.target.removeprefix(_PREFIX)
        if request.method == "GET" and path == "invocation/next":
            return await self._next()
        if request.method == "POST" and path == "init/error":
            return await self._init_error(request)
        match path.split("/"):
            case ["invocation", request_id, "response" | "error" as kind] if request.method == "POST":
                return await self._result(request, request_id, kind)
        return _error_response(HTTPStatus.NOT_FOUND, "InvalidPath", f"no such path: {request.method} {request.target}")

    async def _next(self) -> Response:
        if self._current:
            self._current.finished.set()
            self._current = None
        self.ready.set()
        invocation, deadline_ms = await self._offered.get()
        self._current = invocation
        headers = (
            ("Content-Type", "application/json"),
            ("Lambda-Runtime-Aws-Request-Id", invocation.request_id),
            ("Lambda-Runtime-Deadline-Ms", str(deadline_ms)),
            ("Lambda-Runtime-Invoked-Function-Arn", self._function_arn),
            ("Lambda-Runtime-Trace-Id", invocation.trace_id),
        )
        return Response(HTTPStatus.OK, headers, invocation.event)

    async def _result(self, request: Request, request_id: str, kind: str) -> Response:
        invocation = self._current
        if invocation is None or invocation.request_id != request_id:
            return _error_response(
                HTTPStatus.BAD_REQUEST, "InvalidRequestID", f"{request_id} is not the current invocation"
            )
        if kind == "error":
            invocation.fail(await _reported_fault(request, FaultKind.UNHANDLED))
            return _accepted()
        mode = request.header("lambda-runtime-function-response-mode", "buffered").lower()
        if mode == "streaming":
            return await self._streamed_answer(request, invocation)
        if mode == "buffered":
            return await self._buffered_answer(request, invocation)
        return _error_response(HTTPStatus.BAD_REQUEST, "Runtime.InvalidResponseModeHeader", f"no such mode: {mode}")

    async def _buffered_answer(self, request: Request, invocation: Invocation) -> Response:
        try:
            body = await request.body.read(MAX_ANSWER_BYTES)
        except BodyTooLargeError:
            return _too_large(invocation, MAX_ANSWER_BYTES)
        is_first = invocation.answer(await buffered_answer(request.header("content-type", "application/json"), body))
        return _accepted() if is_first else _already_answered(invocation)

    async def _streamed_answer(self, request: Request, invocation: Invocation) -> Response:
        """Forwards the answer as it arrives. Raises ConnectionError when its reader disconnects, or when it is
        incomplete."""
        body = AnswerBody()
        if not invocation.answer(Answer(request.header("content-type", "application/octet-stream"), body)):
            return _already_answered(invocation)
        try:
            return await run_until_disconnect(self._forward_chunks(request, body, invocation), body.abandoned.wait())
        finally:
            fault = FunctionFault(FaultKind.TRUNCATED, "the connection ended before the answer did")
            invocation.fail(fault)

    async def _forward_chunks(self, request: Request, body: AnswerBody, invocation: Invocation) -> Response:
        length = 0
        async for chunk in request.body.chunks():
            length += len(chunk)
            if length > self._max_streamed_bytes:
                return _too_large(invocation, self._max_streamed_bytes)
            await body.put(chunk)
        body.end(_fault_in_trailers(request))
        return _accepted()

    async def _init_error(self, request: Request) -> Response:
        fault = await _reported_fault(request, FaultKind.INIT_FAILED)
        if not self.init_failure.done():
            self.init_failure.set_result(fault)
        return _accepted()


def _fault_in_trailers(request: Request) -> FunctionFault | None:
    """Returns the fault that the trailers of a streamed answer report, or None."""
    trailers = {name.lower(): value for name, value in request.body.trailers}
    if _ERROR_TYPE not in trailers and _ERROR_BODY not in trailers:
        return None
    error_type = trailers.get(_ERROR_TYPE, FaultKind.UNHANDLED.value)
    try:
        report = base64.b64decode(trailers.get(_ERROR_BODY, ""), validate=True)
    except ValueError:
        report = b""
    return _fault(report, FaultKind.UNHANDLED, error_type)


async def _reported_fault(request: Request, kind: FaultKind) -> FunctionFault:
    """Returns the fault that the runtime posted."""
    try:
        report = await request.body.read(_ERROR_LIMIT_BYTES)
    except BodyTooLargeError:
        report = b""
    return _fault(report, kind, request.header(_ERROR_TYPE, kind.value))


def _fault(report: bytes, kind: FaultKind, error_type: str) -> FunctionFault:
    """Returns the fault for a report `{"errorMessage", "errorType"}`; for any other report, a fault with
    `error_type`."""
    try:
        error = json.loads(report)
        message = str(error["errorMessage"])
        return FunctionFault(kind, f"{error['errorType']}: {message}", error_message=message)
    except (ValueError, KeyError, TypeError):
        return FunctionFault(kind, error_type)


def _accepted() -> Response:
    return Response(HTTPStatus.ACCEPTED, (("Content-Type", "application/json"),), b'{"status":"OK"}')


def _too_large(invocation: Invocation, limit_bytes: int) -> Response:
    fault = too_large_fault(limit_bytes)
    invocation.fail(fault)
    return _error_response(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, fault.kind.value, str(fault))


def _already_answered(invocation: Invocation) -> Response:
    return _error_response(
        HTTPStatus.FORBIDDEN, "InvalidStateTransition", f"{invocation.request_id} already has an answer"
    )


def _error_response(status: HTTPStatus, error_type: str, message: str) -> Response:
    body = json.dumps({"errorMessage": message, "errorType": error_type}).encode()
    return Response(status, (("Content-Type", "application/json"),), body)
