"""The first floor of a cold start: an empty function of FastAPI and Mangum with one route."""

from fastapi import FastAPI
from mangum import Mangum

app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)


@app.get("/")
async def root() -> dict[str, bool]:
    """Answers at once."""
    return {"ok": True}


handler = Mangum(app, lifespan="off")
