"""The Lambda Runtime API of one instance: the HTTP server that its runtime asks for events and gives answers to.

It hands over and takes in; what follows from a failure, and when time is up, `instance` decides.

When nobody reads a streamed answer any more, the connection that it comes on is closed, which a function notices even
in a pause between two chunks. Lambda is less kind: it takes all of the answer, and the function never learns of it
(https://docs.aws.amazon.com/lambda/latest/dg/configuration-response-streaming.html). But what a function does when its
client goes away could not be tried out otherwise.
"""

import asyncio
import base64
import json
from http import HTTPStatus

from local_stack.http_server import BodyTooLargeError, HttpServer, Request, Response, listen
from local_stack.invocation import (
    MAX_ANSWER_BYTES,
    MAX_STREAMED_BYTES,
    Answer,
    AnswerBody,
    FaultKind,
    FunctionFault,
    Invocation,
    too_large,
    whole_answer,
)
from local_stack.racing import until_lost

_PREFIX = "/2018-06-01/runtime/"
_ERROR_LIMIT_BYTES = 6 * 1024 * 1024
_ERROR_TYPE = "lambda-runtime-function-error-type"
_ERROR_BODY = "lambda-runtime-function-error-body"


class RuntimeApi:
    """Serves one runtime on a loopback port of its own.

    `ready` is set when the runtime asks for its first event; `init_failure` holds what it reported instead.
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
        """Listens; `address` is then what AWS_LAMBDA_RUNTIME_API must hold."""
        listening = listen("127.0.0.1")
        self.address = f"127.0.0.1:{listening.getsockname()[1]}"
        await self._server.start(listening)

    async def close(self) -> None:
        """Stops serving."""
        await self._server.close()

    def offer(self, invocation: Invocation, *, deadline_ms: int) -> None:
        """Gives `invocation` to the runtime; `deadline_ms` is when its time is up, in Unix milliseconds."""
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
        return _refusal(HTTPStatus.NOT_FOUND, "InvalidPath", f"no such path: {request.method} {request.target}")

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
            return _refusal(HTTPStatus.BAD_REQUEST, "InvalidRequestID", f"{request_id} is not the current invocation")
        if kind == "error":
            invocation.fail(await _reported_fault(request, FaultKind.UNHANDLED))
            return _accepted()
        mode = request.header("lambda-runtime-function-response-mode", "buffered").lower()
        if mode == "streaming":
            return await self._streamed_answer(request, invocation)
        if mode == "buffered":
            return await self._buffered_answer(request, invocation)
        return _refusal(HTTPStatus.BAD_REQUEST, "Runtime.InvalidResponseModeHeader", f"no such mode: {mode}")

    async def _buffered_answer(self, request: Request, invocation: Invocation) -> Response:
        try:
            body = await request.body.read(MAX_ANSWER_BYTES)
        except BodyTooLargeError:
            return _too_large(invocation, MAX_ANSWER_BYTES)
        given = invocation.answer(await whole_answer(request.header("content-type", "application/json"), body))
        return _accepted() if given else _answered_before(invocation)

    async def _streamed_answer(self, request: Request, invocation: Invocation) -> Response:
        """Passes the answer on as it comes. Raises ConnectionError when nobody reads it any more, or it breaks off."""
        body = AnswerBody()
        if not invocation.answer(Answer(request.header("content-type", "application/octet-stream"), body)):
            return _answered_before(invocation)
        try:
            return await until_lost(self._pass_on(request, body, invocation), body.abandoned.wait())
        finally:
            fault = FunctionFault(FaultKind.TRUNCATED, "the connection ended before the answer did")
            invocation.fail(fault)

    async def _pass_on(self, request: Request, body: AnswerBody, invocation: Invocation) -> Response:
        length = 0
        async for chunk in request.body.chunks():
            length += len(chunk)
            if length > self._max_streamed_bytes:
                return _too_large(invocation, self._max_streamed_bytes)
            await body.put(chunk)
        body.end(_midstream_fault(request))
        return _accepted()

    async def _init_error(self, request: Request) -> Response:
        fault = await _reported_fault(request, FaultKind.INIT_FAILED)
        if not self.init_failure.done():
            self.init_failure.set_result(fault)
        return _accepted()


def _midstream_fault(request: Request) -> FunctionFault | None:
    """What the trailers of a streamed answer say of a failure in its midst."""
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
    """What the runtime says of a failure."""
    try:
        report = await request.body.read(_ERROR_LIMIT_BYTES)
    except BodyTooLargeError:
        report = b""
    return _fault(report, kind, request.header(_ERROR_TYPE, kind.value))


def _fault(report: bytes, kind: FaultKind, error_type: str) -> FunctionFault:
    """From `{"errorMessage", "errorType", "stackTrace"}`, or from the type alone where that is not what it holds."""
    try:
        said = json.loads(report)
        return FunctionFault(kind, f"{said['errorType']}: {said['errorMessage']}")
    except (ValueError, KeyError, TypeError):
        return FunctionFault(kind, error_type)


def _accepted() -> Response:
    return Response(HTTPStatus.ACCEPTED, (("Content-Type", "application/json"),), b'{"status":"OK"}')


def _too_large(invocation: Invocation, limit_bytes: int) -> Response:
    fault = too_large(limit_bytes)
    invocation.fail(fault)
    return _refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, fault.kind.value, str(fault))


def _answered_before(invocation: Invocation) -> Response:
    return _refusal(HTTPStatus.FORBIDDEN, "InvalidStateTransition", f"{invocation.request_id} has its answer already")


def _refusal(status: HTTPStatus, error_type: str, message: str) -> Response:
    body = json.dumps({"errorMessage": message, "errorType": error_type}).encode()
    return Response(status, (("Content-Type", "application/json"),), body)
