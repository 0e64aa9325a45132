"""A request with an `Idempotency-Key`: the first one is answered and recorded, all others get its answer.

Only `IdempotencyMiddleware` imports this, for a request with the header (infra/decisions/0034). The header is that of
https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/, with its statuses 400, 409 and 422.
"""

import asyncio
from collections.abc import Mapping
from datetime import timedelta

from fastapi import Request
from starlette.types import ASGIApp, Message, Send

from sekha_llm_bridge.access.idempotency import (
    AnswerKeys,
    AnswerRecorder,
    AnswersUnavailable,
    Claim,
    StoredAnswer,
    is_valid_key,
)
from sekha_llm_bridge.api.caller import caller_of
from sekha_llm_bridge.api.error_response import error_response, may_have_been_billed
from sekha_llm_bridge.api.request_state import (
    RequestState,
    add_log_fields,
    bridge_of,
    deadline_of,
    remaining_s_of,
    reserved_s_of,
    state_of,
    unexpected_error,
)
from sekha_llm_bridge.api.sse import PINGS
from sekha_llm_bridge.errors import (
    AccessUnavailable,
    AnswerNotKept,
    BridgeError,
    ClientDisconnected,
    InvalidRequest,
    StreamInterrupted,
)
from sekha_llm_bridge.observability import logger

HEADER = "idempotency-key"
REPLAYED_HEADER = "x-idempotent-replayed"
_ASKING_HEADERS = ("x-bridge-", "anthropic-")
"""What the names of headers begin with that are part of a request: with others, it is another request."""
_RESERVED_S = 1.0  # for storing the answer, after the deadline of the models
_CLOCK_DIFFERENCE_S = 1.0  # between the machines of two functions, at most
_WAITING_PART, _MAX_WAIT_S = 2 / 3, 30.0
_LAST_BYTE_S = 0.5  # after the answer is stored, for sending the end of it
_RETRY_AFTER_S = 2.0
_PART_BYTES = 64 * 1024
_NOT_STORED = frozenset({"content-length", "x-request-id", "request-id"})  # the repeated answer has its own


async def answer_once(app: ASGIApp, request: Request, send: Send) -> None:
    """Answers a request: by `app` where it is the first of its key, else by the stored answer."""
    body = await request.body()
    try:
        begun = await _begin(request, body)
    except BridgeError as exc:
        headers = {"x-should-retry": "false"} if isinstance(exc, AnswerNotKept) else None
        await error_response(request, exc, headers=headers)(request.scope, request.receive, send)
        return
    if isinstance(begun, StoredAnswer):
        add_log_fields(request, idempotency="replayed")
        await _replay(begun, send)
    else:
        await _FirstAnswer(request, body, begun, send).run(app)


async def _begin(request: Request, body: bytes) -> Claim | StoredAnswer:
    """Returns the right to answer, or the answer. What waits for the first answer uses a part of its time, the rest of
    which is for a model's answer where the first request comes to nothing; and half a minute at most, because it
    occupies a function, and is no part of what its key may do at once.
    """
    key = _idempotency_key(request)
    bridge, state = bridge_of(request), state_of(request)
    state.reserved_s += _RESERVED_S
    keys = AnswerKeys.of(
        key,
        caller_id=caller_of(request).key_id,
        path=request.scope["path"],
        body=body,
        headers=[(name, value) for name, value in request.headers.items() if name.startswith(_ASKING_HEADERS)],
    )
    lease_ends_at = bridge.clock.now() + timedelta(seconds=remaining_s_of(request) + _CLOCK_DIFFERENCE_S)
    wait_s = min(deadline_of(request).remaining_s() * _WAITING_PART, _MAX_WAIT_S)
    try:
        return await bridge.answers().begin(keys, lease_ends_at=lease_ends_at, wait_s=wait_s)
    except AnswersUnavailable as exc:
        raise AccessUnavailable(
            "the table of answers does not answer, so that a repeated request could be billed twice. Try again, or send"
            " the request without its Idempotency-Key",
            retry_after_s=_RETRY_AFTER_S,
        ) from exc


def _idempotency_key(request: Request) -> str:
    values = request.headers.getlist(HEADER)
    if len(values) != 1 or not is_valid_key(values[0]):
        raise InvalidRequest("Idempotency-Key: send it once, with 1 to 255 visible ASCII characters", param=HEADER)
    return values[0]


async def _replay(answer: StoredAnswer, send: Send) -> None:
    """Sends a stored answer: a stream as a stream, everything else with its length."""
    headers = {**answer.headers, REPLAYED_HEADER: "true"}
    if not headers.get("content-type", "").startswith("text/event-stream"):
        headers["content-length"] = str(len(answer.body))
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": raw})
    for start in range(0, max(len(answer.body), 1), _PART_BYTES):
        end = start + _PART_BYTES
        part = {"type": "http.response.body", "body": answer.body[start:end], "more_body": end < len(answer.body)}
        await send(part)


class _FirstAnswer:
    """The answer to the first request of a key: sent as it is made, and recorded before its last byte.

    It is made to its end when the client disconnects: it is being billed, and the client may send the request again.
    """

    def __init__(self, request: Request, body: bytes, claim: Claim, send: Send) -> None:
        self._request = request
        self._body: bytes | None = body
        self._claim = claim
        self._send = send
        self._recorder = AnswerRecorder()
        self._start: Message | None = None
        self._has_begun = self._is_settled = self._is_client_gone = False

    async def run(self, app: ASGIApp) -> None:
        """Answers by `app`. What `app` leaves without an end is recorded as an error, if it may be billed."""
        state = state_of(self._request)
        try:
            await app(self._request.scope, self._receive, self._forward)
        except Exception as exc:
            if self._has_begun or self._is_settled:
                await self._settle_incomplete(unexpected_error(state.request_id, exc))
                raise
            error = unexpected_error(state.request_id, exc)
            await error_response(self._request, error)(self._request.scope, self._receive, self._forward)
        await self._settle_incomplete(state.error or StreamInterrupted("the answer was interrupted"))
        if self._is_client_gone:
            state.error = ClientDisconnected()

    async def _receive(self) -> Message:
        """Returns the body; then waits for ever, so that nothing learns of a client that disconnects."""
        if self._body is None:
            await asyncio.Event().wait()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def _forward(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            self._recorder.begin(message["status"], _stored_headers(message))
            return
        if (body := message.get("body", b"")) not in PINGS:
            self._recorder.add(body)
        if not message.get("more_body", False):
            await self._settle()
        if not self._has_begun and self._start is not None:
            self._has_begun = True
            await self._send_to_client(self._start)
        await self._send_to_client(message)

    async def _send_to_client(self, message: Message) -> None:
        if self._is_client_gone:
            return
        state = state_of(self._request)
        error = state.error
        try:
            await self._send(message)
        except OSError:
            self._is_client_gone = True
            state.error = error  # whether the client is there is no part of how the answer ends

    async def _settle_incomplete(self, error: BridgeError) -> None:
        """Records an answer that has no end as an error: a repeated request must not be billed again."""
        if self._is_settled:
            return
        interrupted = StreamInterrupted("the first answer to this request was interrupted, and may have been billed")
        response = error_response(self._request, interrupted)
        self._recorder = AnswerRecorder()
        self._recorder.begin(response.status_code, {**_without(response.headers), "x-should-retry": "false"})
        self._recorder.add(bytes(response.body))
        state_of(self._request).error = error
        await self._settle()

    async def _settle(self) -> None:
        """Stores the answer, or removes the record where nothing was billed. An answer that cannot be stored is sent
        all the same: it is paid for.
        """
        self._is_settled = True
        limit_s = self._storing_limit_s()
        try:
            if _is_to_be_kept(state_of(self._request)):
                kept = await self._claim.finish(self._recorder, limit_s=limit_s)
                outcome = "lease_lost" if kept is None else str(kept)
            else:
                await self._claim.release(limit_s=limit_s)
                outcome = "released"
        except AnswersUnavailable:
            outcome = "not_stored"
            logger().error("answer not stored: its request may be billed again if it is repeated")
        add_log_fields(self._request, idempotency=outcome)

    def _storing_limit_s(self) -> float:
        """Returns the time for storing: what remains, without what others have reserved after the models' answer."""
        reserved_by_others_s = reserved_s_of(self._request) - _RESERVED_S
        return max(remaining_s_of(self._request) - reserved_by_others_s - _LAST_BYTE_S, 0.0)


def _is_to_be_kept(state: RequestState) -> bool:
    """Returns whether a repeated request gets what this one ends with. An error that was not billed is not kept. What
    an unexpected error has left is not known, if models may have been asked.
    """
    if state.error is None or may_have_been_billed(state.report().attempts):
        return True
    return type(state.error) is BridgeError and state.attempts is not None


def _stored_headers(start: Message) -> dict[str, str]:
    return _without({name.decode("latin-1"): value.decode("latin-1") for name, value in start["headers"]})


def _without(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items() if name.lower() not in _NOT_STORED}
