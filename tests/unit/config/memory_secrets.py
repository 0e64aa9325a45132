"""A `SecretSource` that returns values from dictionaries and records its calls."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from threading import Lock

from sekha_llm_bridge.config import SecretUnavailable
from sekha_llm_bridge.config.references import AwsReference


@dataclass
class MemorySecrets:
    """Values by name; `failures` by name are raised instead. `requests` has (name, fresh) for each fetched name."""

    parameters: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    failures: Mapping[str, SecretUnavailable] = field(default_factory=dict)
    requests: list[tuple[str, bool]] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)

    def fetch(
        self, references: Collection[AwsReference], *, fresh: bool = False
    ) -> Mapping[AwsReference, str | SecretUnavailable]:
        with self.lock:
            self.requests += [(reference.name, fresh) for reference in references]
        return {reference: self._value(reference) for reference in references}

    def _value(self, reference: AwsReference) -> str | SecretUnavailable:
        if reference.name in self.failures:
            return self.failures[reference.name]
        values = self.parameters if reference.store == "ssm" else self.secrets
        return values.get(reference.name, SecretUnavailable("it does not exist: create it"))
