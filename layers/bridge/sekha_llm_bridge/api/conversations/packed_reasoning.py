"""Reasoning of any vendor's model in a text that clients send back as it came: Anthropic's `signature`, OpenAI's
`encrypted_content`.

It holds whose reasoning it is, and what its own vendor needs to take it back. So it is recognised when it comes back,
goes to a model of the same vendor, and never to another one, which would reject it. It is no secret: the caller may
read it.
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
    """Returns the text for parts of reasoning."""
    parts = [
        {
            "kind": thought.kind.value,
            **{name: value for name in _FIELDS if (value := getattr(thought, name)) is not None},
        }
        for thought in thoughts
    ]
    return _MARK + urlsafe_b64encode(orjson.dumps(parts)).decode()


def is_packed(content: object) -> bool:
    """Returns whether a signature or an encrypted content is the bridge's own, not a vendor's."""
    return isinstance(content, str) and content.startswith(_MARK)


def unpacked(content: str) -> tuple[Reasoning, ...]:
    """Returns the parts of reasoning in such a text; none where it is damaged."""
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
