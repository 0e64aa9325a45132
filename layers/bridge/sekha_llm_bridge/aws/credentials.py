"""The credentials of the function's role, as Lambda provides them."""

import os
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import orjson

from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.connections import Connections

_RENEW_BEFORE_EXPIRY = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Credentials:
    """The credentials that sign requests. They are valid until `expires_at`; None means forever."""

    access_key_id: str
    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    expires_at: datetime | None = None


class RoleCredentials:
    """Fetches the role's credentials and keeps them until five minutes before they expire.

    They are in the environment, or, after a snapshot was restored, at a local endpoint of Lambda, which is asked for at
    most `timeout_s`. `stand_in` is used if there are none: a local stand-in for AWS does not check them. `given` are
    used instead of all of these.
    """

    def __init__(
        self,
        connections: Connections,
        clock: Clock,
        *,
        timeout_s: float,
        stand_in: Credentials | None = None,
        given: Credentials | None = None,
    ) -> None:
        self._connections = connections
        self._clock = clock
        self._timeout_s = timeout_s
        self._stand_in = stand_in
        self._given = given
        self._known: Credentials | None = None

    async def get(self) -> Credentials:
        """Returns valid credentials.

        Raises KeyError if there are none, and the exceptions of the connection or of a malformed answer.
        """
        known = self._known
        if known is None or (known.expires_at and known.expires_at - self._clock.now() < _RENEW_BEFORE_EXPIRY):
            self._known = known = await self._fetch()
        return known

    def forget(self) -> None:
        """Drops the known credentials: AWS has rejected them."""
        self._known = None

    async def renew(self) -> bool:
        """Fetches the credentials again. Returns whether they are others than before. Raises as `get` does."""
        rejected = self._known
        self._known = await self._fetch()
        return self._known != rejected

    async def _fetch(self) -> Credentials:
        """Returns credentials from Lambda's endpoint if a snapshot was restored, otherwise from the environment.

        https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html
        """
        if self._given is not None:
            return self._given
        if url := os.environ.get("AWS_CONTAINER_CREDENTIALS_FULL_URI"):
            token = os.environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN")
            headers = {"authorization": token} if token else {}
            reply = await self._connections.exchange(
                "GET", url, content=None, headers=headers, timeout_s=self._timeout_s
            )
            body = orjson.loads(reply.content)
            expires_at = datetime.fromisoformat(body["Expiration"])
            return Credentials(body["AccessKeyId"], body["SecretAccessKey"], body["Token"], expires_at)
        if "AWS_ACCESS_KEY_ID" not in os.environ and self._stand_in is not None:
            return self._stand_in
        return Credentials(
            os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"], os.environ.get("AWS_SESSION_TOKEN")
        )
