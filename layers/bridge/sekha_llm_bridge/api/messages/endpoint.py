"""`POST /v1/messages and POST /v1/messages/count_tokens`."""

from fastapi import Request, Response

from sekha_llm_bridge.errors import InvalidRequest


async def create_message(request: Request) -> Response:
    """Is not built yet."""
    raise InvalidRequest(f"{request.scope['path']} is not built yet")


async def count_tokens(request: Request) -> Response:
    """Is not built yet."""
    raise InvalidRequest(f"{request.scope['path']} is not built yet")
