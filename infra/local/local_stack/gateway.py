"""The API Gateway: finds the function for a request, invokes it, and makes the response from its answer."""

import asyncio
import logging
import secrets
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from local_stack.authorization import (
    AccessDeniedError,
    Authorization,
    AuthorizerFailedError,
    AuthorizerUnusableError,
    UnauthorizedError,
)
from local_stack.gateway_responses import GatewayError, gateway_response
from local_stack.http_server import BodyTooLargeError, Request, Response, Streamed
from local_stack.invocation import Answer, EventTooLargeError, FunctionFault, Invocable, ThrottledError
from local_stack.proxy_answer import MalformedAnswerError, to_response
from local_stack.proxy_event import HttpRequest, Ids, encoded, to_authorizer_event, to_event
from local_stack.proxy_stream import StreamHead, payload, read_stream_head, response_without_payload
from local_stack.routes import Match, RoutingTable
from local_stack.template import Api, Route

MAX_BODY_BYTES = 10 * 1024 * 1024
# The limit of a Regional API.
STREAM_IDLE_LIMIT_S = 300.0

logger = logging.getLogger(__name__)


class Gateway:
    """One REST API. `functions`: logical id → function."""

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
        self._authorizations = {
            name: Authorization(one, functions[one.function], now) for name, one in api.authorizers.items()
        }
        self._now = now
        self._stream_idle_limit_s = stream_idle_limit_s

    async def handle(self, request: Request) -> Response:
        """Answers one request. Every response has the ids of the request."""
        ids = _new_ids(self._now())
        response = await self._respond(request, ids)
        id_headers = (
            ("x-amzn-RequestId", ids.request),
            ("x-amz-apigw-id", ids.extended),
            ("X-Amzn-Trace-Id", ids.trace),
        )
        given = {name.lower() for name, _ in response.headers}
        headers = [*response.headers, *(pair for pair in id_headers if pair[0].lower() not in given)]
        return replace(response, headers=headers)

    async def _respond(self, request: Request, ids: Ids) -> Response:
        path, _, query = _path_and_query(request.target)
        base_path = self._api.base_path
        if path != base_path and not path.startswith(f"{base_path}/"):
            return _not_mapped()
        inside = path.removeprefix(base_path)
        match = self._table.find(request.method, inside)
        if match is None:
            return self._preflight(request, inside) or self._gateway_error(GatewayError.NO_ROUTE, request, ids)
        try:
            body = await request.body.read(MAX_BODY_BYTES)
        except BodyTooLargeError:
            return self._gateway_error(GatewayError.REQUEST_TOO_LARGE, request, ids, match)
        http_request = HttpRequest(request.method, path, query, request.headers, body, request.client, base_path)
        return await self._invoke(request, http_request, match, ids)

    async def _invoke(self, request: Request, http_request: HttpRequest, match: Match, ids: Ids) -> Response:
        route = match.route
        try:
            event = await self._event(http_request, match, ids)
            if route.streamed:
                return await self._streamed_response(request, route, event, ids)
            return await self._buffered_response(http_request, route, event, ids)
        except UnauthorizedError:
            return self._gateway_error(GatewayError.UNAUTHORIZED, request, ids, match)
        except AccessDeniedError:
            return self._gateway_error(GatewayError.ACCESS_DENIED, request, ids, match)
        except (AuthorizerFailedError, AuthorizerUnusableError) as fault:
            logger.warning("%s %s (request %s): the authorizer: %s", route.method, route.path, ids.request, fault)
            failed = isinstance(fault, AuthorizerFailedError)
            case = GatewayError.AUTHORIZER_FAILED if failed else GatewayError.AUTHORIZER_UNUSABLE
            return self._gateway_error(case, request, ids, match)
        except TimeoutError:
            return self._gateway_error(GatewayError.TIMED_OUT, request, ids, match)
        except EventTooLargeError:
            return self._gateway_error(GatewayError.REQUEST_TOO_LARGE, request, ids, match)
        except ThrottledError:
            return self._gateway_error(GatewayError.FUNCTION_BUSY, request, ids, match)
        except (FunctionFault, MalformedAnswerError) as fault:
            logger.warning(
                "%s %s (request %s): %s: %s", http_request.method, http_request.path, ids.request, route.function, fault
            )
            malformed_stream = route.streamed and isinstance(fault, MalformedAnswerError)
            case = GatewayError.MALFORMED_STREAM if malformed_stream else GatewayError.FUNCTION_FAILED
            return self._gateway_error(case, request, ids, match)

    async def _event(self, http_request: HttpRequest, match: Match, ids: Ids) -> bytes:
        """Returns the event of the route's function, with the context of the authorizer, which is asked first."""
        api, now = self._api, datetime.fromtimestamp(self._now(), UTC)
        event = to_event(http_request, match, ids, stage=api.stage, binary_media_types=api.binary_media_types, now=now)
        authorization = self._authorizations.get(match.route.authorizer)
        if authorization:
            asked = to_authorizer_event(http_request, match, ids, stage=api.stage, region=api.region, now=now)
            event["requestContext"]["authorizer"] = await authorization.context(asked, trace_id=ids.trace)
        return encoded(event)

    async def _buffered_response(self, http_request: HttpRequest, route: Route, event: bytes, ids: Ids) -> Response:
        """Returns the response when the answer is complete. Raises TimeoutError; the function keeps running."""
        invocation = asyncio.create_task(_invoke_buffered(self._functions[route.function], event, ids.trace))
        done, _ = await asyncio.wait({invocation}, timeout=route.timeout_s)
        if not done:
            invocation.add_done_callback(lambda task: task.cancelled() or task.exception())
            raise TimeoutError
        answer = invocation.result()
        without_payload = response_without_payload(answer)
        if without_payload:
            logger.warning(
                "%s %s: %s streams, but this route does not", http_request.method, http_request.path, route.function
            )
            return without_payload
        return to_response(
            answer, accept=http_request.header("accept"), binary_media_types=self._api.binary_media_types
        )

    async def _streamed_response(self, request: Request, route: Route, event: bytes, ids: Ids) -> Response:
        """Returns the response as soon as it starts. Raises TimeoutError, and ConnectionError when the client
        disconnects."""
        until = asyncio.get_running_loop().time() + route.timeout_s
        function = self._functions[route.function]
        head, answer = await request.while_connected(
            _invoke_streamed(function, event, ids.trace), timeout_s=route.timeout_s
        )
        body = Streamed(
            payload(head.payload, answer.body), answer.body.abandon, idle_s=self._stream_idle_limit_s, until=until
        )
        return Response(head.status, head.headers, body)

    def _preflight(self, request: Request, path: str) -> Response | None:
        """Returns the response to a browser's OPTIONS request, if the API has CORS and the path exists."""
        if request.method != "OPTIONS" or self._api.cors is None or not self._table.methods(path):
            return None
        methods = ",".join(sorted({*self._table.methods(path), "OPTIONS"}))
        headers = {"Access-Control-Allow-Methods": methods, **self._api.cors.headers}
        return Response(200, list(headers.items()))

    def _gateway_error(self, case: GatewayError, request: Request, ids: Ids, match: Match | None = None) -> Response:
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


async def _invoke_buffered(function: Invocable, event: bytes, trace_id: str) -> bytes:
    return await (await function.invoke(event, trace_id=trace_id)).read()


async def _invoke_streamed(function: Invocable, event: bytes, trace_id: str) -> tuple[StreamHead, Answer]:
    """Invokes `function` and reads the head of its answer. On failure or cancellation, the rest is not read."""
    answer = await function.invoke(event, trace_id=trace_id)
    try:
        return await read_stream_head(answer.body), answer
    except BaseException:
        answer.body.abandon()
        raise


def _path_and_query(target: str) -> tuple[str, str, str]:
    """Splits a request's target, which is a whole URL when the client uses the gateway as a proxy."""
    if not target.startswith("/"):
        target = "/" + target.partition("://")[2].partition("/")[2]
    return target.partition("?")


def _not_mapped() -> Response:
    """Returns API Gateway's answer for a path of a domain that is mapped to no API."""
    return Response(403, [("Content-Type", "application/json")], b'{"message":"Forbidden"}')


def _new_ids(now: float) -> Ids:
    trace = f"Root=1-{int(now):08x}-{secrets.token_hex(12)}"
    return Ids(request=str(uuid.uuid4()), extended=secrets.token_urlsafe(11) + "=", trace=trace)
