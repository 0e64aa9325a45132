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
    "ollama": OLLAMA_URLS,
    "embedding": EMBEDDING_MODELS,
    "chat": (*CHAT_MODELS, *OTHER_CHAT_MODELS),
    "chroma": CHROMA_URLS,
}
# In the service of that server itself, this is where it listens.
LISTENING_ADDRESSES = frozenset({"OLLAMA_HOST", "CHROMA_HOST"})

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
_OTHER_PROGRAM = "no setting of the bridge: the controller, the proxy or another program of Sekha reads it"
_CONFIG_FILE = "v1 reads that YAML file instead of variables if it exists: give it to this command"
_ADDRESS = "the address is an option of `infra/local/up`; deployed, AWS assigns it"
_WORKERS = "there are no worker processes: each request has a function instance"
# Pattern of names → why they have no place in the YAML.
_ELSEWHERE = {
    r"(SEKHA__)?(SERVER_|BRIDGE_|LLM_BRIDGE_)?(HOST|PORT)": _ADDRESS,
    r"(SEKHA__?|BRIDGE_)?LOG_LEVEL|DEBUG": "the log level is a parameter of the template, LogLevel",
    r"(BRIDGE_)?WORKERS|(SEKHA__)?MAX_CONNECTIONS": _WORKERS,
    r"(SEKHA_{1,2})?(REDIS|CELERY)_\w+": "there are no background workers, and so no Redis",
    r"HEALTH_CHECK_INTERVAL": "the health check runs every minute, as the template says",
    r"CONFIG_PATH|SEKHA__CONFIG_FILE": _CONFIG_FILE,
    r"CHROMA_PERSIST\w*": "vectors are on a Chroma server, which keeps its own files: give its address as CHROMA_URL",
    r"CHROMA_(TELEMETRY|PORT|IP)|ANONYMIZED_TELEMETRY|IS_PERSISTENT": "it is a setting of the Chroma server",
    r"OLLAMA_(PORT|NUM_\w+|KEEP_ALIVE|MAX_\w+|MODELS|ORIGINS)": "it is a setting of Ollama",
    r"FLASK_\w+|PYTHON\w+|UVICORN_\w+": "it is a setting of the program that ran v1",
    r"(SEKHA__?)?(DATABASE_URL|MCP_\w+|REST_\w+|LLM_BRIDGE_URL|CORS_ENABLED|RATE_LIMIT_PER_MINUTE)": _OTHER_PROGRAM,
    r"(SEKHA__)?(SUMMARIZATION|PRUNING)_ENABLED|AUTO_INJECT_CONTEXT|PREFERRED_LABELS": _OTHER_PROGRAM,
    r"(POSTGRES|CONTROLLER|PROXY|ADMIN|MEMORY|CONTEXT|NEXT_PUBLIC|RUST|CARGO)_\w+": _OTHER_PROGRAM,
    r"BRIDGE_(URL|VERSION)|LLM_(URL|TIMEOUT|PROVIDER|API_KEY)|DEFAULT_FOLDER|EXCLUDED_FOLDERS": _OTHER_PROGRAM,
    r"SEKHA_(API_KEYS?|PORT|VERSION|DB_PASSWORD|CONTROLLER_URL)": _OTHER_PROGRAM,
}
_OWN_OF_V2 = frozenset({"LLM_CONFIG_PATH", "SEKHA_BRIDGE_URL"})
# A name with one of these words is taken for a variable of v1.
_V1_WORDS = frozenset(
    {"SEKHA", "OLLAMA", "CHROMA", "LLM", "BRIDGE", "EMBEDDING", "EMBEDDINGS", "EMBED", "CHAT", "VISION", "MODEL"}
    | {"MODELS", "SUMMARIZATION", "PROVIDER", "PROVIDERS", "ROUTING", "FALLBACK", "CB", "BREAKER", "CIRCUIT", "COST"}
    | {"OPENAI", "ANTHROPIC", "OPENROUTER", "GROQ", "GEMINI", "AZURE", "LITELLM", "TOKENS"}
)


def is_carried(name: str) -> bool:
    """Whether the variable is one that becomes a setting of the YAML."""
    return name in _SINGLE_VARIABLES or is_setting(name)


def is_setting(name: str) -> bool:
    """Whether the variable is `SEKHA__SECTION…` of a section that the bridge has."""
    return name.startswith(SETTING_PREFIX) and name.removeprefix(SETTING_PREFIX).split("__")[0] in SECTIONS


def reason_elsewhere(name: str) -> str | None:
    """Returns why a known variable of v1 has no place in the YAML; None for all other variables."""
    return next((reason for pattern, reason in _ELSEWHERE.items() if re.fullmatch(pattern, name)), None)


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
