"""From a function of the template to what its instances are made from."""

import sys
from collections.abc import Mapping
from pathlib import Path

from local_stack.function_environment import function_arn, function_environment, wrapper
from local_stack.instance import Blueprint
from local_stack.template import Function, Template


def blueprint(
    function: Function, *, region: str, user: Mapping[str, str], stack: Mapping[str, str], log: Path
) -> Blueprint:
    """Returns it. `user` is the user's environment, `stack` the addresses of what was started."""
    environment = function_environment(function, region=region, user=user, stack=stack, home=Path.home())
    runtime = [sys.executable, "-m", "awslambdaric", function.handler]
    start = wrapper(function, environment)
    return Blueprint(
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
    """Logical id → what a function is called in logs and on the terminal: its folder's name, where that is unique."""
    folders = [function.code.name for function in template.functions]
    return {
        function.logical_id: function.code.name if folders.count(function.code.name) == 1 else function.logical_id
        for function in template.functions
    }
