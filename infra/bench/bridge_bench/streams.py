"""Measures the time that the bridge adds to the first token of a stream, and its CPU time per chunk, for each API.

Each function runs with its own runtime loop in its own process, as in Lambda; the provider runs in another process.
Bare calls and invocations alternate in the same run, and the APIs take turns: a ratio to chat's is one of neighbouring
calls. The time of API Gateway and Lambda is not measured. If the system allows it, the functions run on their own core.
"""

import argparse
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from bridge_bench.cores import two_cores
from bridge_bench.deployment import local_deployment
from bridge_bench.endpoints import CONVERSATIONS, Endpoint
from bridge_bench.lambda_function import api_gateway_event
from bridge_bench.provider_process import fast_provider
from bridge_bench.runtime_api import RuntimeApi, StreamTiming, bare_stream, running_function
from bridge_bench.tables import stream_table

_REFERENCE = "chat_completions"
_FEW_TOKENS = 3
_PAUSE_S = 0.0005
_WARM_UP_CALLS = 50
_US = 1e3


class Running(NamedTuple):
    """A function that runs, what it is sent, and the provider's port for bare calls."""

    api: RuntimeApi
    endpoint: Endpoint
    port: int

    def stream(self, tokens: int, pause_s: float) -> StreamTiming:
        """Invokes the function once."""
        return self.api.invoke(api_gateway_event(self.endpoint.streaming(tokens, pause_s)))

    def bare(self, tokens: int) -> Iterator[StreamTiming]:
        """See `bare_stream`. The calls are those that the function would make."""
        request = self.endpoint.streaming(tokens, 0.0)
        return bare_stream(self.port, request.provider_path, request.provider_text.encode())


def main(arguments: Sequence[str]) -> None:
    """The time that the bridge adds to the first token of a stream, and its CPU time per chunk, for each API."""
    options = _parser().parse_args(arguments)
    with _running([_REFERENCE, *(name for name in options.api or CONVERSATIONS if name != _REFERENCE)]) as functions:
        print(_first_tokens(functions, options.rounds, options.repeats))
        for pause_s in (_PAUSE_S, 0.0):
            print(_chunks(functions, options.chunks, pause_s, options.repeats))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="infra/bench/run streams", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--api", action="append", choices=CONVERSATIONS, help="one API, beside chat's; default: each of them"
    )
    parser.add_argument("--rounds", type=int, default=100, help="pairs of calls in one repeat (%(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="number of repeats (%(default)s)")
    parser.add_argument("--chunks", type=int, default=5000, help="chunks of a long stream (%(default)s)")
    return parser


@contextmanager
def _running(names: Sequence[str]) -> Iterator[Mapping[str, Running]]:
    function_core, other_core = two_cores()
    with ExitStack() as stack:
        port = stack.enter_context(fast_provider(other_core))
        kinds = {CONVERSATIONS[name].provider_type for name in names}
        deployments = {kind: stack.enter_context(local_deployment(port, None, kind)) for kind in kinds}
        functions = {}
        for name in names:
            endpoint = CONVERSATIONS[name]
            deployment = deployments[endpoint.provider_type]
            api = stack.enter_context(running_function(deployment, endpoint.function, function_core))
            functions[name] = Running(api, endpoint, port)
        yield functions


def _first_tokens(functions: Mapping[str, Running], rounds: int, repeats: int) -> str:
    bare = {name: function.bare(_FEW_TOKENS) for name, function in functions.items()}
    for function in functions.values():
        for _ in range(_WARM_UP_CALLS):
            function.stream(_FEW_TOKENS, 0.0)
    delays: dict[str, list[list[float]]] = {name: [] for name in functions}
    cpu: dict[str, list[list[float]]] = {name: [] for name in functions}
    for _ in range(repeats):
        taken: dict[str, list[tuple[StreamTiming, StreamTiming]]] = {name: [] for name in functions}
        for position in range(rounds):
            for name in _rotated(functions, position):
                taken[name].append((next(bare[name]), functions[name].stream(_FEW_TOKENS, 0.0)))
        for name, pairs in taken.items():
            firsts = [(one.first_ns, other.first_ns) for one, other in pairs]
            medians = [_median_us(column) for column in zip(*firsts, strict=True)]
            delays[name].append([*medians, _median_us([bridge_ns - bare_ns for bare_ns, bridge_ns in firsts])])
            cpu[name].append([_median_us([through_bridge.cpu_ns for _, through_bridge in pairs])])
    title = f"time to the first token in µs, medians of {rounds} pairs"
    delay_table = stream_table(title, ["bare", "the bridge", "added"], delays, _REFERENCE)
    title = f"CPU of a whole stream of {_FEW_TOKENS} tokens in µs, medians of {rounds}"
    return "\n".join([delay_table, stream_table(title, ["CPU"], cpu, _REFERENCE)])


def _chunks(functions: Mapping[str, Running], chunks: int, pause_s: float, repeats: int) -> str:
    found: dict[str, list[list[float]]] = {name: [] for name in functions}
    for position in range(repeats):
        for name in _rotated(functions, position):
            short, long = functions[name].stream(1, pause_s), functions[name].stream(chunks, pause_s)
            found[name].append([(long.cpu_ns - short.cpu_ns) / _US / chunks])
    timing = f"each {pause_s * 1e3:.1f} ms after the last" if pause_s else "all at once"
    return stream_table(f"CPU per chunk in µs, of {chunks} chunks {timing}", ["CPU"], found, _REFERENCE)


def _rotated(functions: Mapping[str, Running], position: int) -> Sequence[str]:
    names = list(functions)
    first = position % len(names)
    return names[first:] + names[:first]


def _median_us(samples_ns: Sequence[int]) -> float:
    return statistics.median(samples_ns) / _US
