"""Makes the HTTP response from a function's streamed answer: metadata in JSON, eight NUL bytes, then the payload.

Source: https://docs.aws.amazon.com/apigateway/latest/developerguide/response-transfer-mode-lambda.html
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from local_stack.http_server import Headers, Response
from local_stack.invocation import AnswerBody
from local_stack.proxy_answer import MalformedAnswerError, headers_of, parsed, status_of, with_content_type

DELIMITER = bytes(8)
_PRELUDE_BYTES = 16 * 1024
_KEYS = frozenset({"statusCode", "headers", "multiValueHeaders", "cookies"})
# The server frames the body, so these headers are dropped. A content-length of the function is kept.
_REMOVED_HEADERS = frozenset({"connection", "keep-alive", "transfer-encoding", "upgrade"})


@dataclass(frozen=True, slots=True)
class StreamHead:
    """The metadata of a streamed answer. `payload`: the part of the payload that arrived with them."""

    status: int
    headers: Headers
    payload: bytes


async def read_stream_head(body: AnswerBody) -> StreamHead:
    """Reads `body` until the end of its metadata. Raises MalformedAnswerError or FunctionFault."""
    received = bytearray()
    async for chunk in body:
        received += chunk
        end = received.find(DELIMITER, 0, _PRELUDE_BYTES)
        if end >= 0:
            return parse_stream_head(bytes(received[:end]), bytes(received[end + len(DELIMITER) :]))
        if len(received) >= _PRELUDE_BYTES:
            raise MalformedAnswerError(f"no delimiter of eight NUL bytes within the first {_PRELUDE_BYTES} bytes")
    raise MalformedAnswerError(f"no delimiter of eight NUL bytes in the whole answer of {len(received)} bytes")


def parse_stream_head(metadata: bytes, payload: bytes) -> StreamHead:
    """Parses the metadata. Raises MalformedAnswerError."""
    output = parsed(metadata, _KEYS)
    cookies = output.get("cookies") or []
    if not isinstance(cookies, list):
        raise MalformedAnswerError("cookies must be a list")
    repeated = {"multiValueHeaders": {"Set-Cookie": cookies}}
    headers = [*headers_of(output, _REMOVED_HEADERS), *headers_of(repeated, frozenset())]
    return StreamHead(status_of({"statusCode": 200, **output}), with_content_type(headers), payload)


def response_without_payload(answer: bytes) -> Response | None:
    """Returns the response of a buffered route to a streamed answer: status and headers without the payload.

    Returns None for an answer in another format. Raises MalformedAnswerError.
    """
    metadata, delimiter, _ = answer.partition(DELIMITER)
    if not delimiter:
        return None
    head = parse_stream_head(metadata, b"")
    return Response(head.status, [pair for pair in head.headers if pair[0].lower() != "content-length"])


async def payload(first: bytes, rest: AnswerBody) -> AsyncIterator[bytes]:
    """Yields the payload, chunk by chunk."""
    if first:
        yield first
    async for chunk in rest:
        yield chunk
