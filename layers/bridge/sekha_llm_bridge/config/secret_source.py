"""The interface that fetches values stored in AWS, and which of them a function uses. `aws_secrets` implements it, and
tests do.
"""

from collections.abc import Collection, Mapping
from enum import Flag, auto
from typing import Protocol, TypeAlias

from sekha_llm_bridge.config.references import AwsReference


class SecretUse(Flag):
    """Which stored values a function reads. References that it does not read count as present.

    `PROVIDERS`: all but those in the section `chroma`. `CHROMA`: those in the section `chroma`.
    """

    NONE = 0
    PROVIDERS = auto()
    CHROMA = auto()
    ALL = PROVIDERS | CHROMA


class SecretUnavailable(Exception):
    """A value cannot be fetched until somebody acts: it does not exist, access is denied, or it is no text.

    The message says why and what to do. It never contains a part of the value.
    """


class SecretNotFetched(SecretUnavailable):
    """A value could not be fetched now, and may be fetched at the next attempt."""


FetchedValues: TypeAlias = Mapping[AwsReference, "str | SecretUnavailable"]


class SecretSource(Protocol):
    """Fetches values by reference. A reference has no `key`: it names the whole stored text."""

    def fetch(self, references: Collection[AwsReference], *, fresh: bool = False) -> FetchedValues:
        """Returns the value, or why there is none, of each reference. Blocks. `fresh` ignores what is remembered."""
        ...
