"""The Lambda Runtime API of one instance: the HTTP server that its runtime asks for events and gives answers to.

It hands over and takes in; what follows from a failure, and when time is up, `instance` decides.
"""

import asyncio
import json
from http import HTTPStatus

from local_stack.http_server import BodyTooLargeError, HttpServer, Request, Response, listen
from local_stack.invocation import (
    MAX_ANSWER_BYTES,
    Answer,
    FaultKind,
    FunctionFault,
    Invocation,
    one_chunk,
)

_PREFIX = "/2018-06-01/runtime/"
_ERROR_LIMIT_BYTES = 6 * 1024 * 1024


class RuntimeApi:
    """Serves one runtime on a loopback port of its own.

    `ready` is set when the runtime asks for its first event; `init_failure` holds what it reported instead.
    """

    def __init__(self, function_arn: str) -> None:
        self._function_arn = function_arn
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
        return await self._buffered_answer(request, invocation)

    async def _buffered_answer(self, request: Request, invocation: Invocation) -> Response:
        """Takes the whole answer in; a streamed one would be passed on here, chunk by chunk."""
        try:
            body = await request.body.read(MAX_ANSWER_BYTES)
        except BodyTooLargeError:
            message = f"Response payload size exceeded maximum allowed payload size ({MAX_ANSWER_BYTES} bytes)."
            invocation.fail(FunctionFault(FaultKind.ANSWER_TOO_LARGE, message))
            return _refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, FaultKind.ANSWER_TOO_LARGE.value, message)
        invocation.answer(Answer(request.header("content-type", "application/json"), one_chunk(body)))
        return _accepted()

    async def _init_error(self, request: Request) -> Response:
        fault = await _reported_fault(request, FaultKind.INIT_FAILED)
        if not self.init_failure.done():
            self.init_failure.set_result(fault)
        return _accepted()


async def _reported_fault(request: Request, kind: FaultKind) -> FunctionFault:
    """What the runtime says of a failure: `{"errorMessage", "errorType", "stackTrace"}`."""
    try:
        report = json.loads(await request.body.read(_ERROR_LIMIT_BYTES))
        return FunctionFault(kind, f"{report['errorType']}: {report['errorMessage']}")
    except (BodyTooLargeError, ValueError, KeyError, TypeError):
        return FunctionFault(kind, request.header("lambda-runtime-function-error-type", kind.value))


def _accepted() -> Response:
    return Response(HTTPStatus.ACCEPTED, (("Content-Type", "application/json"),), b'{"status":"OK"}')


def _refusal(status: HTTPStatus, error_type: str, message: str) -> Response:
    body = json.dumps({"errorMessage": message, "errorType": error_type}).encode()
    return Response(status, (("Content-Type", "application/json"),), body)
