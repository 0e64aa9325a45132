"""The stored values that one process has fetched."""

from collections.abc import Callable, Collection
from threading import Lock

from sekha_llm_bridge.config.references import AwsReference
from sekha_llm_bridge.config.secret_source import FetchedValues, SecretNotFetched, SecretSource, SecretUnavailable


class SecretCache:
    """A `SecretSource` that remembers values and failures. Thread-safe.

    A value that was fetched once stays in use until the store gives another one: neither a failure of the store nor a
    change of permissions makes a running process forget it.
    """

    def __init__(self, make_source: Callable[[], SecretSource]) -> None:
        self._make_source = make_source
        self._source: SecretSource | None = None
        self._known: dict[AwsReference, str | SecretUnavailable] = {}
        self._outdated: frozenset[AwsReference] = frozenset()
        self.version = 0  # another number after every change of a value, or of the reason why there is none
        self._lock = Lock()

    def fetch(self, references: Collection[AwsReference], *, fresh: bool = False) -> FetchedValues:
        """See `SecretSource`. Only references that are not known are fetched, unless `fresh`.

        Then `SecretNotFetched` is returned even where an older value is known and stays in use: whoever asks because
        that one was rejected shall ask again soon.
        """
        with self._lock:
            wanted = [reference for reference in references if fresh or reference not in self._known]
        found = self._fetch(wanted) if wanted else {}
        with self._lock:
            for reference, value in found.items():
                known = self._known.get(reference)
                if isinstance(value, str) or not isinstance(known, str):
                    self._known[reference] = value
                    self.version += (type(known), str(known)) != (type(value), str(value))
            not_read = {reference for reference, value in found.items() if isinstance(value, SecretUnavailable)}
            self._outdated = self._outdated.difference(wanted) | not_read
            failed_now = {one: value for one, value in found.items() if isinstance(value, SecretNotFetched)}
            return {reference: self._known[reference] for reference in references} | failed_now

    @property
    def references(self) -> frozenset[AwsReference]:
        """Everything that was fetched, or should have been."""
        return frozenset(self._known)

    @property
    def not_fetched(self) -> frozenset[AwsReference]:
        """What has no value because the store did not give it now."""
        return self._failed(SecretNotFetched)

    @property
    def failed(self) -> frozenset[AwsReference]:
        """What has no value, for whatever reason."""
        return self._failed(SecretUnavailable)

    @property
    def outdated(self) -> frozenset[AwsReference]:
        """What could not be fetched when it was asked for last; it may have an older value."""
        return self._outdated

    def _failed(self, kind: type[SecretUnavailable]) -> frozenset[AwsReference]:
        with self._lock:
            return frozenset(reference for reference, value in self._known.items() if isinstance(value, kind))

    def _fetch(self, wanted: Collection[AwsReference]) -> FetchedValues:
        with self._lock:
            self._source = self._source or self._make_source()
        return self._source.fetch(wanted, fresh=True)
