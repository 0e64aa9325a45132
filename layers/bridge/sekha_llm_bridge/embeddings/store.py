"""What a vector store must do; `chroma_store` does it on a Chroma server."""

from typing import Protocol

from sekha_llm_bridge.embeddings.records import Batch


class StoreFailed(Exception):
    """The store did not take the batch; the message says why, without any text of it."""


class SpaceMismatch(StoreFailed):
    """The collection holds vectors of another embedding space."""


class VectorStore(Protocol):
    """Where vectors are kept. Methods block for a bounded time; call them in a thread."""

    def prepare(self) -> None:
        """Does what is slow at first use (imports), so that it can overlap with a provider's answer. Raises
        `StoreFailed`.
        """
        ...

    def upsert(self, batch: Batch) -> int:
        """Writes the batch, making its collection at first use; returns the number of distinct records.

        Writing the same records again changes nothing. Raises `StoreFailed`.
        """
        ...
