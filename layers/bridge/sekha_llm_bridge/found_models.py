"""The models that an Ollama has, as it describes them itself.

The adapter reads them, the state table keeps them, and the catalog makes models of them. They know nothing of each
other, so this type is below all of them.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

DEFAULT_TAG = ":latest"
"""What Ollama adds to a name without a tag."""


class FoundModel(NamedTuple):
    """One model of an Ollama, by `GET /api/tags` and `POST /api/show`.

    `name` is Ollama's own, with the tag. `digest` changes with the model's content; empty where the server has none.
    `modified_at` is the time as the server wrote it. `parameter_size` is a text such as `8.0B`, `parameter_count` the
    number, None where it is not known. `context_length` is what the model was trained for, `num_ctx` what its
    parameters say (both in tokens), `embedding_length` the length of its vectors; None where they are not known.

    `capabilities` are Ollama's words: `completion`, `tools`, `vision`, `embedding`, `thinking`, `insert`, `audio`,
    `image`. Where an old Ollama reports none they are inferred, and `are_capabilities_reported` is False: then nothing
    is known of tools. `remote_host` is set where the Ollama passes requests on to another server.
    """

    name: str
    digest: str = ""
    size_bytes: int = 0
    modified_at: str = ""
    family: str = ""
    parameter_size: str = ""
    parameter_count: int | None = None
    quantization: str = ""
    context_length: int | None = None
    num_ctx: int | None = None
    embedding_length: int | None = None
    capabilities: tuple[str, ...] = ()
    are_capabilities_reported: bool = True
    remote_host: str = ""

    @property
    def model_id(self) -> str:
        """The name without the default tag, as people write it."""
        return self.name.removesuffix(DEFAULT_TAG)


FoundModels: TypeAlias = Mapping[str, tuple[FoundModel, ...]]
"""The models of each provider that has a list, by the provider's id."""

NO_LISTS: FoundModels = MappingProxyType({})


def with_known_description(listed: FoundModel, known: FoundModel) -> FoundModel:
    """Returns a model of a new list with what was known of the same content before. What the list says counts more."""
    reports = listed.are_capabilities_reported
    return listed._replace(
        family=listed.family or known.family,
        parameter_size=listed.parameter_size or known.parameter_size,
        parameter_count=known.parameter_count or listed.parameter_count,
        quantization=listed.quantization or known.quantization,
        context_length=known.context_length or listed.context_length,
        num_ctx=known.num_ctx,
        embedding_length=known.embedding_length or listed.embedding_length,
        capabilities=listed.capabilities if reports else known.capabilities,
        are_capabilities_reported=reports or known.are_capabilities_reported,
        remote_host=listed.remote_host or known.remote_host,
    )
