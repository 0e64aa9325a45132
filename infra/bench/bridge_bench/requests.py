"""Measures the time of a request through the bridge, and of a bare call to the same provider in the same run.

The provider answers at once. It runs in its own process and, if the system allows it, on its own core. The Lambda
runtime's work around the handler is not measured: parsing the event and sending the response. Other load on the machine
slows everything down, but the bare call less: the lowest value of the repeats is the most accurate.
"""

import argparse
import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from bridge_bench import fresh_process
from bridge_bench.cores import two_cores
from bridge_bench.deployment import Deployment, local_deployment
from bridge_bench.endpoints import ENDPOINTS
from bridge_bench.measured_calls import BASELINE, CLIENT, HANDLER
from bridge_bench.measuring import Samples
from bridge_bench.profiling import SORTS
from bridge_bench.provider_process import fast_provider
from bridge_bench.tables import cold_table, warm_table
from bridge_bench.warm_process import Task

_OWN = {BASELINE: "the bridge's own time, beyond http.client", CLIENT: "the bridge's own time, beyond its HTTP client"}
_STARTS = {
    fresh_process.BASELINE: "http.client and json",
    fresh_process.LIBRARIES: "the libraries alone",
    fresh_process.HANDLER: "the function's handler",
}


def main(arguments: Sequence[str]) -> None:
    """The bridge's own time per request, in process, compared with a bare call to a provider that answers at once."""
    options = _parser().parse_args(arguments)
    measuring_core, provider_core = two_cores()
    with fast_provider(provider_core) as port, ExitStack() as stack:
        deployments = {
            kind: stack.enter_context(local_deployment(port, options.layer, kind)) for kind in ("openai", "anthropic")
        }
        for name in options.endpoint or ENDPOINTS:
            deployment = deployments[ENDPOINTS[name].provider_type]
            task = Task(name, port, measuring_core, options.rounds, options.repeats, options.profile)
            print(_title(task, provider_core))
            if options.profile is None:
                print(_warm(task, deployment), _cold(task, deployment, options.starts), sep="\n\n", end="\n\n")
            else:
                print(deployment.run_module("bridge_bench.warm_process", stdin_text=json.dumps(asdict(task))))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="infra/bench/run requests", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--endpoint", action="append", choices=ENDPOINTS, help="one endpoint; default: each")
    parser.add_argument("--rounds", type=int, default=400, help="calls of each kind in one repeat (%(default)s)")
    parser.add_argument("--repeats", type=int, default=7, help="number of repeats (%(default)s)")
    parser.add_argument("--starts", type=int, default=7, help="fresh processes of each kind (%(default)s)")
    parser.add_argument(
        "--layer",
        type=Path,
        help="a layer built for this machine, which is measured instead, such as .aws-sam/build/BridgeLayer",
    )
    parser.add_argument(
        "--profile", nargs="?", const=SORTS[0], choices=SORTS, help="profile the handler instead; the sort order"
    )
    return parser


def _title(task: Task, provider_core: int | None) -> str:
    endpoint = ENDPOINTS[task.endpoint]
    where = (
        "processes are not pinned to cores"
        if task.core is None
        else f"on core {task.core}, provider on core {provider_core}"
    )
    provider = f"a provider of {endpoint.provider_type}'s format"
    return f"POST {endpoint.path}, a body of {len(endpoint.text)} bytes, to {provider}; {where}"


def _warm(task: Task, deployment: Deployment) -> str:
    """Returns the table of warm calls and of the bridge's own time."""
    lines = deployment.run_module("bridge_bench.warm_process", stdin_text=json.dumps(asdict(task))).splitlines()
    repeats = [json.loads(line) for line in lines]
    series = {name: [Samples(*repeat[name]) for repeat in repeats] for name in (BASELINE, CLIENT, HANDLER)}
    own = {
        name: [whole.minus(bare) for whole, bare in zip(series[HANDLER], series[baseline], strict=True)]
        for baseline, name in _OWN.items()
    }
    return warm_table({**series, **own})


def _cold(task: Task, deployment: Deployment, starts: int) -> str:
    """Returns the table of cold starts, which alternate. The first start of each kind compiles and is not counted."""
    core = [] if task.core is None else [str(task.core)]
    took: dict[str, list[Sequence[int]]] = {name: [] for name in _STARTS.values()}
    for _ in range(1 + starts):
        for what, name in _STARTS.items():
            arguments = (what, ENDPOINTS[task.endpoint].function, task.endpoint, str(task.port), *core)
            output = deployment.run_module("bridge_bench.fresh_process", *arguments)
            took[name].append(json.loads(output))
    return cold_table({name: processes[1:] for name, processes in took.items()})
