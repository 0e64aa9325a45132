"""Where the vectors of a caller are: in the configured database, or in a database of the caller's API key.

The key's policy decides (`KeyPolicy.chroma_tenant`, `chroma_database`, `may_store`), and `chroma.separate_by_key`.
"""

import re
from typing import NamedTuple

from sekha_llm_bridge.access.caller import Caller
from sekha_llm_bridge.api.embeddings.request import EmbeddingRequest
from sekha_llm_bridge.bootstrap import Bridge
from sekha_llm_bridge.config.models import CHROMA_NAME_PATTERN, ChromaConfig
from sekha_llm_bridge.embeddings import Database
from sekha_llm_bridge.errors import InvalidRequest, NotAllowed

_MAY_NOT_STORE = "this API key may not store vectors"
_NOT_STORED = f"not stored: {_MAY_NOT_STORE}"


class Destination(NamedTuple):
    """Where the vectors of a request are stored.

    `base_name` is the collection's name without its dimension; None stores nothing, and `note` then says why, unless
    the caller or the configuration wants it so. `database`: None is the configured one.
    """

    base_name: str | None
    database: Database | None = None
    note: str | None = None


def database_of(caller: Caller, chroma: ChromaConfig) -> Database | None:
    """Returns the database of the caller's vectors; None is the configured one.

    Raises `NotAllowed` for a name that Chroma does not take: in a URL, it might name another database.
    """
    policy = caller.policy
    own_name = caller.key_id if chroma.separate_by_key else ""
    named = Database(policy.chroma_tenant or "", policy.chroma_database or own_name)
    if any(name and not re.fullmatch(CHROMA_NAME_PATTERN, name) for name in named):
        raise NotAllowed("the Chroma tenant or database of this API key has a name that Chroma does not take")
    database = Database(named.tenant or chroma.tenant, named.name or chroma.database)
    return None if database == (chroma.tenant, chroma.database) else database


def destination(embedding: EmbeddingRequest, bridge: Bridge, *, default_name: str | None) -> Destination:
    """Returns where to store. `default_name` is the collection of requests that name none; None stores nothing.

    Raises `InvalidRequest` for `store` without a collection, and `NotAllowed` where the caller asks for storing and
    may not store.
    """
    if embedding.store is False:
        return Destination(None)
    name = embedding.collection or default_name
    if not bridge.caller.policy.may_store:
        if embedding.collection or embedding.store:
            param = "collection" if embedding.collection else "store"
            raise NotAllowed(f"{_MAY_NOT_STORE}: leave `{param}` out", param=param)
        return Destination(None, note=_NOT_STORED if name else None)
    if embedding.store and name is None:
        raise InvalidRequest("`store` needs a `collection`: the configuration has no default", param="collection")
    return Destination(name, database_of(bridge.caller, bridge.settings.chroma))
