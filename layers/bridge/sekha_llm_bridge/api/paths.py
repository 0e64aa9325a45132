"""The paths of all functions, and what the error for an unknown path says: what the caller probably meant."""

import difflib
import re
from collections.abc import Sequence

_OLLAMA_PATHS = (
    *("/api/chat", "/api/generate", "/api/embed", "/api/embeddings", "/api/show"),
    *("/api/tags", "/api/version", "/api/ps"),
)
PATHS = (
    *("/v1/chat/completions", "/api/v1/chat/completions", "/v1/embeddings", "/embed", "/embeddings", "/api/v1/embed"),
    *("/v1/messages", "/v1/messages/count_tokens", "/v1/responses", *_OLLAMA_PATHS),
    *("/summarize", "/api/v1/summarize", "/extract", "/extract_entities", "/api/v1/extract"),
    *("/score", "/score_importance", "/api/v1/score"),
    *("/api/v1/search", "/api/v1/route", "/v1/models", "/api/v1/models", "/api/v1/tasks", "/api/v1/usage"),
    *("/api/v1/health", "/health", "/api/v1/health/providers"),
)
DESCRIPTION_PATH = "/openapi.json"

_MIN_SIMILARITY = 0.7
_MAX_SHOWN_CHARACTERS = 200

_USE_OPENAI = "use a client for OpenAI's API, with a base URL that ends with /v1"
_RESPONSES = (
    "the bridge stores no responses, so none can be fetched, continued, cancelled or deleted. POST /v1/responses "
    "answers the whole conversation in its input"
)
_BASE_URL = (
    "this is the beginning of paths. It is the base URL of OpenAI's clients, which add the rest, such as "
    "/chat/completions; Anthropic's and Ollama's clients take the base URL without it"
)
_NO_V1 = "leave /v1 out of the base URL: Anthropic's clients add /v1/messages to it, Ollama's /api/chat"
_BATCHES = "the bridge has no batches; send each request to POST /v1/messages"
_COMPLETE = "the bridge does not have Anthropic's text completions; send the prompt as a message to POST /v1/messages"
_OLLAMA_MODELS = "the bridge does not change the models of an Ollama server; ask the server itself"
_OLLAMA_ACCOUNT = "the bridge is no Ollama server, and has no account at ollama.com; it has Ollama's chats and lists"
_GEMINI = f"this is a path of Gemini's own API; the bridge has OpenAI's: {_USE_OPENAI}"
_COMPLETIONS = "the bridge has no completions of plain text; send the prompt as a message to POST /v1/chat/completions"
_OTHER_PARTS = (
    "the bridge does not have this part of OpenAI's API; it has chat completions, responses, embeddings and models. "
    f"{DESCRIPTION_PATH} describes all of its paths"
)
_DOCUMENTATION = f"the API is described by GET {DESCRIPTION_PATH}, and GET / is a page for people"

_NAMES_OF_OTHER_PARTS = (
    "assistants|audio|batches|containers|conversations|evals|files|fine_tuning|images|moderations|organization"
    "|realtime|rerank|threads|uploads|vector_stores|videos"
)
# Paths of other APIs and of usual pages. A path has to match as a whole, without slashes at its end.
_OTHER_APIS = tuple(
    (re.compile(pattern), sentence)
    for pattern, sentence in (
        (r"(/api)?(/v1)?/responses/.*", _RESPONSES),
        (r"/api|(/api)?/v1", _BASE_URL),
        (rf"/v1/v1/messages(/count_tokens)?|/v1({'|'.join(_OLLAMA_PATHS)})", _NO_V1),
        (r"(/v1)?/messages/batches(/.*)?", _BATCHES),
        (r"(/v1)?/complete", _COMPLETE),
        (r"(/v1)?/api/(pull|push|create|copy|delete|blobs/.*)", _OLLAMA_MODELS),
        (r"(/v1)?/api/(me|signout|status|user/.*|experimental/.*)", _OLLAMA_ACCOUNT),
        (r"/v1(alpha|beta)\d*/.*", _GEMINI),
        (r"(/api)?(/v1)?(/engines/[^/]+)?/completions", _COMPLETIONS),
        (rf"(/v1)?/({_NAMES_OF_OTHER_PARTS})(/.*)?", _OTHER_PARTS),
        (r".*/(docs|redoc|swagger(-ui)?|api-docs)(/.*)?|.*/(openapi|swagger)(\.(json|ya?ml))?", _DOCUMENTATION),
    )
)


def unknown_path_message(path: str) -> str:
    """Returns the message of the error for a path that does not exist."""
    shown = path if len(path) <= _MAX_SHOWN_CHARACTERS else f"{path[:_MAX_SHOWN_CHARACTERS]}…"
    return f"there is no {shown} here{_hint(path)}"


def nearest_path(path: str) -> str | None:
    """Returns the path that a caller probably meant: the same one in another spelling, the one with the longest end in
    common, one that is its beginning or goes on with it, else a similar one; None where none is similar.
    """
    wanted = _normalised(path)
    if wanted in PATHS:
        return wanted
    in_common = {known: _segments_in_common(known, wanted) for known in PATHS}
    best = max(PATHS, key=in_common.__getitem__)
    if in_common[best]:
        return best
    # A base URL that is the whole URL of an operation: the client has added the operation once more.
    begun = [known for known in PATHS if wanted.startswith(f"{known}/")]
    continued = [known for known in PATHS if f"{wanted}/" in known]
    return next(iter([*sorted(begun, key=len, reverse=True), *continued, *_similar(wanted)]), None)


def _similar(wanted: str) -> Sequence[str]:
    return difflib.get_close_matches(wanted, PATHS, n=1, cutoff=_MIN_SIMILARITY)


def _hint(path: str) -> str:
    wanted = _normalised(path)
    if wanted not in PATHS and wanted != DESCRIPTION_PATH:
        for pattern, sentence in _OTHER_APIS:
            if pattern.fullmatch(wanted):
                return f": {sentence}"
    nearest = nearest_path(path[:_MAX_SHOWN_CHARACTERS])
    return f"; did you mean {nearest}?" if nearest else ""


def _normalised(path: str) -> str:
    """Returns a path in lower case, without empty segments."""
    return "/" + "/".join(_segments(path.lower()))


def _segments_in_common(known: str, wanted: str) -> int:
    """Returns how many segments the ends of two paths have in common. A path of Ollama's API counts only as a whole,
    because /chat and /v1/chat are more often meant for OpenAI's.
    """
    count = _common_segments(known, wanted)
    return 0 if known in _OLLAMA_PATHS and count < len(_segments(known)) else count


def _common_segments(known: str, wanted: str) -> int:
    count = 0
    for one, other in zip(reversed(_segments(known)), reversed(_segments(wanted)), strict=False):
        if one != other:
            break
        count += 1
    return count


def _segments(path: str) -> Sequence[str]:
    return [segment for segment in path.split("/") if segment]
