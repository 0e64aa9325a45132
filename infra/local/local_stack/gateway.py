"""The API Gateway: finds the function for a request, hands it the event, and makes a response of what comes back."""

import asyncio
import logging
import secrets
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

from local_stack.gateway_responses import Case, gateway_response
from local_stack.http_server import BodyTooLargeError, Request, Response, Streamed
from local_stack.invocation import Answer, EventTooLargeError, FunctionFault, ThrottledError
from local_stack.proxy_answer import MalformedAnswerError, to_response
from local_stack.proxy_event import HttpRequest, Ids, to_event
from local_stack.proxy_stream import Opening, cut_short, opening, payload
from local_stack.routes import Match, RoutingTable
from local_stack.template import Api, Route

MAX_BODY_BYTES = 10 * 1024 * 1024
# Of a Regional API.
STREAM_IDLE_LIMIT_S = 300.0

logger = logging.getLogger(__name__)


class Invocable(Protocol):
    """What the gateway needs of a function."""

    async def invoke(self, event: bytes, *, trace_id: str = "") -> Answer:
        """Returns the answer to `event`."""
        ...


class Gateway:
    """One REST API in front of `functions` (logical id → function)."""

    def __init__(
        self,
        api: Api,
        routes: list[Route],
        functions: Mapping[str, Invocable],
        *,
        now: Callable[[], float] = time.time,
        stream_idle_limit_s: float = STREAM_IDLE_LIMIT_S,
    ) -> None:
        self._api = api
        self._table = RoutingTable(routes)
        self._functions = functions
        self._now = now
        self._stream_idle_limit_s = stream_idle_limit_s

    async def handle(self, request: Request) -> Response:
        """Answers one request; every answer carries the request's ids."""
        ids = _new_ids(self._now())
        response = await self._respond(request, ids)
        own = (("x-amzn-RequestId", ids.request), ("x-amz-apigw-id", ids.extended), ("X-Amzn-Trace-Id", ids.trace))
        given = {name.lower() for name, _ in response.headers}
        headers = [*response.headers, *(pair for pair in own if pair[0].lower() not in given)]
        return replace(response, headers=headers)

    async def _respond(self, request: Request, ids: Ids) -> Response:
        path, _, query = _path_and_query(request.target)
        match = self._table.find(request.method, path)
        if match is None:
            return self._preflight(request, path) or self._own(Case.NO_ROUTE, request, ids)
        try:
            body = await request.body.read(MAX_BODY_BYTES)
        except BodyTooLargeError:
            return self._own(Case.REQUEST_TOO_LARGE, request, ids, match)
        read = HttpRequest(request.method, path, query, request.headers, body, request.client)
        return await self._invoke(request, read, match, ids)

    async def _invoke(self, request: Request, read: HttpRequest, match: Match, ids: Ids) -> Response:
        api, route = self._api, match.route
        event = to_event(
            read,
            match,
            ids,
            stage=api.stage,
            binary_media_types=api.binary_media_types,
            now=datetime.fromtimestamp(self._now(), UTC),
        )
        try:
            if route.streamed:
                return await self._stream(request, route, event, ids)
            return await self._buffer(read, route, event, ids)
        except TimeoutError:
            return self._own(Case.TIMED_OUT, request, ids, match)
        except EventTooLargeError:
            return self._own(Case.REQUEST_TOO_LARGE, request, ids, match)
        except ThrottledError:
            return self._own(Case.THROTTLED, request, ids, match)
        except (FunctionFault, MalformedAnswerError) as fault:
            logger.warning("%s %s (request %s): %s: %s", read.method, read.path, ids.request, route.function, fault)
            malformed_stream = route.streamed and isinstance(fault, MalformedAnswerError)
            case = Case.MALFORMED_STREAM if malformed_stream else Case.FUNCTION_FAILED
            return self._own(case, request, ids, match)

    async def _buffer(self, read: HttpRequest, route: Route, event: bytes, ids: Ids) -> Response:
        """The response once all of the answer is there. Raises TimeoutError; the function runs on."""
        invocation = asyncio.create_task(_whole(self._functions[route.function], event, ids.trace))
        done, _ = await asyncio.wait({invocation}, timeout=route.timeout_s)
        if not done:
            invocation.add_done_callback(lambda task: task.cancelled() or task.exception())
            raise TimeoutError
        answer = invocation.result()
        without_payload = cut_short(answer)
        if without_payload:
            logger.warning("%s %s: %s streams, but this route does not", read.method, read.path, route.function)
            return without_payload
        return to_response(answer, accept=read.header("accept"), binary_media_types=self._api.binary_media_types)

    async def _stream(self, request: Request, route: Route, event: bytes, ids: Ids) -> Response:
        """The response as soon as it begins. Raises TimeoutError, and ConnectionError when the client goes away."""
        until = asyncio.get_running_loop().time() + route.timeout_s
        function = self._functions[route.function]
        begun, answer = await request.while_connected(_begin(function, event, ids.trace), timeout_s=route.timeout_s)
        body = Streamed(
            payload(begun.payload, answer.body), answer.body.abandon, idle_s=self._stream_idle_limit_s, until=until
        )
        return Response(begun.status, begun.headers, body)

    def _preflight(self, request: Request, path: str) -> Response | None:
        """The answer to a browser's OPTIONS, when the API has CORS and the path exists."""
        if request.method != "OPTIONS" or self._api.cors is None or not self._table.methods(path):
            return None
        methods = ",".join(sorted({*self._table.methods(path), "OPTIONS"}))
        headers = {"Access-Control-Allow-Methods": methods, **self._api.cors.headers}
        return Response(200, list(headers.items()))

    def _own(self, case: Case, request: Request, ids: Ids, match: Match | None = None) -> Response:
        context = {
            "requestId": ids.request,
            "extendedRequestId": ids.extended,
            "httpMethod": request.method,
            "path": request.target.partition("?")[0],
            "resourcePath": match.route.path if match else "",
            "stage": self._api.stage,
            "identity.sourceIp": request.client,
        }
        return gateway_response(case, self._api.gateway_responses, context=context, accept=request.header("accept"))


async def _whole(function: Invocable, event: bytes, trace_id: str) -> bytes:
    return await (await function.invoke(event, trace_id=trace_id)).read()


async def _begin(function: Invocable, event: bytes, trace_id: str) -> tuple[Opening, Answer]:
    """Invokes `function` and reads the beginning of its answer; what fails, or is cancelled, is read no further."""
    answer = await function.invoke(event, trace_id=trace_id)
    try:
        return await opening(answer.body), answer
    except BaseException:
        answer.body.abandon()
        raise


def _path_and_query(target: str) -> tuple[str, str, str]:
    """Splits a request's target, which is a whole URL when the client takes the gateway for a proxy."""
    if not target.startswith("/"):
        target = "/" + target.partition("://")[2].partition("/")[2]
    return target.partition("?")


def _new_ids(now: float) -> Ids:
    trace = f"Root=1-{int(now):08x}-{secrets.token_hex(12)}"
    return Ids(request=str(uuid.uuid4()), extended=secrets.token_urlsafe(11) + "=", trace=trace)
