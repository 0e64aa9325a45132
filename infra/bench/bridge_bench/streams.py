"""Measures the time that the bridge adds to the first token of a stream, and its CPU time per chunk.

The chat function runs with its own runtime loop in its own process, as in Lambda; the provider runs in another process.
Bare calls and invocations alternate in the same run. The time of API Gateway and Lambda is not measured. If the system
allows it, the function runs on its own core.
"""

import argparse
import json
import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from bridge_bench.cores import two_cores
from bridge_bench.deployment import local_deployment
from bridge_bench.endpoints import ENDPOINTS, Endpoint
from bridge_bench.lambda_function import api_gateway_event
from bridge_bench.provider_process import fast_provider, streaming_fields
from bridge_bench.runtime_api import RuntimeApi, bare_stream, running_function

_CHAT = ENDPOINTS["chat_completions"]
_FEW_TOKENS = 3
_PAUSE_S = 0.0005
_WARM_UP_CALLS = 50


def main(arguments: Sequence[str]) -> None:
    """The time that the bridge adds to the first token of a stream, and its CPU time per streamed chunk."""
    options = _parser().parse_args(arguments)
    function_core, other_core = two_cores()
    with (
        fast_provider(other_core) as port,
        local_deployment(port, None) as deployment,
        running_function(deployment, _CHAT.function, function_core) as api,
    ):
        print(_first_tokens(api, port, options.rounds, options.repeats))
        for pause_s in (_PAUSE_S, 0.0):
            print(_chunks(api, options.chunks, pause_s, options.repeats))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="infra/bench/run streams", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=300, help="pairs of calls in one repeat (%(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="number of repeats (%(default)s)")
    parser.add_argument("--chunks", type=int, default=5000, help="chunks of a long stream (%(default)s)")
    return parser


def _first_tokens(api: RuntimeApi, port: int, rounds: int, repeats: int) -> str:
    request = _streaming_endpoint(_FEW_TOKENS, 0.0)
    bare = bare_stream(port, request.provider_path, request.text.encode())
    event = api_gateway_event(request)
    for _ in range(_WARM_UP_CALLS):
        api.invoke(event)
    rows = []
    for _ in range(repeats):
        pairs = [(next(bare).first_ns, api.invoke(event).first_ns) for _ in range(rounds)]
        bare_us = statistics.median(first for first, _ in pairs) / 1e3
        bridge_us = statistics.median(first for _, first in pairs) / 1e3
        added_us = statistics.median(through_bridge - bare_call for bare_call, through_bridge in pairs) / 1e3
        rows.append(f"  {bare_us:8.0f} {bridge_us:8.0f} {added_us:8.0f}")
    title = f"time to the first token in µs, medians of {rounds} pairs: bare, through the bridge, added"
    return "\n".join([title, *rows])


def _chunks(api: RuntimeApi, chunks: int, pause_s: float, repeats: int) -> str:
    few, many = (api_gateway_event(_streaming_endpoint(tokens, pause_s)) for tokens in (1, chunks))
    each_us = []
    for _ in range(repeats):
        short, long = api.invoke(few), api.invoke(many)
        each_us.append((long.cpu_ns - short.cpu_ns) / 1e3 / chunks)
    timing = f"each {pause_s * 1e3:.1f} ms after the last" if pause_s else "all at once"
    found = ", ".join(f"{us:.0f}" for us in sorted(each_us))
    return f"CPU per chunk in µs, of {chunks} chunks {timing}: {found}"


def _streaming_endpoint(tokens: int, pause_s: float) -> Endpoint:
    body: dict[str, Any] = {**json.loads(_CHAT.text), **streaming_fields(tokens, pause_s)}
    return replace(_CHAT, body=body)
