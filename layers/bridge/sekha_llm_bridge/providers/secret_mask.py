"""Masks secrets in the text of a provider before the text reaches a caller."""

import base64
import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus, unquote, urlsplit

from sekha_llm_bridge.config.models import ProviderConfig

MASK = "[masked]"

_MIN_CUT_CHARACTERS = 4
_MIN_SECRET_CHARACTERS = 4  # shorter keys are placeholders for servers without keys; masking them hides the text
_MIN_QUERY_SECRET_CHARACTERS = 12  # shorter values of a query are versions, such as `2024-10-21`
# A text, which `re` compiles at the first failure and not at the start.
_KEY_LIKE = (
    r"(?:Bearer|Basic)\s+[^\s\"',;]{6,}"
    r"|\b(?:sk|pk|rk|gsk|xai|hf|ghp|gho|ghs|pplx|nvapi|glpat|r8|key|csk|fw|tgp|dapi|app|xox[abps])[-_]"
    r"[A-Za-z0-9*._\-]{6,}"
    r"|\b(?:AIza|AKIA|ASIA|github_pat_|eyJ)[A-Za-z0-9*._\-]{6,}"
    r"|(?<=://)[^\s/@]{1,200}:[^\s/@]{1,200}@"
    r"|(?<![A-Za-z0-9_+/=])(?=[A-Za-z0-9_+/=]{0,300}\d)(?=[A-Za-z0-9_+/=]{0,300}[A-Za-z])[A-Za-z0-9_+/=]{32,}"
)


def secrets_of(config: ProviderConfig) -> Iterable[str]:
    """Yields the secrets of a provider: its key, its headers, the password in its URL and long values of its query."""
    if config.api_key is not None:
        yield config.api_key.get_secret_value()
    yield from (value.get_secret_value() for value in config.headers.values())
    of_query = (value.get_secret_value() for value in config.query.values())
    yield from (value for value in of_query if len(value) >= _MIN_QUERY_SECRET_CHARACTERS)
    if (password := urlsplit(config.base_url or "").password) is not None:
        yield unquote(password)


class SecretMask:
    """Masks the given secrets, in the encodings in which a server may quote them, and what looks like a key.

    Secrets of less than four characters are not masked.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets for form in _forms(secret.strip())}
        self._forms = [form.lower() for form in forms]
        patterns = [re.escape(form) for form in sorted(forms, key=len, reverse=True)]
        self._secrets = re.compile("|".join(patterns), re.IGNORECASE) if patterns else None

    def __call__(self, text: str) -> str:
        """Returns the text with every secret replaced."""
        if self._secrets is not None:
            text = self._secrets.sub(MASK, text)
        return re.sub(_KEY_LIKE, MASK, self._without_cut_secret(text), flags=re.IGNORECASE)

    def _without_cut_secret(self, text: str) -> str:
        """Returns the text without the beginning of a secret at its end: a long text was cut before it came here."""
        tail = text.lower()
        longest = max(
            (n for form in self._forms for n in range(_MIN_CUT_CHARACTERS, len(form)) if tail.endswith(form[:n])),
            default=0,
        )
        return text[: len(text) - longest] + MASK if longest else text


def _forms(secret: str) -> Iterable[str]:
    """Yields the secret as it is, and as URL, JSON and base64 encode it; words of it if it has spaces."""
    if len(secret) < _MIN_SECRET_CHARACTERS:
        return
    yield from (secret, quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1])
    yield " ".join(secret.split())
    for offset in range(3):  # base64 depends on the position of the secret in the encoded text
        encoded = base64.b64encode(b"\0" * offset + secret.encode()).decode()
        inner = encoded[(0, 2, 3)[offset] : len(encoded.rstrip("=")) - 1]
        if len(inner) >= _MIN_SECRET_CHARACTERS:
            yield inner
    _, _, credential = secret.partition(" ")  # `Bearer …` in a configured header
    if credential:
        yield from _forms(credential)
