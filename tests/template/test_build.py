"""What `sam build` makes: complete, for Lambda's processor and Python, compiled, and small."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from sekha_llm_bridge.config.document import read_document
from tests.template.built import RUNTIME, Build, Lambda
from tests.template.cloudformation import ROOT, Function, Template
from tests.template.test_template import STREAMING

pytestmark = pytest.mark.sam

FUNCTIONS = Template().functions
LAYERS = ["BridgeLayer", "ChromaLayer", "EncryptionLayer"]
AARCH64 = 183  # e_machine in the ELF header
PYTHON_3_13 = (3571).to_bytes(2, "little") + b"\r\n"  # the magic number of its .pyc files
UNCHECKED_HASH = 0b01  # PEP 552's flags: by hash, and not compared with the source
LAMBDA_LIMIT_BYTES = 250 * 1024 * 1024  # a function and its layers, unzipped

CHROMA_IS_TRIED = """
import chromadb
try:
    chromadb.HttpClient(host="127.0.0.1", port=9)
except ValueError as error:
    print(error)
"""
POWERTOOLS_IS_USED = """
from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import MetricUnit, single_metric
from aws_lambda_powertools.utilities.parameters import SecretsProvider, SSMProvider
from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError
from botocore.config import Config
SSMProvider(config=Config(region_name="eu-west-1")), SecretsProvider(config=Config(region_name="eu-west-1"))
Logger().info("used", extra={"by": "a test"})
with single_metric(name="Tries", unit=MetricUnit.Count, value=1, namespace="tests") as metric:
    metric.add_dimension(name="of", value="tests")
print("used")
"""
TOKENS_ARE_COUNTED = """
from sekha_llm_bridge.conversation import Conversation, Message, Role, Text
from sekha_llm_bridge.pricing import Tokenizer, count_chat
count = count_chat(Conversation((Message(Role.USER, (Text("the cat sat on the mat " * 20),)),)))
print(count.bound_for(Tokenizer.O200K) < count.bound / 2)
"""
ENCRYPTION_IS_TRIED = """
from sekha_llm_bridge.access.idempotency import AnswerKeys, AnswerRecorder, StoredAnswer
keys, recorder = AnswerKeys.of("a", caller_id="", path="/", body=b""), AnswerRecorder()
recorder.begin(200, {})
print(StoredAnswer.open(recorder.sealed(keys), keys).status == 200)
"""
COMPILING_IS_REFUSED = """
from importlib.machinery import SourceFileLoader as loader
compiled = loader.source_to_code
def source_to_code(self, data, path, **more):
    assert not path.startswith("{folder}"), path + " is compiled at run time"
    return compiled(self, data, path, **more)
loader.source_to_code = source_to_code
"""

each_layer = pytest.mark.parametrize("layer", LAYERS)
each_function = pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.name)


def files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def size_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in files(folder))


def test_the_template_is_valid_and_free_of_lint(arm64_build: Build) -> None:
    assert "is a valid SAM Template" in arm64_build.output


def test_the_bridges_layer_is_under_30_mb(arm64_build: Build, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = {name: size_bytes(arm64_build.layer(name)) / 1e6 for name in LAYERS}
    with capsys.disabled():
        print("\n  " + ", ".join(f"{name} {size:.1f} MB" for name, size in sizes.items()) + " unzipped")  # noqa: T201
    assert f"{sizes['BridgeLayer']:.1f} MB" in arm64_build.output
    assert sizes["BridgeLayer"] < 30


@each_function
def test_a_function_and_its_layers_are_under_lambdas_limit(function: Function, arm64_build: Build) -> None:
    parts = [function.name, *function.layers]
    assert sum(size_bytes(arm64_build.folder / part) for part in parts) < LAMBDA_LIMIT_BYTES / 2


@each_layer
def test_native_code_is_for_arm64(layer: str, arm64_build: Build) -> None:
    machines = {path.name: elf_machine(path) for path in files(arm64_build.layer(layer)) if ".so" in path.suffixes}
    assert machines
    assert set(machines.values()) == {AARCH64}


def elf_machine(path: Path) -> int:
    header = path.read_bytes()[:20]
    assert header[:4] == b"\x7fELF", path
    return int.from_bytes(header[18:20], "little")


@each_layer
def test_every_module_is_compiled_for_lambdas_python_with_its_path_in_lambda(layer: str, arm64_build: Build) -> None:
    sources = [path for path in files(arm64_build.layer(layer)) if path.suffix == ".py"]
    assert sources
    for source in sources:
        compiled = (source.parent / "__pycache__" / f"{source.stem}.cpython-313.pyc").read_bytes()
        assert compiled[:4] == PYTHON_3_13
        assert int.from_bytes(compiled[4:8], "little") == UNCHECKED_HASH
        inside = source.relative_to(arm64_build.layer(layer))
        assert f"/opt/{inside}".encode() in compiled
        assert str(ROOT).encode() not in compiled


@each_layer
def test_the_layers_omit_packages_of_the_runtime_and_unused_ones(layer: str, arm64_build: Build) -> None:
    packages = arm64_build.layer(layer) / "python"
    names = {path.stem if path.is_file() else path.name for path in packages.iterdir()}
    assert names.isdisjoint(RUNTIME)
    assert names.isdisjoint({"charset_normalizer", "regex", "requests"})
    assert not list(packages.glob("**/tests"))
    assert not (packages / "sekha_llm_bridge" / "cli").exists()


@each_layer
def test_every_package_keeps_its_licence_and_metadata(layer: str, arm64_build: Build) -> None:
    for package in (arm64_build.layer(layer) / "python").glob("*.dist-info"):
        assert (package / "METADATA").is_file()
        licences = [path for path in package.rglob("*") if path.name.upper().startswith(("LICEN", "COPYING"))]
        assert licences or "License" in (package / "METADATA").read_text(), package.name


def test_no_file_is_in_two_layers(arm64_build: Build) -> None:
    layers = [{path.relative_to(layer) for path in files(layer)} for layer in map(arm64_build.layer, LAYERS)]
    assert not [1 for one, other in combinations(layers, 2) if not one.isdisjoint(other)]


def test_the_configuration_is_in_the_bridges_layer_and_parsed(arm64_build: Build) -> None:
    folder = arm64_build.layer("BridgeLayer") / "config"
    configured = {path.name: path.read_text() for path in (ROOT / "config").glob("*.yaml")}
    assert {path.name: path.read_text() for path in folder.glob("*.yaml")} == configured
    for name in configured:
        assert read_document(folder / name) == replace(read_document(ROOT / "config" / name), path=folder / name)
        assert (folder / f"{name}.parsed.json").exists()
    assert len(list(folder.iterdir())) == 2 * len(configured)


def test_fastapi_builds_none_of_its_openapi_models_while_it_is_imported(arm64_build: Build) -> None:
    models = (arm64_build.layer("BridgeLayer") / "python" / "fastapi" / "openapi" / "models.py").read_text()
    assert '"defer_build": True' in models
    assert "model_rebuild" not in models


@pytest.fixture
def deployed(function: Function, opt: Callable[[Sequence[str]], Path], runtime: Path, lambda_python: Path) -> Lambda:
    return Lambda(lambda_python, ROOT / function.folder, opt(function.layers), runtime)


@each_function
def test_a_handler_starts_from_its_layers_and_the_runtime_alone(function: Function, deployed: Lambda) -> None:
    assert deployed.run("import app; print(callable(app.handler))") == "True"


@each_function
def test_a_handler_starts_without_compiling_any_module_of_its_layers(function: Function, deployed: Lambda) -> None:
    assert (
        deployed.run(f"{COMPILING_IS_REFUSED.format(folder=deployed.opt)}\nimport app; print('started')") == "started"
    )


@pytest.mark.parametrize(
    "function", [one for one in FUNCTIONS if "ChromaLayer" in one.layers], ids=lambda function: function.name
)
def test_the_client_of_chroma_is_complete(function: Function, deployed: Lambda) -> None:
    code = (
        "import chromadb\ntry: chromadb.HttpClient(host='127.0.0.1', port=9)\nexcept ValueError as error: print(error)"
    )
    assert "Could not connect" in deployed.run(code)


@pytest.mark.parametrize(
    "function", [one for one in FUNCTIONS if "EncryptionLayer" in one.layers], ids=lambda function: function.name
)
def test_the_functions_that_ask_models_can_encrypt_answers(function: Function, deployed: Lambda) -> None:
    assert deployed.run(ENCRYPTION_IS_TRIED) == "True"


@pytest.fixture
def first_deployed(opt: Callable[[Sequence[str]], Path], runtime: Path, lambda_python: Path) -> Lambda:
    """A function that has the bridge's layer alone."""
    function = next(one for one in FUNCTIONS if one.layers == ["BridgeLayer"])
    return Lambda(lambda_python, ROOT / function.folder, opt(function.layers), runtime)


def test_the_parts_of_powertools_that_the_bridge_uses_are_complete(first_deployed: Lambda) -> None:
    assert first_deployed.run(POWERTOOLS_IS_USED) == "used"


def test_tokens_can_be_counted_with_the_layers_own_table(first_deployed: Lambda) -> None:
    assert first_deployed.run(TOKENS_ARE_COUNTED) == "True"


def transformed(python: Path, code: str, layer: str) -> dict[str, Any]:
    """The resources of the transformed template."""
    command: list[str | Path] = [
        python,
        Path(__file__).with_name("transform.py"),
        f"s3://artifacts/{code}",
        f"s3://artifacts/{layer}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout)[0]["Resources"])


def versions(resources: dict[str, Any]) -> set[str]:
    return {name for name, resource in resources.items() if resource["Type"] == "AWS::Lambda::Version"}


def test_a_new_layer_publishes_every_function_and_the_same_one_none(sam_python: Path) -> None:
    first, again, changed = (versions(transformed(sam_python, "code", layer)) for layer in ("one", "one", "two"))
    assert len(first) == len(FUNCTIONS)
    assert again == first
    assert changed.isdisjoint(first)


def test_api_gateway_invokes_the_streaming_functions_by_lambdas_streaming_call_and_the_others_by_the_usual_one(
    sam_python: Path,
) -> None:
    (api,) = (
        one for one in transformed(sam_python, "code", "layer").values() if one["Type"] == "AWS::ApiGateway::RestApi"
    )
    streamed_paths = {event["Path"] for function in STREAMING for event in function.events("Api")}
    for path, methods in api["Properties"]["Body"]["paths"].items():
        for method in methods.values():
            integration = method["x-amazon-apigateway-integration"]
            streams = path in streamed_paths
            assert integration.get("responseTransferMode") == ("STREAM" if streams else None), path
            assert ("response-streaming-invocations" in json.dumps(integration["uri"])) == streams, path


def test_the_layer_has_the_script_that_starts_a_streaming_function(arm64_build: Build) -> None:
    start = arm64_build.layer("BridgeLayer") / "stream-responses"
    assert os.access(start, os.X_OK)


def test_every_function_has_its_own_role(sam_python: Path) -> None:
    resources = transformed(sam_python, "code", "layer")
    functions = [one["Properties"] for one in resources.values() if one["Type"] == "AWS::Lambda::Function"]
    assert len({function["Role"]["Fn::GetAtt"][0] for function in functions}) == len(FUNCTIONS)
