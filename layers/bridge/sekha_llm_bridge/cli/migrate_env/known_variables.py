"""The variables of v1 and of the programs around it, by what becomes of them.

Sources: sekha-llm-bridge (`config.py`, also before its YAML, and `.env.example`) and sekha-docker (compose files,
`.env.example`, `.env.v2.example`, `docs/configuration-v2.md`).
"""

import difflib
import re
from collections.abc import Mapping

# Names with the same meaning; the first that has a value is used.
OLLAMA_URLS = ("OLLAMA_BASE_URL", "OLLAMA_URL", "SEKHA__OLLAMA_URL", "SEKHA_OLLAMA_URL", "OLLAMA_HOST")
EMBEDDING_MODELS = ("EMBEDDING_MODEL", "SEKHA__EMBEDDING_MODEL", "SEKHA_EMBEDDING_MODEL")
EMBEDDING_DIMENSIONS = ("EMBEDDING_DIMENSION", "EMBEDDING_DIMENSIONS")
CHAT_MODELS = ("CHAT_MODEL", "DEFAULT_MODEL", "OLLAMA_MODEL", "LLM_MODEL")
# Models that v1 and its callers name in requests, so that they must be configured.
OTHER_CHAT_MODELS = (
    "SUMMARIZATION_MODEL",
    "SEKHA__SUMMARIZATION_MODEL",
    "SEKHA_SUMMARIZATION_MODEL",
    "EXTRACTION_MODEL",
)
VISION_MODELS = ("VISION_MODEL",)
OLLAMA_TIMEOUTS = ("OLLAMA_TIMEOUT",)
CHROMA_URLS = ("CHROMA_URL", "SEKHA__CHROMA_URL", "SEKHA_CHROMA_URL", "CHROMA_HOST")
CHROMA_PORT = "CHROMA_PORT"
CHROMA_TOKENS = ("CHROMA_TOKEN", "CHROMA_AUTH_TOKEN")
CHROMA_KEYS = {
    "CHROMA_TENANT": "tenant",
    "CHROMA_DATABASE": "database",
    "CHROMA_COLLECTION": "default_collection",
    "CHROMA_COLLECTION_NAME": "default_collection",
}

# Variables of the published `.env` whose values its compose file hands to a setting.
SETTING_OF = {
    "ROUTING_AUTO_FALLBACK": "SEKHA__ROUTING__AUTO_FALLBACK",
    "ROUTING_MAX_COST": "SEKHA__ROUTING__MAX_COST_PER_REQUEST",
    "MAX_COST_PER_REQUEST": "SEKHA__ROUTING__MAX_COST_PER_REQUEST",
    "CB_FAILURE_THRESHOLD": "SEKHA__CIRCUIT_BREAKER__FAILURE_THRESHOLD",
    "CB_RESET_TIMEOUT": "SEKHA__CIRCUIT_BREAKER__RESET_TIMEOUT",
    "CB_HALF_OPEN_TIMEOUT": "SEKHA__CIRCUIT_BREAKER__HALF_OPEN_TIMEOUT",
    "LLM_PROVIDERS": "SEKHA__LLM_PROVIDERS",
    "DEFAULT_MODELS": "SEKHA__DEFAULT_MODELS",
}
SETTING_PREFIX = "SEKHA__"
SECTIONS = ("LLM_PROVIDERS", "PROVIDERS", "DEFAULT_MODELS", "ROUTING", "CIRCUIT_BREAKER")

# What other services of a compose file may say on behalf of the bridge.
SHARED_VARIABLES: Mapping[str, tuple[str, ...]] = {
    "ollama": OLLAMA_URLS[:-1],
    "embedding": EMBEDDING_MODELS,
    "chat": (*CHAT_MODELS, *OTHER_CHAT_MODELS),
    "chroma": CHROMA_URLS[:-1],
}

KEY_OF_TYPE = {
    "openai": "OPENAI_API_KEY",
    "anthropic": "ANTHROPIC_API_KEY",
    "openrouter": "OPENROUTER_API_KEY",
    "gemini": "GEMINI_API_KEY",
    "azure_openai": "AZURE_API_KEY",
    "litellm": "LITELLM_API_KEY",
}

_SINGLE_VARIABLES = frozenset(
    {
        *OLLAMA_URLS,
        *EMBEDDING_MODELS,
        *EMBEDDING_DIMENSIONS,
        *CHAT_MODELS,
        *OTHER_CHAT_MODELS,
        *VISION_MODELS,
        *OLLAMA_TIMEOUTS,
        *CHROMA_URLS,
        *CHROMA_TOKENS,
        *CHROMA_KEYS,
        *SETTING_OF,
    }
)
# Reason → pattern of the names that it holds for.
_ELSEWHERE = {
    "the address is an option of `infra/local/up`; deployed, AWS assigns it": r"(SEKHA__)?"
    r"(SERVER_|BRIDGE_|LLM_BRIDGE_)?(HOST|PORT)",
    "the log level is a parameter of the template, LogLevel": r"(SEKHA__?|BRIDGE_)?LOG_LEVEL|DEBUG",
    "there are no worker processes: each request has a function instance": r"(BRIDGE_)?WORKERS|(SEKHA__)?MAX_CONNECTIONS",
    "there are no background workers, and so no Redis": r"(SEKHA_{1,2})?(REDIS|CELERY)_\w+",
    "the health check runs every minute, as the template says": r"HEALTH_CHECK_INTERVAL",
    "v1 reads that YAML file instead of variables if it exists: give it to this command": r"CONFIG_PATH|SEKHA__CONFIG_FILE",
    "vectors are on a Chroma server, which keeps its own files: give its address as CHROMA_URL": r"CHROMA_PERSIST\w*",
    "it is a setting of the Chroma server": r"CHROMA_(TELEMETRY|PORT|IP)|ANONYMIZED_TELEMETRY|IS_PERSISTENT",
    "it is a setting of Ollama": r"OLLAMA_(PORT|NUM_\w+|KEEP_ALIVE|MAX_\w+|MODELS|ORIGINS)",
    "it is a setting of the program that ran v1": r"FLASK_\w+|PYTHON\w+|UVICORN_\w+",
    "no setting of the bridge: the controller, the proxy or another program of Sekha reads it": r"(SEKHA__?)?(DATABASE_URL"
    r"|MCP_\w+|REST_\w+|LLM_BRIDGE_URL|SUMMARIZATION_ENABLED|PRUNING_ENABLED|CORS_ENABLED|RATE_LIMIT_PER_MINUTE)"
    r"|(POSTGRES|CONTROLLER|PROXY|ADMIN|MEMORY|CONTEXT|NEXT_PUBLIC)_\w+|RUST_\w+|CARGO_\w+|BRIDGE_(URL|VERSION)|LLM_(URL"
    r"|TIMEOUT|PROVIDER|API_KEY)|AUTO_INJECT_CONTEXT|DEFAULT_FOLDER|EXCLUDED_FOLDERS|PREFERRED_LABELS"
    r"|SEKHA_(API_KEYS?|PORT|VERSION|DB_PASSWORD|BRIDGE_URL|CONTROLLER_URL)",
}
_OWN_OF_V2 = frozenset({"LLM_CONFIG_PATH", "SEKHA_BRIDGE_URL"})
# A name with one of these words is taken for a variable of v1.
_V1_WORDS = frozenset(
    "SEKHA OLLAMA CHROMA LLM BRIDGE EMBEDDING EMBEDDINGS EMBED CHAT VISION SUMMARIZATION MODEL MODELS PROVIDER PROVIDERS"
    " ROUTING FALLBACK CB BREAKER CIRCUIT COST OPENAI ANTHROPIC OPENROUTER GROQ GEMINI AZURE LITELLM TOKENS".split()
)


def is_carried(name: str) -> bool:
    """Whether the variable is one that becomes a setting of the YAML."""
    return name in _SINGLE_VARIABLES or is_setting(name)


def is_setting(name: str) -> bool:
    """Whether the variable is `SEKHA__SECTION…` of a section that the bridge has."""
    return name.startswith(SETTING_PREFIX) and name.removeprefix(SETTING_PREFIX).split("__")[0] in SECTIONS


def reason_elsewhere(name: str) -> str | None:
    """Returns why a known variable of v1 has no place in the YAML; None for all other variables."""
    return next((reason for reason, pattern in _ELSEWHERE.items() if re.fullmatch(pattern, name)), None)


def reason_unknown(name: str) -> str | None:
    """Returns why a variable that looks like one of v1 is left out; None for a variable of another program."""
    if name in _OWN_OF_V2:
        return None
    near = difflib.get_close_matches(name, _SINGLE_VARIABLES, n=1, cutoff=0.8)
    if near:
        return f"v1 had no such variable; did you mean {near[0]}?"
    if name.endswith("_API_KEY"):
        return "no provider in this file uses it: add one, see config/examples/many_providers.yaml"
    return None if _V1_WORDS.isdisjoint(re.split(r"_+", name)) else "v1 had no such variable"
