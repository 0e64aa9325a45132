"""What a request costs in the bridge, beside the bare call of the same provider in the same run.

The provider answers at once, from a process of its own and, where the system allows it, a core of its own. Not counted
is what the Lambda runtime does around the handler: it parses the event, and writes the answer out. A busy machine
makes everything dearer, the floor less than the rest: the lowest number of the repeats comes closest to the truth.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bridge_bench import fresh_process
from bridge_bench.cores import two_cores
from bridge_bench.deployment import Deployment, deployed
from bridge_bench.endpoints import ENDPOINTS
from bridge_bench.measuring import Samples
from bridge_bench.profiling import SORTS
from bridge_bench.provider_process import fast_provider
from bridge_bench.subjects import CLIENT, FLOOR, HANDLER
from bridge_bench.tables import cold_table, warm_table
from bridge_bench.warm_process import Task

_OWN = {FLOOR: "the bridge's own, beyond http.client", CLIENT: "the bridge's own, beyond its HTTP client"}
_STARTS = {
    fresh_process.FLOOR: "http.client and json",
    fresh_process.LIBRARIES: "the libraries alone",
    fresh_process.HANDLER: "the function's handler",
}


def main(arguments: Sequence[str]) -> None:
    """The bridge's own time per request, in process, beside the bare call of a provider that answers at once."""
    options = _parser().parse_args(arguments)
    measuring_core, provider_core = two_cores()
    with fast_provider(provider_core) as port, deployed(port, options.layer) as deployment:
        for name in options.endpoint or ENDPOINTS:
            task = Task(name, port, measuring_core, options.rounds, options.repeats, options.profile)
            print(_title(task, provider_core))
            if options.profile is None:
                print(_warm(task, deployment), _cold(task, deployment, options.starts), sep="\n\n", end="\n\n")
            else:
                print(deployment.said("bridge_bench.warm_process", told=json.dumps(asdict(task))))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="infra/bench/run requests", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--endpoint", action="append", choices=ENDPOINTS, help="one function; default: each")
    parser.add_argument("--rounds", type=int, default=400, help="calls of each kind in one repeat (%(default)s)")
    parser.add_argument("--repeats", type=int, default=7, help="how often that is repeated (%(default)s)")
    parser.add_argument("--starts", type=int, default=7, help="fresh processes of each kind (%(default)s)")
    parser.add_argument(
        "--layer", type=Path, help="a layer built for this machine, such as .aws-sam/build/BridgeLayer: measure that"
    )
    parser.add_argument(
        "--profile", nargs="?", const=SORTS[0], choices=SORTS, help="instead: where the handler's time goes, sorted so"
    )
    return parser


def _title(task: Task, provider_core: int | None) -> str:
    endpoint = ENDPOINTS[task.endpoint]
    where = "cores as they come" if task.core is None else f"on core {task.core}, the provider on core {provider_core}"
    return f"POST {endpoint.path}, a body of {len(endpoint.text)} bytes; {where}"


def _warm(task: Task, deployment: Deployment) -> str:
    """The table of warm calls, and of what is the bridge's own."""
    lines = deployment.said("bridge_bench.warm_process", told=json.dumps(asdict(task))).splitlines()
    repeats = [json.loads(line) for line in lines]
    series = {name: [Samples(*repeat[name]) for repeat in repeats] for name in (FLOOR, CLIENT, HANDLER)}
    own = {
        name: [whole.beyond(bare) for whole, bare in zip(series[HANDLER], series[floor], strict=True)]
        for floor, name in _OWN.items()
    }
    return warm_table({**series, **own})


def _cold(task: Task, deployment: Deployment, starts: int) -> str:
    """The table of cold starts; the kinds take turns. The first start of each compiles, and does not count."""
    core = [] if task.core is None else [str(task.core)]
    took: dict[str, list[Sequence[int]]] = {name: [] for name in _STARTS.values()}
    for _ in range(1 + starts):
        for what, name in _STARTS.items():
            said = deployment.said("bridge_bench.fresh_process", what, task.endpoint, str(task.port), *core)
            took[name].append(json.loads(said))
    return cold_table({name: processes[1:] for name, processes in took.items()})
