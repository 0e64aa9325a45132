"""Request fields by which a caller would decide for a gateway: other addresses, keys, models or plugins.

LiteLLM and OpenRouter take them from the body of a request and act on the bridge's key, so they are refused unless the
provider's `allow_fields` names them. Fields with addresses or keys are refused by every provider of OpenAI's or
Anthropic's format: a LiteLLM may also be configured as `openai` or `anthropic`, and a caller's key must not reach a
vendor for whom it is not meant.

Sources: LiteLLM's documentation, "Clientside LLM Credentials", "Fallbacks", "Guardrails", and the names that its proxy
bans from request bodies by default; OpenRouter's API reference, "Model Routing", "Plugins", "Presets".
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache

from sekha_llm_bridge.config.models import ProviderConfig, ProviderType
from sekha_llm_bridge.conversation import Json
from sekha_llm_bridge.providers.price_ceilings import is_openrouter

_MAX_CACHED_NAMES = 1024  # requests repeat the same few names
_ADDRESSES_AND_KEYS = frozenset(
    {
        *("api_base", "base_url", "api_key", "api_version", "api_type", "user_config", "model_list", "organization"),
        *("headers", "extra_headers", "default_headers", "extra_query", "provider_specific_header", "deployment_url"),
        *("client_id", "client_secret", "tenant_id", "azure_ad_token", "region_name", "ssl_verify"),
    }
)
_ADDRESS_AND_KEY_PREFIXES = ("aws_", "azure_", "s3_", "sagemaker_", "vertex_", "watsonx_")

_LITELLM_FIELDS = frozenset(
    {
        # Other models.
        *("fallbacks", "context_window_fallbacks", "context_window_fallback_dict", "content_policy_fallbacks"),
        *("custom_llm_provider", "models", "base_model", "deployment_id", "specific_deployment", "model_info"),
        *("model_config", "model_alias_map", "fastest_response", "routing_strategy", "use_litellm_proxy"),
        *("allowed_model_region", "search_tool_name", "hf_model_name"),
        # Plugins, and content that is kept on the gateway.
        *("plugins", "guardrails", "disable_global_guardrails", "guardrail_config", "prompt_id", "prompt_label"),
        *("prompt_version", "prompt_variables", "vector_store_ids", "callbacks", "success_callback"),
        *("failure_callback", "service_callback", "logger_fn", "custom_prompt_dict"),
        # Answers and prices that are made up, and what only the gateway itself may set.
        *("mock_response", "mock_timeout", "mock_tool_calls", "mock_delay", "max_budget", "budget_duration"),
        *("proxy_server_request", "secret_fields", "no-log"),
    }
)
_LITELLM_PREFIXES = (
    *("litellm_", "auto_router_", "complexity_router_", "adaptive_router_", "quality_router_"),
    *("langfuse_", "langsmith_", "arize_", "phoenix_", "posthog_", "wandb_", "weave_", "gcs_", "lunary_", "humanloop_"),
    # Prices, which LiteLLM takes over into its own list.
    *("input_cost_per_", "output_cost_per_", "cost_per_", "cache_creation_", "cache_read_", "citation_cost_"),
    *("slack_", "opik_", "braintrust_", "datadog_", "user_api_key"),
)
_HARMLESS_LITELLM_FIELDS = frozenset({"litellm_metadata", "litellm_session_id", "litellm_trace_id", "litellm_call_id"})
_OPENROUTER_FIELDS = frozenset({"models", "plugins", "route", "preset", "fallbacks", "custom_llm_provider"})

# In these objects LiteLLM looks for addresses, keys and callbacks, too. What else they have is for others.
_INSPECTED_BY_LITELLM = frozenset({"metadata", "litellm_metadata", "tools"})


def gateway_fields(body: Json) -> frozenset[str]:
    """Returns the paths of the fields in a request's body that some provider refuses, as `plugins` or
    `extra_body.api_base`. A field without a value (null, false, empty) is none.
    """
    return frozenset(_gateway_fields(body))


def _gateway_fields(body: Json) -> Iterator[str]:
    yield from (name for name, value in body.items() if is_gateway_field(name) and _has_value(value))
    if "extra_body" in body:
        names = _named_objects(body["extra_body"])
        yield from (f"extra_body.{name}" for name in names if is_gateway_field(name))
    for parent in body.keys() & _INSPECTED_BY_LITELLM:
        names = _named_objects(body[parent])
        yield from (f"{parent}.{name}" for name in names if _is_hidden_in_an_object(name))


@lru_cache(_MAX_CACHED_NAMES)
def is_gateway_field(name: str) -> bool:
    """Returns whether some provider refuses a field of that name."""
    return names_address_or_key(name) or name in _OPENROUTER_FIELDS or _steers_litellm(name)


def refused_fields(config: ProviderConfig, paths: Iterable[str]) -> list[str]:
    """Returns the sorted paths among `gateway_fields` that a provider refuses, by its type and `allow_fields`.

    Ollama refuses none: its adapter sends none of them.
    """
    return sorted(path for path in paths if path not in config.allow_fields and _is_refused(path, config))


def _is_refused(path: str, config: ProviderConfig) -> bool:
    parent, _, name = path.rpartition(".")
    kind = config.provider_type
    if kind is ProviderType.OLLAMA:
        return False
    if parent in _INSPECTED_BY_LITELLM:
        return kind is ProviderType.LITELLM
    if kind is ProviderType.LITELLM:
        return True
    routes_itself = kind is ProviderType.OPENROUTER or is_openrouter(config.base_url)
    return names_address_or_key(name) or (routes_itself and name in _OPENROUTER_FIELDS)


def names_address_or_key(name: str) -> bool:
    """Returns whether a field of that name holds an address or a credential."""
    return name in _ADDRESSES_AND_KEYS or name.startswith(_ADDRESS_AND_KEY_PREFIXES)


def _steers_litellm(name: str) -> bool:
    if name in _HARMLESS_LITELLM_FIELDS:
        return False
    return name in _LITELLM_FIELDS or name.startswith(_LITELLM_PREFIXES)


def _is_hidden_in_an_object(name: str) -> bool:
    """Returns whether LiteLLM reads a name also from objects that have other purposes, such as `metadata`."""
    if name in {"api_base", "base_url", "api_key", "user_config", "model_list"}:
        return True
    return name.startswith(_ADDRESS_AND_KEY_PREFIXES) or (name not in _LITELLM_FIELDS and _steers_litellm(name))


def _named_objects(value: object) -> Iterator[str]:
    """Yields the names of the fields that have a value, of one object or of a list of objects."""
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, dict):
            yield from (name for name, inner in item.items() if _has_value(inner))


def _has_value(value: object) -> bool:
    """A price of 0 is a value."""
    return value is not None and value is not False and value not in ("", [], {})
