"""Compares the bridge's token counts before a request with the real counts, for texts of many kinds.

Each text is one message of a chat. "Real" is the number of tokens that OpenAI bills for it with o200k_base: the text's
tokens and 7 tokens of overhead. Except for the sizes, all other columns are multiples of it: a quarter of the bytes (a
rule of thumb, for comparison), the estimate, the bound by bytes, and the bound by an exact count.
"""

import argparse
import json
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sekha_llm_bridge.conversation import Conversation, Message, Role, Text
from sekha_llm_bridge.pricing import TokenCount, Tokenizer, count_chat
from token_bench.corpus import corpus

ROOT = Path(__file__).resolve().parents[3]
OTHER_PYTHON = ROOT / ".local" / "envs" / "model" / "bin" / "python"
# github.com/openai/openai-cookbook, "How to count tokens with tiktoken": 3 per message, 1 per role, 3 per answer
OVERHEAD_TOKENS = 7
COLUMNS = ("bytes", "real", "bytes/4", "estimate", "byte bound", "exact bound")


def main(arguments: Sequence[str]) -> None:
    """The error of the bridge's token counts before a request, for texts of many kinds."""
    size = _parsed_bytes(arguments)
    texts = {kind: _repeated(text, size) for kind, text in corpus().items()}
    counts = {kind: count_chat(Conversation((Message(Role.USER, (Text(text),)),))) for kind, text in texts.items()}
    began, memory = time.perf_counter(), _memory_mb()
    counts["english"].bound_for(Tokenizer.O200K)
    print(f"the first exact count: {time.perf_counter() - began:.2f} s, {_memory_mb() - memory:.0f} MB\n")
    real = {kind: tokens + OVERHEAD_TOKENS for kind, tokens in _real_tokens(texts).items()}
    print(f"{'':24}" + "".join(f"{column:>13}" for column in COLUMNS))
    for kind, text in texts.items():
        print(f"{kind:24}" + _row(len(text.encode()), real[kind], counts[kind]))
    _summarize(counts, real)
    _compare_other_tokenizer(texts)


def _parsed_bytes(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="infra/bench/run tokens", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bytes", type=int, default=4096, help="repeat each text to about this length (%(default)s)")
    return int(parser.parse_args(arguments).bytes)


def _repeated(text: str, size: int) -> str:
    return text * max(1, round(size / len(text.encode())))


def _real_tokens(texts: Mapping[str, str]) -> dict[str, int]:
    encode = _o200k_encoder()
    return {kind: len(encode(text)) for kind, text in texts.items()}


def _o200k_encoder() -> Callable[[str], list[int]]:
    """Returns tiktoken's encoder with the token table in the package."""
    import tiktoken

    from sekha_llm_bridge.pricing.token_table import TokenTable
    from sekha_llm_bridge.pricing.tokenizer import PIECES

    name, pieces = Tokenizer.O200K.value, PIECES[Tokenizer.O200K]
    ranks = {token: rank for rank, token in enumerate(TokenTable.load(name))}
    return tiktoken.Encoding(name, pat_str=pieces, mergeable_ranks=ranks, special_tokens={}).encode_ordinary


def _row(size: int, real: int, count: TokenCount) -> str:
    figures = (size / 4 / real, *(figure / real for figure in _figures(count)))
    return f"{size:13,}{real:13,}" + "".join(f"{figure:13.2f}" for figure in figures)


def _figures(count: TokenCount) -> tuple[int, int, int]:
    return count.estimate, count.bound, count.bound_for(Tokenizer.O200K)


def _summarize(counts: Mapping[str, TokenCount], real: Mapping[str, int]) -> None:
    ratios = [[figure / real[kind] for figure in _figures(count)] for kind, count in counts.items()]
    print()
    for name, column in zip(COLUMNS[3:], zip(*ratios, strict=True), strict=True):
        average = sum(column) / len(column)
        print(f"{name}: {min(column):.2f} to {max(column):.2f} times the real count, {average:.2f} on average")
    below = [kind for kind, count in counts.items() if min(_figures(count)[1:]) < real[kind]]
    print(f"bounds below the real count: {', '.join(below) or 'none'}")


def _compare_other_tokenizer(texts: Mapping[str, str]) -> None:
    """Compares bytes with a WordPiece tokenizer's tokens, if the local stack's embedding model is installed."""
    if not OTHER_PYTHON.is_file():
        return
    script = Path(__file__).with_name("other_tokenizer.py")
    done = subprocess.run([OTHER_PYTHON, script], input=json.dumps(texts), capture_output=True, text=True, check=True)
    tokens = json.loads(done.stdout)
    ratios = [len(text.encode()) / tokens[kind] for kind, text in texts.items()]
    print(f"bytes per token of all-MiniLM-L6-v2: {min(ratios):.2f} to {max(ratios):.2f}")


def _memory_mb() -> float:
    """Returns this process's resident memory; 0 if the system has no `/proc`."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0.0)
