"""Reads what an Ollama says of its models.

Source: Ollama's API documentation, "List local models" and "Show model information"; `api/types.go` for
`remote_host` and for `capabilities` and lengths in the list. Older versions have no `capabilities`, and the oldest no
`model_info`: then the families tell an embedding model and one that sees images.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from sekha_llm_bridge.conversation import Json
from sekha_llm_bridge.found_models import FoundModel
from sekha_llm_bridge.providers.base import malformed_answer

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_SIZE = re.compile(r"(?:(\d+)x)?(\d+(?:\.\d+)?)([KMBT]?)", re.IGNORECASE)
_NUM_CTX = re.compile(r"^num_ctx\s+(\d+)\s*$", re.MULTILINE)
_VISION_FAMILIES = frozenset({"clip", "mllama"})
_CLOUD_TAG = re.compile(r":(?:.*-)?cloud$")
_MAX_NAME, _MAX_TEXT = 300, 100  # characters: a longer one is treated as missing, so that a list fits into its item
_MAX_CAPABILITIES = 16


def read_list(body: Json) -> tuple[FoundModel, ...]:
    """Returns the models of `GET /api/tags` in the order of their names, with what the list says of them. An entry
    without a printable name is left out. Raises `ProviderError` (MALFORMED_ANSWER) where there is no list.
    """
    rows = body.get("models", ())
    if rows is None:  # old versions without any model
        return ()
    if not isinstance(rows, list):
        raise malformed_answer("the provider's answer has no list of models")
    found = {one.name: one for one in (_listed(row) for row in rows if isinstance(row, dict)) if one.name}
    return tuple(found[name] for name in sorted(found))


def with_description(listed: FoundModel, body: Json) -> FoundModel:
    """Returns the model of a list with what `POST /api/show` says of it. What the list has said counts more: it is made
    by the version of Ollama that runs now.
    """
    details, info = _mapping(body.get("details")), _mapping(body.get("model_info"))
    reported = listed.capabilities if listed.are_capabilities_reported else _texts(body.get("capabilities"))
    families = _families(details)
    inferred = _inferred(families, has_projector=bool(body.get("projector_info"))) if families else listed.capabilities
    count = _number(info.get("general.parameter_count"))
    parameters = body.get("parameters")
    num_ctx = _NUM_CTX.search(parameters) if isinstance(parameters, str) else None
    return listed._replace(
        family=listed.family or _text(details.get("family")),
        parameter_size=listed.parameter_size or _text(details.get("parameter_size")),
        parameter_count=count or listed.parameter_count or _count_of(_text(details.get("parameter_size"))),
        quantization=listed.quantization or _text(details.get("quantization_level")),
        context_length=_of_architecture(info, "context_length") or listed.context_length,
        num_ctx=_number(int(num_ctx[1])) if num_ctx else None,
        embedding_length=_of_architecture(info, "embedding_length") or listed.embedding_length,
        capabilities=reported or inferred,
        are_capabilities_reported=bool(reported),
        remote_host=listed.remote_host or _text(body.get("remote_host")),
    )


def _listed(row: Mapping[str, Any]) -> FoundModel:
    details = _mapping(row.get("details"))
    name = _text(row.get("model") or row.get("name"), max_length=_MAX_NAME)
    capabilities = _texts(row.get("capabilities"))
    return FoundModel(
        name=name,
        digest=_text(row.get("digest")),
        size_bytes=_number(row.get("size")) or 0,
        modified_at=_text(row.get("modified_at")),
        family=_text(details.get("family")),
        parameter_size=_text(details.get("parameter_size")),
        parameter_count=_count_of(_text(details.get("parameter_size"))),
        quantization=_text(details.get("quantization_level")),
        context_length=_number(details.get("context_length")),
        embedding_length=_number(details.get("embedding_length")),
        capabilities=capabilities or _inferred(_families(details)),
        are_capabilities_reported=bool(capabilities),
        remote_host=_text(row.get("remote_host")) or ("cloud" if _CLOUD_TAG.search(name) else ""),
    )


def _inferred(families: Iterable[str], *, has_projector: bool = False) -> tuple[str, ...]:
    """Returns the capabilities by the families of a model, for a version of Ollama that reports none."""
    names = set(families)
    if any("bert" in name for name in names):
        return ("embedding",)
    sees_images = has_projector or not _VISION_FAMILIES.isdisjoint(names)
    return ("completion", "vision") if sees_images else ("completion",)


def _families(details: Mapping[str, Any]) -> tuple[str, ...]:
    family = _text(details.get("family"))
    return (*_texts(details.get("families")), *([family] if family else []))


def _of_architecture(info: Mapping[str, Any], name: str) -> int | None:
    """Returns a value of the model itself. The key begins with its architecture: a model that sees images has another
    `embedding_length` for them, such as `gemma3.vision.embedding_length`.
    """
    architecture = info.get("general.architecture")
    known = _number(info.get(f"{architecture}.{name}"))
    return known or next((_number(value) for key, value in info.items() if key.split(".")[1:] == [name]), None)


def _count_of(size: str) -> int | None:
    """Returns the number that a text such as `8.0B`, `137M` or `8x7B` means; None for another text."""
    match = _SIZE.fullmatch(size.strip())
    if match is None:
        return None
    experts, number, unit = match.groups()
    return round(float(number) * _UNITS[unit.upper()]) * int(experts or 1) or None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object, *, max_length: int = _MAX_TEXT) -> str:
    """Returns a text of one line that can be stored and shown; an empty one for anything else."""
    return value if isinstance(value, str) and len(value) <= max_length and value.isprintable() else ""


def _texts(value: object) -> tuple[str, ...]:
    return tuple(text for text in map(_text, value[:_MAX_CAPABILITIES]) if text) if isinstance(value, list) else ()


def _number(value: object) -> int | None:
    """Returns a positive whole number that DynamoDB and planning can take; None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**53 else None
