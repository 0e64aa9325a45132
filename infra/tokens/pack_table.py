"""Makes `layers/bridge/sekha_llm_bridge/pricing/o200k_base.bin` from the table that OpenAI publishes at
https://openaipublic.blob.core.windows.net/encodings/o200k_base.tiktoken (a line for each token: base64, space, rank).

    infra/tokens/pack o200k_base.tiktoken

The form is described where it is read: `read_table` in `pricing/tokenizer.py`. It is less than half as large, and needs
no decoding. A test compares it with the checksum that tiktoken has of the published one.
"""

import base64
import sys
from pathlib import Path

TABLE = Path(__file__).resolve().parents[2] / "layers" / "bridge" / "sekha_llm_bridge" / "pricing" / "o200k_base.bin"


def packed(published: bytes) -> bytes:
    """The table in the package's form. Raises ValueError when a rank is missing or a token too long for the form."""
    tokens = []
    for rank, line in enumerate(published.splitlines()):
        token, stated_rank = line.split()
        if int(stated_rank) != rank:
            raise ValueError(f"line {rank + 1} has rank {int(stated_rank)} instead of {rank}")
        tokens.append(base64.b64decode(token))
    return len(tokens).to_bytes(4) + bytes(map(len, tokens)) + b"".join(tokens)


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_file():
        raise SystemExit(__doc__)
    TABLE.write_bytes(packed(Path(sys.argv[1]).read_bytes()))
    print(f"{TABLE}: {TABLE.stat().st_size:,} bytes")
