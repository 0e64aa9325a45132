"""Where values kept in AWS come from: the seam that `aws_secrets` fills, and tests too."""

from typing import Protocol


class SecretUnavailable(Exception):
    """A value could not be fetched. The message says why and what to do, never any part of the value."""


class SecretSource(Protocol):
    """Fetches by name; both methods raise `SecretUnavailable`, and may be called from several threads."""

    def ssm(self, path: str, *, fresh: bool) -> str:
        """The parameter at `path`, decrypted; `fresh` passes over whatever is cached."""
        ...

    def secret(self, name: str, *, fresh: bool) -> str:
        """The text of secret `name` (or of its ARN); `fresh` passes over whatever is cached."""
        ...
