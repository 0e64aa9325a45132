"""Measures the cold start of every function of the template beside two floors in the same run.

Each start is a new, isolated process of Python 3.13 on one core, which sees what a function sees in Lambda: its own
code, its built layers (with their bytecode) and the packages of Lambda's runtime. Floors and functions alternate, and
every number is a median. The state table and the providers answer at once, over plain HTTP: a TLS context, which every
program makes that calls AWS, takes the time of the last line more, once. Only Linux.

The first floor is an empty function of FastAPI and Mangum with one route, as they are installed; the ratio is CPU time
by its CPU time. The second is Python with `http.client` and `json`. CPU times are the whole process's, user and system.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import fastapi

from bridge_bench.cores import two_cores
from bridge_bench.deployment import runtime_packages
from bridge_bench.endpoints import configuration
from bridge_bench.provider_process import fast_provider
from bridge_bench.start_events import expected_status, first_event
from environment import find_python
from local_stack.template_reader import read_template

_ROOT = Path(__file__).resolve().parents[3]
_FLOORS = Path(__file__).parent / "floors"
FIRST_FLOOR, SECOND_FLOOR = "FastAPI + Mangum, empty", "http.client and json"
_ARCHITECTURES = {"x86_64": "x86_64", "aarch64": "arm64"}
_MB = 1024 * 1024
_TLS = "import ssl,time; s=time.process_time(); ssl.create_default_context(); print(time.process_time()-s)"


@dataclass(frozen=True, slots=True)
class Start:
    """What is started: the import path, the environment's additions, and the event of its requests (None: none).
    `own_loop`: the bridge's runtime loop loads it, in place of Lambda's runtime.
    """

    name: str
    paths: Sequence[Path]
    env: Mapping[str, str]
    event: Mapping[str, Any] | None
    layers_mb: float = 0.0
    own_loop: bool = False


def main(arguments: Sequence[str]) -> None:
    """Cold starts: init, first request, memory and layers of every function, beside two floors in the same run."""
    options = _parser().parse_args(arguments)
    measuring_core, provider_core = two_cores()
    with fast_provider(provider_core) as port, tempfile.TemporaryDirectory() as folder:
        starts = list(all_starts(options.checkout or [_ROOT], Path(folder), port, options.function))
        taken: dict[str, list[dict[str, float]]] = {start.name: [] for start in starts}
        for _ in range(options.starts):
            for start in starts:
                taken[start.name].append(measure(start, core=measuring_core, requests=options.requests))
    print(_table(starts, taken))
    print(f"\nA TLS context takes {_tls_ms():.0f} ms more, once.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="infra/bench/run start", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--function", action="append", help="one function, such as chat_completions; default: each")
    parser.add_argument("--starts", type=int, default=7, help="processes of each kind (%(default)s)")
    parser.add_argument("--requests", type=int, default=60, help="requests of each process (%(default)s)")
    parser.add_argument(
        "--checkout",
        action="append",
        type=Path,
        help="a checkout; repeat it to compare; default: this",
    )
    return parser


def all_starts(
    checkouts: Sequence[Path], folder: Path, port: int, only: Sequence[str] | None = None
) -> Iterator[Start]:
    """Yields the floors, then the functions of the checkouts, with layers that are built in `folder`."""
    runtime = runtime_packages(folder / "runtime")
    for number, checkout in enumerate(checkouts):
        layers = {name: build_layer(checkout, name, folder / f"{name}-{number}") for name in ("bridge", "chroma")}
        if number == 0:
            yield Start(SECOND_FLOOR, [_FLOORS / "bare"], {}, first_event("floor"))
            yield first_floor(layers["bridge"], folder / "floor")
        mark = f" ({checkout.resolve().name})" if len(checkouts) > 1 else ""
        for start in functions(checkout.resolve(), layers, runtime, port):
            if not only or start.name in only:
                yield replace(start, name=start.name + mark)


def first_floor(layer: Path, folder: Path) -> Start:
    """Returns the empty function of FastAPI and Mangum. Its packages, in `folder`, are the layer's, but FastAPI is as
    installed: the layer's is changed to start faster.
    """
    ours = shutil.ignore_patterns("sekha_llm_bridge", "models*.pyc")
    shutil.copytree(layer / "python", folder, copy_function=os.link, ignore=ours)
    models = Path("openapi") / "models.py"
    (folder / "fastapi" / models).unlink()
    shutil.copy(Path(fastapi.__file__).parent / models, folder / "fastapi" / models)
    command: list[str | Path] = [find_python(), "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
    subprocess.run([*command, folder / "fastapi" / "openapi"], check=True)
    return Start(FIRST_FLOOR, [_FLOORS / "fastapi_mangum", folder], {}, first_event("floor"))


def build_layer(checkout: Path, name: str, folder: Path) -> Path:
    """Builds a layer of the checkout for this machine's processor, and returns its folder."""
    script = checkout / "infra" / "build" / "layer.py"
    subprocess.run([sys.executable, script, name, _ARCHITECTURES[platform.machine()], folder], check=True)
    return folder


def functions(checkout: Path, layers: Mapping[str, Path], runtime: Path, port: int) -> Iterator[Start]:
    """Yields the functions of the template, each with its own layers and variables."""
    # Other checkouts may have a loop that only imports the function.
    has_loader = (layers["bridge"] / "python" / "sekha_llm_bridge" / "lambda_runtime" / "handler.py").exists()
    config = _configure(layers["bridge"], port)
    for function in read_template(checkout / "template.yaml").functions:
        own = [layers[layer.name] for layer in function.layers if layer.name in layers]
        env = {name: variable.value for name, variable in function.environment.items()}
        env |= {"LLM_CONFIG_PATH": str(config), "AUTH_MODE": "keys" if function.code.name == "authorizer" else "none"}
        env |= {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_REGION": "us-east-1", "CHROMA_URL": ""}
        own_loop = env.pop("AWS_LAMBDA_EXEC_WRAPPER", None) is not None and has_loader
        paths = [function.code, *(layer / "python" for layer in own), runtime]
        event, size_mb = first_event(function.code.name), sum(map(_size_mb, own))
        yield Start(function.code.name, paths, env, event, size_mb, own_loop)


def _configure(layer: Path, port: int) -> Path:
    """Puts a configuration into the layer as its build does, parsed where it does that. Returns the file."""
    config = layer / "config" / "measured.yaml"
    config.write_text(configuration(port))
    if (layer / "python" / "sekha_llm_bridge" / "config" / "parsed_file.py").exists():
        module, env = "sekha_llm_bridge.config.parsed_file", {"PYTHONPATH": str(layer / "python")}
        subprocess.run([find_python(), "-S", "-B", "-m", module, config], env=env, check=True)
    return config


def measure(start: Start, *, core: int | None, requests: int) -> dict[str, float]:
    """Starts it once. See `start_process.main`. Raises SystemExit if it fails."""
    task = {
        "paths": [str(path) for path in start.paths],
        "own_loop": start.own_loop,
        "event": start.event,
        "status": expected_status(start.paths[0].name),
        "requests": None if start.event is None or not requests else requests,
        "core": core,
    }
    command: list[str | Path] = [find_python(), "-I", "-S", "-B", Path(__file__).with_name("start_process.py")]
    env = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "PATH": os.defpath, **start.env}
    done = subprocess.run([*command, json.dumps(task)], env=env, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{start.name} failed")
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def _table(starts: Sequence[Start], taken: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """Returns the table. A function that gets no request here has no figures of it."""
    floor = _median(taken[FIRST_FLOOR], "init_cpu")
    heads = ("init ms", "CPU ms", "ratio", "1st req. ms", "warm µs", "peak MB", "layers MB", "modules", "bytecode MB")
    lines = ["".ljust(44) + "".join(head.rjust(13) for head in heads)]
    for start in starts:
        runs = taken[start.name]
        init_cpu = _median(runs, "init_cpu")
        cells = [f"{_median(runs, 'init'):.0f}", f"{init_cpu:.0f}", f"{init_cpu / floor:.2f}"]
        names = {"first_cpu": ".1f", "warm_cpu": ".0f", "peak_mb": ".0f"}
        cells += [f"{_median(runs, name):{form}}" if name in runs[0] else "–" for name, form in names.items()]
        cells += [f"{start.layers_mb:.0f}", f"{_median(runs, 'modules'):.0f}", f"{_median(runs, 'bytecode') / 1e6:.1f}"]
        lines.append(start.name.ljust(44) + "".join(cell.rjust(13) for cell in cells))
    return "\n".join(lines)


def _median(runs: Sequence[Mapping[str, float]], name: str) -> float:
    return statistics.median(run[name] for run in runs)


def _size_mb(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / _MB


def _tls_ms() -> float:
    runs = [subprocess.run([find_python(), "-c", _TLS], stdout=subprocess.PIPE, check=True).stdout for _ in range(5)]
    return min(float(run) for run in runs) * 1000
