"""The environment that a function's process gets: the user's, Lambda's, the template's and the stack's."""

import sys
from collections.abc import Mapping
from pathlib import Path

from local_stack.template import ACCOUNT_ID, Function

# They belong to the Python that runs the stack, not to the functions.
_NOT_PASSED_ON = frozenset({"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "CONDA_PREFIX", "__PYVENV_LAUNCHER__"})
# Each is a way to have AWS credentials; where there is none, made-up ones let boto3 sign requests to the local
# services.
_CREDENTIALS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
_MADE_UP_CREDENTIALS = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}


def function_arn(function: Function, region: str) -> str:
    """The ARN that the function sees itself invoked by."""
    return f"arn:aws:lambda:{region}:{ACCOUNT_ID}:function:{function.name}"


def function_environment(
    function: Function, *, region: str, user: Mapping[str, str], stack: Mapping[str, str], home: Path
) -> dict[str, str]:
    """Returns the variables, the later of these winning: the user's, Lambda's own, the template's, the stack's.

    But a variable that only hands on one of the template's parameters is the user's to set, as parameters are.
    `stack` holds the addresses of what was started. The Runtime API's address is added for each instance.
    """
    chosen = {
        name: user[name] if variable.from_parameter and name in user else variable.value
        for name, variable in function.environment.items()
    }
    passed_on = {name: value for name, value in user.items() if name not in _NOT_PASSED_ON}
    return {**_credentials(user, home), **passed_on, **_lambda_variables(function, region), **chosen, **stack}


def _lambda_variables(function: Function, region: str) -> dict[str, str]:
    layers = [folder for layer in function.layers for folder in (layer / "python", layer) if folder.is_dir()]
    return {
        "_HANDLER": function.handler,
        "AWS_DEFAULT_REGION": region,
        "AWS_EXECUTION_ENV": "AWS_Lambda_python{}.{}".format(*sys.version_info[:2]),
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": "local",
        "AWS_REGION": region,
        "LAMBDA_TASK_ROOT": str(function.code),
        "PYTHONPATH": ":".join(map(str, [function.code, *layers])),
        "TZ": ":UTC",
    }


def _credentials(user: Mapping[str, str], home: Path) -> Mapping[str, str]:
    files = [home / ".aws" / "credentials", home / ".aws" / "config"]
    has_own = any(user.get(name) for name in _CREDENTIALS) or any(file.is_file() for file in files)
    return {} if has_own else _MADE_UP_CREDENTIALS


def wrapper(function: Function, environment: Mapping[str, str]) -> Path | None:
    """The script that AWS_LAMBDA_EXEC_WRAPPER names, in the folder that is `/opt` on AWS; None when there is none."""
    named = environment.get("AWS_LAMBDA_EXEC_WRAPPER", "")
    if not named.startswith("/opt/"):
        return None
    places = [layer / named.removeprefix("/opt/") for layer in function.layers]
    return next((place for place in places if place.is_file()), None)
