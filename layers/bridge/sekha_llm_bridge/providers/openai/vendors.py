"""The vendors of OpenAI's wire format: one row of data each."""

from dataclasses import dataclass

from sekha_llm_bridge.config.models import ProviderConfig, ProviderType
from sekha_llm_bridge.providers.base import BatchLimits

_OPENAI_BATCH_LIMITS = BatchLimits(max_texts=2048, max_tokens=300_000)


@dataclass(frozen=True, slots=True)
class Vendor:
    """How one vendor differs from the others.

    `auth_header` carries the key, after `auth_prefix`. `output_cap_field` is the field of the output limit.
    `accepts_price_ceiling`: the vendor chooses among several sellers of a model and accepts a highest price.
    `embedding_limits` are OpenAI's unless the vendor documents its own: a gateway may send the texts on to OpenAI.
    """

    auth_header: str = "authorization"
    auth_prefix: str = "Bearer "
    output_cap_field: str = "max_tokens"
    accepts_price_ceiling: bool = False
    embedding_limits: BatchLimits = _OPENAI_BATCH_LIMITS


_GENERIC = Vendor()
VENDORS: dict[ProviderType, Vendor] = {
    ProviderType.OPENAI: Vendor(output_cap_field="max_completion_tokens"),
    ProviderType.AZURE_OPENAI: Vendor(auth_header="api-key", auth_prefix="", output_cap_field="max_completion_tokens"),
    ProviderType.OPENROUTER: Vendor(accepts_price_ceiling=True),
    ProviderType.GEMINI: Vendor(embedding_limits=BatchLimits(max_texts=100)),
    ProviderType.LITELLM: _GENERIC,
}


def vendor_of(config: ProviderConfig) -> Vendor | None:
    """Returns the row of a provider; None where its type does not use OpenAI's format.

    Other servers configured as `openai` may not know OpenAI's newer fields, so they get the generic row.
    """
    if config.provider_type is ProviderType.OPENAI and "//api.openai.com" not in (config.base_url or ""):
        return _GENERIC
    return VENDORS.get(config.provider_type)
