"""A function's streamed answer as an HTTP response: metadata in JSON, eight NUL bytes, then the payload as it comes.

Source: https://docs.aws.amazon.com/apigateway/latest/developerguide/response-transfer-mode-lambda.html
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from local_stack.http_server import Headers, Response
from local_stack.invocation import AnswerBody
from local_stack.proxy_answer import MalformedAnswerError, headers_of, parsed, status_of, typed

DELIMITER = bytes(8)
_PRELUDE_BYTES = 16 * 1024
_KEYS = frozenset({"statusCode", "headers", "multiValueHeaders", "cookies"})
# The server frames the body, but a length that the function gives is kept.
_NOT_PASSED_ON = frozenset({"connection", "keep-alive", "transfer-encoding", "upgrade"})


@dataclass(frozen=True, slots=True)
class Opening:
    """What has come of an answer when its metadata are complete; `payload` is what came right behind them."""

    status: int
    headers: Headers
    payload: bytes


async def opening(body: AnswerBody) -> Opening:
    """Reads `body` until its metadata are complete. Raises MalformedAnswerError, and FunctionFault."""
    received = bytearray()
    async for chunk in body:
        received += chunk
        end = received.find(DELIMITER, 0, _PRELUDE_BYTES)
        if end >= 0:
            return opened(bytes(received[:end]), bytes(received[end + len(DELIMITER) :]))
        if len(received) >= _PRELUDE_BYTES:
            raise MalformedAnswerError(f"no delimiter of eight NUL bytes within the first {_PRELUDE_BYTES} bytes")
    raise MalformedAnswerError(f"no delimiter of eight NUL bytes after {len(received)} bytes, which is all of it")


def opened(metadata: bytes, payload: bytes) -> Opening:
    """Returns what `metadata` say. Raises MalformedAnswerError."""
    output = parsed(metadata, _KEYS)
    cookies = output.get("cookies") or []
    if not isinstance(cookies, list):
        raise MalformedAnswerError("cookies must be a list")
    repeated = {"multiValueHeaders": {"Set-Cookie": cookies}}
    headers = [*headers_of(output, _NOT_PASSED_ON), *headers_of(repeated, frozenset())]
    return Opening(status_of({"statusCode": 200, **output}), typed(headers), payload)


def cut_short(answer: bytes) -> Response | None:
    """What a route that does not stream makes of a whole answer in this format: status and headers, without payload.

    None for any other answer. Raises MalformedAnswerError.
    """
    metadata, delimiter, _ = answer.partition(DELIMITER)
    if not delimiter:
        return None
    begun = opened(metadata, b"")
    return Response(begun.status, [pair for pair in begun.headers if pair[0].lower() != "content-length"])


async def payload(first: bytes, rest: AnswerBody) -> AsyncIterator[bytes]:
    """The payload, chunk by chunk."""
    if first:
        yield first
    async for chunk in rest:
        yield chunk
