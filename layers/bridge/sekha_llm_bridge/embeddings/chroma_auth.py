"""Sends the token of a Chroma server with each request.

It is sent in both of the headers that Chroma accepts: `Authorization` is the default of a server that runs on its own,
`X-Chroma-Token` is the one of Chroma Cloud. Source: `chromadb.auth.token_authn` and `chromadb.CloudClient` 1.5.
"""

from collections.abc import Generator

import httpx
from pydantic import SecretStr

from sekha_llm_bridge.embeddings.chroma_quirks import raise_for_unreported_status
from sekha_llm_bridge.embeddings.chroma_token import ChromaToken

_REJECTED_STATUSES = frozenset({httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN})


class TokenAuth(httpx.Auth):
    """Adds the token to each request.

    After a 401 or 403, the token is read again; if it has changed, the request is sent once more. Then the statuses
    that Chroma's client does not report raise `StoreFailed`; a response hook would raise before this class sees the
    status.
    """

    def __init__(self, token: ChromaToken) -> None:
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """See `httpx.Auth`."""
        sent = self._token.current()
        request.headers.update(_headers(sent))
        response = yield request
        if response.status_code in _REJECTED_STATUSES and self._token.has_other_than(sent):
            request.headers.update(_headers(self._token.current()))
            response = yield request
        raise_for_unreported_status(response)


def _headers(token: SecretStr | None) -> dict[str, str]:
    if token is None:
        return {}
    return {"Authorization": f"Bearer {token.get_secret_value()}", "X-Chroma-Token": token.get_secret_value()}
