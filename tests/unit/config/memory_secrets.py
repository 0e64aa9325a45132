"""A `SecretSource` that returns values from dictionaries and records its calls."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock

from sekha_llm_bridge.config import SecretUnavailable


@dataclass
class MemorySecrets:
    """Values by name. `requests` has (name, fresh) of every call."""

    parameters: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    requests: list[tuple[str, bool]] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)

    def ssm(self, path: str, *, fresh: bool) -> str:
        return self._value(self.parameters, path, fresh=fresh)

    def secret(self, name: str, *, fresh: bool) -> str:
        return self._value(self.secrets, name, fresh=fresh)

    def _value(self, values: Mapping[str, str], name: str, *, fresh: bool) -> str:
        with self.lock:
            self.requests.append((name, fresh))
        if name not in values:
            raise SecretUnavailable("it does not exist: create it")
        return values[name]
