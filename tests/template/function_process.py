"""Runs a built function as Lambda does: under AWS's runtime client or the layer's own runtime loop, in a Python without
any installed package, within the function's memory and time.
"""

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_stack.instance import Instance, InstanceSpec
from local_stack.invocation import Invocation
from local_stack.processes import Processes

REGION = "us-east-1"
WRAPPER = "AWS_LAMBDA_EXEC_WRAPPER"
_END_OF_METADATA = bytes(8)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the runtime client sent for one event. `is_streamed`: whether it was in Lambda's format of streams."""

    is_streamed: bool
    content: bytes

    def json(self) -> Any:
        """Returns the answer of a function that is no HTTP endpoint."""
        return json.loads(self.content)

    @property
    def status(self) -> int:
        """The HTTP status that API Gateway gets."""
        head = self.content.partition(_END_OF_METADATA)[0] if self.is_streamed else self.content
        return int(json.loads(head)["statusCode"])

    @property
    def text(self) -> str:
        """The HTTP body that API Gateway gets."""
        if self.is_streamed:
            return self.content.partition(_END_OF_METADATA)[2].decode()
        return str(self.json()["body"])


@dataclass(frozen=True, slots=True)
class RunningFunction:
    """A function that can be started: its folders as in Lambda, and its properties of the translated template.

    `python` has no packages of its own. `opt` has the merged layers, `runtime` what Lambda's runtime has beside them.
    `environment` has the addresses of the servers, and the values of the template's variables.
    """

    python: Path
    task: Path
    opt: Path
    runtime: Path
    properties: Mapping[str, Any]
    environment: Mapping[str, str]
    log: Path

    def answers(self, *events: bytes) -> list[Answer]:
        """Starts the function, sends it `events` one after the other, and ends it. Raises FunctionFault."""
        return asyncio.run(self._answers(events))

    async def _answers(self, events: Sequence[bytes]) -> list[Answer]:
        processes = Processes()
        await processes.start()
        instance = Instance(self._spec(), processes)
        try:
            await instance.start()
            return [await _answer(instance, event) for event in events]
        finally:
            await instance.stop()
            await processes.end_all()

    def _spec(self) -> InstanceSpec:
        command: list[str | Path] = [self.python, "-m", "awslambdaric", self.properties["Handler"]]
        if WRAPPER in self.environment:
            command = [self.opt / self.environment[WRAPPER].removeprefix("/opt/"), *command]
        return InstanceSpec(
            name="function",
            arn=f"arn:aws:lambda:{REGION}:123456789012:function:function",
            command=command,
            folder=self.task,
            environment={**self.lambda_variables(), **self.environment},
            memory_mb=self.properties["MemorySize"],
            timeout_s=self.properties["Timeout"],
            log=self.log,
        )

    def lambda_variables(self) -> dict[str, str]:
        """Returns the variables that Lambda sets, as https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
        lists them. Lambda's runtime client finds the layers by PYTHONPATH; the layer's own loop finds them by itself.
        """
        path = [] if WRAPPER in self.environment else [self.opt / "python", self.runtime]
        return {
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(self.properties["MemorySize"]),
            "AWS_LAMBDA_FUNCTION_NAME": "function",
            "AWS_LAMBDA_FUNCTION_VERSION": "1",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_GROUP_NAME": "bridge-LogGroup",
            "AWS_LAMBDA_LOG_STREAM_NAME": "2026/11/28/[1]0",
            "AWS_REGION": REGION,
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_SESSION_TOKEN": "testing",
            "LAMBDA_RUNTIME_DIR": str(self.runtime),
            "LAMBDA_TASK_ROOT": str(self.task),
            "LANG": "en_US.UTF-8",
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "PYTHONDONTWRITEBYTECODE": "1",  # in Lambda these folders are read-only
            "PYTHONPATH": os.pathsep.join(map(str, path)),
            "TZ": ":UTC",
            "_HANDLER": str(self.properties["Handler"]),
        }


async def _answer(instance: Instance, event: bytes) -> Answer:
    invocation = Invocation(
        event, request_id="8476a536-e9f4-11e8-9739-2dfe598c3fcd", trace_id="Root=1-6929a1c0-0;Sampled=0"
    )
    serving = asyncio.create_task(instance.serve(invocation))
    try:
        answer = await invocation.answer_started
        return Answer("http-integration-response" in answer.content_type, await answer.read())
    finally:
        await serving
