"""Remembers which features of a request a model has rejected, so that the next request does not ask it again."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from sekha_llm_bridge.clock import Clock

REMEMBERED_FOR = timedelta(minutes=5)

_ModelKey = tuple[str, str]  # provider id, model id


class UnsupportedFeatures:
    """The rejected features of this function instance, by (provider id, model id).

    Each is forgotten after five minutes, because an operator may have changed the server. They end by the wall clock,
    because the monotonic clock may stop while Lambda freezes the environment.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: dict[_ModelKey, dict[str, datetime]] = {}

    def add(self, provider_id: str, model_id: str, feature: str) -> None:
        """Remembers that the model has rejected the feature, or a field of that name."""
        features = self._until.setdefault((provider_id, model_id), {})
        features[feature] = self._clock.now() + REMEMBERED_FOR

    def current(self) -> Mapping[_ModelKey, frozenset[str]]:
        """Returns the features that are remembered now, by model."""
        if not self._until:
            return {}
        now = self._clock.now()
        self._until = {
            key: left
            for key, features in self._until.items()
            if (left := {feature: until for feature, until in features.items() if until > now})
        }
        return {key: frozenset(features) for key, features in self._until.items()}
