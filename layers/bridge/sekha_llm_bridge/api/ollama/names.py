"""The names of models as Ollama's clients write them: with a tag, or without one, which means `latest`.

A configured model is found by either form. The lists give the form with a tag, as Ollama's do, because some clients add
`:latest` to a name without a tag and look for that in the list (Open WebUI).
"""

from fastapi import Request

from sekha_llm_bridge.api.conversations.options import OptionFields, Options
from sekha_llm_bridge.api.request_state import bridge_of
from sekha_llm_bridge.errors import ModelNotFound
from sekha_llm_bridge.found_models import DEFAULT_TAG
from sekha_llm_bridge.routing import Catalog
from sekha_llm_bridge.routing.names import AUTO, model_ref, resolve_model, without_default_tag

_MAX_SHOWN_CHARACTERS = 200


def configured_name(name: str | None, catalog: Catalog) -> str | None:
    """Returns the name by which the configuration has the model; None for no name.

    Raises `ModelNotFound` in the words of Ollama, which clients look for.
    """
    if not name:
        return None
    found = known_form(name, catalog)
    try:
        resolve_model(found, catalog)
    except ModelNotFound as exc:
        shown = name[:_MAX_SHOWN_CHARACTERS]
        raise ModelNotFound(f"model '{shown}' not found: {exc.message}", param="model") from None
    return found


def options_of(request: Request, model: str | None, fields: OptionFields) -> Options:
    """Returns the options of a request. Raises as `configured_name` and `Options.of` do."""
    catalog = bridge_of(request).catalog
    options = Options.of(configured_name(model, catalog), fields, request.headers)
    preferred = options.preferred_model
    return options._replace(preferred_model=known_form(preferred, catalog)) if preferred else options


def known_form(name: str, catalog: Catalog) -> str:
    """Returns the form of a name that is configured; the name itself where none is."""
    is_own = name == AUTO or name in catalog.aliases
    ref = None if is_own else model_ref(name, catalog)
    return without_default_tag(name, catalog) if ref is None else str(ref)


def name_with_tag(name: str) -> str:
    """Returns the name as Ollama's lists show it."""
    return name if _has_tag(name) else name + DEFAULT_TAG


def _has_tag(name: str) -> bool:
    return ":" in name.rpartition("/")[2]
