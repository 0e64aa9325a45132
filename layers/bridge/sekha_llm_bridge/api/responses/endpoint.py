"""`POST /v1/responses`."""

from fastapi import Request, Response

from sekha_llm_bridge.errors import InvalidRequest


async def create_response(request: Request) -> Response:
    """Is not built yet."""
    raise InvalidRequest(f"{request.scope['path']} is not built yet")
