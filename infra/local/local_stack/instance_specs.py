"""Makes the `InstanceSpec` of a function of the template."""

import sys
from collections.abc import Mapping
from pathlib import Path

from local_stack.function_environment import function_arn, function_environment, wrapper
from local_stack.instance import InstanceSpec
from local_stack.template import Function, Template


def make_instance_spec(
    function: Function, *, region: str, user: Mapping[str, str], stack: Mapping[str, str], log: Path
) -> InstanceSpec:
    """Returns the spec. `user`: the user's environment. `stack`: the addresses of the started servers."""
    environment = function_environment(function, region=region, user=user, stack=stack, home=Path.home())
    runtime = [sys.executable, "-m", "awslambdaric", function.handler]
    start = wrapper(function, environment)
    return InstanceSpec(
        name=function.name,
        arn=function_arn(function, region),
        command=[start, *runtime] if start else runtime,
        folder=function.code,
        environment=environment,
        memory_mb=function.memory_mb,
        timeout_s=function.timeout_s,
        log=log,
    )


def short_names(template: Template) -> dict[str, str]:
    """Returns logical id → the function's name in logs and on the terminal: its folder's name, if that is unique."""
    folders = [function.code.name for function in template.functions]
    return {
        function.logical_id: function.code.name if folders.count(function.code.name) == 1 else function.logical_id
        for function in template.functions
    }
