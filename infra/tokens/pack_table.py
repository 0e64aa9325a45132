"""Makes a token table in `layers/bridge/sekha_llm_bridge/pricing` from the table that OpenAI publishes at
https://openaipublic.blob.core.windows.net/encodings/NAME.tiktoken (one line for each token: base64, space, rank).

    infra/tokens/pack NAME FILE        NAME: o200k_base or cl100k_base; FILE: the published table

`TokenTable` in `pricing/token_table.py` describes the format. It is less than half as large, and needs no decoding. A
test compares each table with tiktoken's checksum of the published table.
"""

import base64
import sys
from collections.abc import Sequence
from pathlib import Path

NAMES = ("o200k_base", "cl100k_base")
FOLDER = Path(__file__).resolve().parents[2] / "layers" / "bridge" / "sekha_llm_bridge" / "pricing"


def packed(published: bytes) -> bytes:
    """Returns the table in the package's format. Raises ValueError when a rank is missing or a token is too long."""
    tokens = []
    for rank, line in enumerate(published.splitlines()):
        token, stated_rank = line.split()
        if int(stated_rank) != rank:
            raise ValueError(f"line {rank + 1} has rank {int(stated_rank)} instead of {rank}")
        tokens.append(base64.b64decode(token))
    return len(tokens).to_bytes(4) + bytes(map(len, tokens)) + b"".join(tokens)


def main(arguments: Sequence[str], folder: Path = FOLDER) -> None:
    """Writes the table that the arguments name. For invalid arguments, raises SystemExit with the usage."""
    match arguments:
        case [name, file] if name in NAMES and Path(file).is_file():
            table = folder / f"{name}.bin"
            table.write_bytes(packed(Path(file).read_bytes()))
            print(f"{table}: {table.stat().st_size:,} bytes")
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
