"""A database of a Chroma server: finds, creates and deletes its collections. The client is in `chroma_connection`."""

import copy
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Self

from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.config.models import ChromaConfig
from sekha_llm_bridge.embeddings.chroma_collection import ServerCollection
from sekha_llm_bridge.embeddings.chroma_connection import REQUEST_TIMEOUT_S, ChromaConnection
from sekha_llm_bridge.embeddings.chroma_quirks import Metadata, translate_errors
from sekha_llm_bridge.embeddings.chroma_quotas import MAX_RESULTS
from sekha_llm_bridge.embeddings.chroma_token import ChromaToken
from sekha_llm_bridge.embeddings.records import Database
from sekha_llm_bridge.embeddings.store import CollectionMissing, NameTaken, StoreFailed, StoreRefused

_COLLECTIONS_PER_PAGE = MAX_RESULTS


class ChromaServer:
    """One database of the server at `config.url`.

    `timeout_s` limits each request. Every request is idempotent, so it is sent up to `max_attempts` times while the
    server answers with a 5xx status, with a short sleep in between. `token` is the one that is sent, by default that of
    `config`.
    """

    def __init__(
        self,
        config: ChromaConfig,
        *,
        timeout_s: float = REQUEST_TIMEOUT_S,
        max_attempts: int = 1,
        token: ChromaToken | None = None,
        clock: Clock | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._connection = ChromaConnection(
            config, timeout_s=timeout_s, max_attempts=max_attempts, token=token, clock=clock, sleep=sleep
        )
        self.database = self._configured = Database(config.tenant, config.database)

    def in_database(self, database: Database) -> Self:
        """Returns another database of the same server, over the same connections. Its first collection creates it.

        Only the configured database is never created: its name may be a typo, or the server not be ready.
        """
        other = copy.copy(self)
        other.database = database
        return other

    @property
    def url(self) -> str:
        """The address of the server, which has no secret in it."""
        return self._connection.url

    def prepare(self) -> None:
        """See `ChromaConnection.prepare`."""
        self._connection.prepare()

    def has_database(self) -> bool:
        """Returns whether the database exists: if not, Chroma lists no collections. Raises `StoreFailed`."""
        self.prepare()
        try:
            with translate_errors("look up a database"):
                self._api.get_database(self.database.name, tenant=self.database.tenant)
        except CollectionMissing:
            return False
        return True

    def is_up(self) -> bool:
        """Returns whether the server answers a request that needs the token, if it requires one."""
        self.prepare()
        try:
            with translate_errors("answer"):
                self._api.list_collections(limit=1, **self._in_database)
        except StoreFailed:
            return False
        return True

    def collections(self) -> Iterator[ServerCollection]:
        """Returns every collection of the database. Raises `StoreFailed`."""
        self.prepare()
        offset = 0
        while True:
            try:
                with translate_errors("list collections"):
                    models = self._api.list_collections(limit=_COLLECTIONS_PER_PAGE, offset=offset, **self._in_database)
            except CollectionMissing:  # the database does not exist; Chroma 1.5 answers with an empty list instead
                return
            yield from map(self._wrap, models)
            if len(models) < _COLLECTIONS_PER_PAGE:
                return
            offset += len(models)

    def find(self, name: str) -> ServerCollection | None:
        """Returns the collection of that name, or None. Raises `StoreFailed`."""
        self.prepare()
        try:
            with translate_errors("look up a collection"):
                return self._wrap(self._api.get_collection(name, **self._in_database))
        except CollectionMissing:
            return None

    def find_or_create(
        self, name: str, *, metadata: Metadata | None, configuration: Mapping[str, Any]
    ) -> ServerCollection:
        """Returns the collection of that name. Creates it if there is none, with its database. Raises `StoreFailed`."""
        self.prepare()
        try:
            return self._find_or_create(name, metadata, configuration)
        except StoreRefused:  # for a missing database: status 400
            if self.database == self._configured:
                raise
        self._create_database()
        return self._find_or_create(name, metadata, configuration)

    def _find_or_create(
        self, name: str, metadata: Metadata | None, configuration: Mapping[str, Any]
    ) -> ServerCollection:
        with translate_errors("make a collection"):
            model = self._api.create_collection(
                name,
                configuration=dict(configuration),
                metadata=dict(metadata) if metadata else None,
                get_or_create=True,
                **self._in_database,
            )
        return self._wrap(model)

    def _create_database(self) -> None:
        """Creates the database, and its tenant, where they do not exist. Another process may do so at the same time."""
        with suppress(StoreFailed), translate_errors("make a tenant"):  # it exists, or only its owner may create it
            self._api.create_tenant(self.database.tenant)
        with suppress(NameTaken), translate_errors("make a database"):
            self._api.create_database(self.database.name, tenant=self.database.tenant)

    def delete(self, name: str) -> None:
        """Deletes the collection of that name with its records. Raises `CollectionMissing` if there is none."""
        self.prepare()
        with translate_errors("delete a collection"):
            self._api.delete_collection(name, **self._in_database)

    def check_filter(self, where: Metadata) -> None:
        """Raises `StoreRefused` if the filter is malformed. Sends no request."""
        self.prepare()
        from chromadb.api.types import validate_where

        with translate_errors("take the filter"):
            validate_where(dict(where))

    def _wrap(self, model: Any) -> ServerCollection:
        from chromadb.api.models.Collection import Collection

        return ServerCollection(Collection(client=self._api, model=model, embedding_function=None))

    @property
    def _in_database(self) -> dict[str, str]:
        return {"tenant": self.database.tenant, "database": self.database.name}

    @property
    def _api(self) -> Any:
        return self._connection.api
