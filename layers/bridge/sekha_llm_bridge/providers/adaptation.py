"""Sends a request again in another form where a server rejects a form that the bridge has chosen.

An adapter lists its other forms as `Adaptation`s. The form in which a model has taken a request is used for its later
requests at once, unless the rejection was about the content of the one request. A rejected request is not billed.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from sekha_llm_bridge.conversation import AnswerChunk
from sekha_llm_bridge.errors import Failure, FailureKind, ProviderError

P = TypeVar("P", bound=Mapping[str, Any])
T = TypeVar("T")

REASONING_EFFORT = "the effort of reasoning"
"""What `Adaptation.leaves_out` calls it, for all formats."""

_REJECTIONS = frozenset({FailureKind.REQUEST_REJECTED, FailureKind.CANDIDATE_UNSUITABLE})


class Adaptation(NamedTuple):
    """One other form of a request.

    `pattern` is a regular expression, compiled at the first rejection; it matches rejections that name what is changed,
    in any letter case. `change` returns the payload in the other form, or None where it has nothing to change. `kinds`
    are the kinds of rejection that it may avoid. `pattern_of_model` matches rejections that later requests would get,
    too: only then is the form remembered. By default, all are. `leaves_out` names what of the request is lost by it,
    for a note to the caller; empty where nothing is. `change_by` is for forms that depend on what the rejection says:
    they are never remembered, and `change` has no effect.
    """

    pattern: str
    change: Callable[[Any], Any | None]
    kinds: frozenset[FailureKind] = _REJECTIONS
    pattern_of_model: str = ""
    leaves_out: str = ""
    change_by: Callable[[Any, Failure], Any | None] | None = None

    def changed(self, payload: Any, failure: Failure) -> Any | None:
        """Returns the payload in the other form after this rejection; None where it has nothing to change."""
        return self.change(payload) if self.change_by is None else self.change_by(payload, failure)

    def may_avoid(self, failure: Failure) -> bool:
        """Returns whether the rejection names what this adaptation changes."""
        return failure.kind in self.kinds and _names(self.pattern, failure)

    def is_needed_again(self, failure: Failure) -> bool:
        """Returns whether the model would reject later requests, too, and not only this one."""
        return self.change_by is None and _names(self.pattern_of_model, failure)


def by_rejection(
    pattern: str,
    change_by: Callable[[Any, Failure], Any | None],
    *,
    kinds: frozenset[FailureKind] = _REJECTIONS,
    leaves_out: str = "",
) -> Adaptation:
    """Returns an adaptation whose form depends on what the rejection says."""
    return Adaptation(pattern, lambda _: None, kinds, leaves_out=leaves_out, change_by=change_by)


# What servers say of a field that they do not know.
_UNKNOWN = (
    r"(?:extra (?:inputs|fields)|\bun(?:supported|known|expected|recogni[sz]ed)|does ?n[o']t support"
    r"|\bnot (?:be )?(?:supported|permitted|allowed|recogni[sz]ed|accepted))"
)


def names_unknown(name: str) -> str:
    """Returns the pattern of rejections that say that a field is not known. `name` is a pattern itself."""
    return rf"(?:{_UNKNOWN}[^\n]{{0,120}}{name}|{name}[^\n]{{0,120}}{_UNKNOWN})"


def _names(pattern: str, failure: Failure) -> bool:
    text = f"{failure.param or ''} {failure.message} {failure.provider_text}"
    return re.search(pattern, text, re.IGNORECASE) is not None


class AdaptedRequests:
    """Sends the requests of one adapter. It remembers for each model which adaptations it needs."""

    def __init__(self) -> None:
        self._needed: dict[str, list[Adaptation]] = {}

    async def send(
        self,
        payload: P,
        adaptations: Sequence[Adaptation],
        send: Callable[[P], Awaitable[T]],
        left_out: list[str] | None = None,
    ) -> T:
        """Returns the answer to the payload, which names its `model`, or to another form of it. What that form leaves
        out is added to `left_out`.

        Raises the `ProviderError` of the last form. A failure that may be billed is raised at once: another attempt
        would spend what the cost limit has counted for the first one.
        """
        needed = self._needed.setdefault(payload["model"], [])
        tried = [adaptation for adaptation in needed if adaptation in adaptations]
        changed = []
        for adaptation in tried:
            if (other := adaptation.change(payload)) is not None:
                payload = other
                changed.append(adaptation)
        learned: list[Adaptation] = []
        while True:
            try:
                answer = await send(payload)
            except ProviderError as exc:
                failure = exc.failure
                if failure.usage is not None or failure.may_be_billed:
                    raise
                untried = [one for one in adaptations if one not in tried and one.may_avoid(failure)]
                forms = ((one, other) for one in untried if (other := one.changed(payload, failure)) is not None)
                if (found := next(forms, None)) is None:
                    raise
                adaptation, payload = found
                tried.append(adaptation)
                if adaptation.is_needed_again(failure):
                    learned.append(adaptation)
                changed.append(adaptation)
            else:
                needed += [adaptation for adaptation in learned if adaptation not in needed]
                if left_out is not None:
                    left_out += dict.fromkeys(one.leaves_out for one in changed if one.leaves_out)
                return answer


def with_note(chunk: AnswerChunk, left_out: list[str]) -> AnswerChunk:
    """Returns the first chunk of an answer with what was left out of its request; later ones as they are."""
    if not left_out:
        return chunk
    noted = chunk._replace(left_out=tuple(left_out))
    left_out.clear()
    return noted
