"""Makes the snapshot of the installed genai-prices with the prices of a day. Prints the differences.

    python -m price_snapshot YYYY-MM-DD         of the package
    python -m price_snapshot YYYY-MM-DD FILE    of FILE

If only the date would change, the file is not written.
"""

import sys
from datetime import date
from pathlib import Path

import orjson
from genai_prices.data import providers
from genai_prices.types import Provider

from price_snapshot.difference import difference
from price_snapshot.document import document, text_of
from sekha_llm_bridge.pricing.snapshot import FILE, Document


def refresh(file: Path, sellers: list[Provider], day: date) -> list[str]:
    """Writes the file with the prices of `day`, unless only its date would change. Returns the differences as lines."""
    before: Document | None = orjson.loads(file.read_bytes()) if file.is_file() else None
    after = document(sellers, day)
    lines = difference(before, after)
    if before is None or lines or not _is_made_from(before, sellers):
        file.write_text(text_of(after), encoding="utf-8")
    return lines


def _is_made_from(snapshot: Document, sellers: list[Provider]) -> bool:
    """Whether the current data gives the same snapshot for its own date."""
    return text_of(document(sellers, date.fromisoformat(snapshot["date"]))) == text_of(snapshot)


if __name__ == "__main__":
    if len(sys.argv) not in {2, 3}:
        raise SystemExit(__doc__)
    file = Path(sys.argv[2]) if len(sys.argv) == 3 else FILE
    for line in refresh(file, providers, date.fromisoformat(sys.argv[1])) or ["no difference"]:
        print(line)
