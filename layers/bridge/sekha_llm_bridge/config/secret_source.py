"""The interface that fetches values stored in AWS. `aws_secrets` implements it, and tests do."""

from typing import Protocol


class SecretUnavailable(Exception):
    """A value could not be fetched. The message says why and what to do. It never contains a part of the value."""


class SecretSource(Protocol):
    """Fetches values by name. Both methods raise `SecretUnavailable` and are called from several threads."""

    def ssm(self, path: str, *, fresh: bool) -> str:
        """Returns the decrypted parameter at `path`. `fresh` ignores the cache."""
        ...

    def secret(self, name: str, *, fresh: bool) -> str:
        """Returns the text of the secret `name`, which is a name or an ARN. `fresh` ignores the cache."""
        ...
