"""What a provider needs to get its own reasoning back, as the `encrypted_content` of a reasoning item.

OpenAI keeps there what only it can read. The bridge keeps the text, whose reasoning it is, and its signature or its
encrypted part, so that a later request of the same conversation gives the provider exactly what it sent, whatever the
client makes of the summary. It is no secret: the caller may read it.
"""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable

import orjson

from sekha_llm_bridge.conversation import Reasoning, ReasoningKind

_MARK = "bridge1."
_KINDS = {kind.value: kind for kind in ReasoningKind}
_FIELDS = ("text", "signature", "encrypted", "item_id")


def packed(thoughts: Iterable[Reasoning]) -> str:
    """Returns the `encrypted_content` of parts of reasoning."""
    parts = [
        {
            "kind": thought.kind.value,
            **{name: value for name in _FIELDS if (value := getattr(thought, name)) is not None},
        }
        for thought in thoughts
    ]
    return _MARK + urlsafe_b64encode(orjson.dumps(parts)).decode()


def is_packed(content: str) -> bool:
    """Returns whether an `encrypted_content` is the bridge's own, not OpenAI's."""
    return content.startswith(_MARK)


def unpacked(content: str) -> tuple[Reasoning, ...]:
    """Returns the parts of reasoning in an `encrypted_content` of the bridge; none where it is damaged."""
    try:
        parts = orjson.loads(urlsafe_b64decode(content.removeprefix(_MARK)))
    except (binascii.Error, ValueError):
        return ()
    is_whole = isinstance(parts, list) and all(
        isinstance(part, dict) and str(part.get("kind")) in _KINDS for part in parts
    )
    return tuple(map(_part, parts)) if is_whole else ()


def _part(sent: dict[str, object]) -> Reasoning:
    text, signature, encrypted, item_id = (
        value if isinstance(value := sent.get(name), str) else None for name in _FIELDS
    )
    return Reasoning(text or "", _KINDS[str(sent["kind"])], signature, encrypted, item_id)


def needs_packing(thoughts: Iterable[Reasoning]) -> bool:
    """Returns whether more than the text has to come back: a signature, or what only the provider can read."""
    return any(thought.signature or thought.encrypted for thought in thoughts)
