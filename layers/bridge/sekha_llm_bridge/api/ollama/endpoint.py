"""`Ollama's paths below /api`."""

from fastapi import Request, Response

from sekha_llm_bridge.errors import InvalidRequest


async def chat(request: Request) -> Response:
    """Is not built yet."""
    raise InvalidRequest(f"{request.scope['path']} is not built yet")


async def generate(request: Request) -> Response:
    """Is not built yet."""
    raise InvalidRequest(f"{request.scope['path']} is not built yet")


async def embed(request: Request) -> Response:
    """Is not built yet."""
    raise InvalidRequest(f"{request.scope['path']} is not built yet")


async def legacy_embed(request: Request) -> Response:
    """Is not built yet."""
    raise InvalidRequest(f"{request.scope['path']} is not built yet")


async def show(request: Request) -> Response:
    """Is not built yet."""
    raise InvalidRequest(f"{request.scope['path']} is not built yet")


async def tags(request: Request) -> Response:
    """Is not built yet."""
    raise InvalidRequest(f"{request.scope['path']} is not built yet")


async def running_models(request: Request) -> Response:
    """Is not built yet."""
    raise InvalidRequest(f"{request.scope['path']} is not built yet")


async def version(request: Request) -> Response:
    """Is not built yet."""
    raise InvalidRequest(f"{request.scope['path']} is not built yet")
