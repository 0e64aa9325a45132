"""The entry point of an API's function: serves HTTP requests, and answers every other event with a warning.

Served is what Mangum can translate: requests of REST APIs, of HTTP APIs and function URLs, and of load balancers. An
event without the context of the bridge's authorizer stays closed where API keys are needed, whoever has sent it; see
`api.caller`. Lambda@Edge cannot run the bridge, so its events are not served.
"""

from typing import Any

import orjson
from fastapi import FastAPI
from mangum import Mangum
from mangum.handlers import ALB, APIGateway, HTTPGateway
from mangum.protocols import HTTPCycle

from sekha_llm_bridge.errors import RequestError

_TEXTS = ["text/", "application/json", "application/x-ndjson"]  # all others are sent in base64
_SOURCES = (ALB, HTTPGateway, APIGateway)


class HttpEventHandler(Mangum):
    """Mangum, which answers an event that is no HTTP request instead of raising `RuntimeError`."""

    def __init__(self, app: FastAPI) -> None:
        super().__init__(app, lifespan="off", text_mime_types=_TEXTS)
        self._error_body = app.state.error_body

    def __call__(self, event: Any, context: Any) -> dict[str, Any]:
        """Returns the answer in the format of API Gateway's proxy integration. See AWS."""
        try:
            source = self._source(event, context)
            cycle = HTTPCycle(source.scope, source.body)
        except (LookupError, TypeError, ValueError, AttributeError):
            return self._refusal(event, context)
        answer: dict[str, Any] = source(cycle(self.app))
        return answer

    def _source(self, event: Any, context: Any) -> Any:
        """Returns Mangum's translator of the event. Raises `ValueError` for an event that is no HTTP request."""
        fields = isinstance(event, dict) and (event.get("requestContext"), event.get("pathParameters") or {})
        if fields and all(isinstance(field, dict) for field in fields):
            for source in _SOURCES:
                if source.infer(event, context, self.config):
                    return source(event, context, self.config)
        raise ValueError("the event is no HTTP request")

    def _refusal(self, event: object, context: object) -> dict[str, Any]:
        """Returns a 400 in the API's error format. Whoever invokes the function by hand reads in it what was wrong; a
        service that does not expect an HTTP answer ignores it, and does not repeat the invocation.
        """
        from sekha_llm_bridge.aws.unknown_event import event_kind, warn_of_unknown_event  # few functions ever need it

        warn_of_unknown_event(event, context)
        error = RequestError(
            f"the function answers HTTP requests, and this event is none: it seems to be {event_kind(event)}"
        )
        body = self._error_body(error, str(getattr(context, "aws_request_id", "")), {})
        return {
            "statusCode": error.status,
            "headers": {"content-type": "application/json"},
            "body": orjson.dumps(body).decode(),
            "isBase64Encoded": False,
        }
