"""The environment variables of a function's process: the user's, Lambda's, the template's and the stack's."""

import sys
from collections.abc import Mapping
from pathlib import Path

from local_stack.template import ACCOUNT_ID, Function

# Variables for the Python that runs the stack, not for the functions.
_REMOVED_VARIABLES = frozenset({"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "CONDA_PREFIX", "__PYVENV_LAUNCHER__"})
# Any of these provides AWS credentials. Without them, dummy credentials let boto3 sign requests to local services.
_CREDENTIALS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
_DUMMY_CREDENTIALS = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}


def function_arn(function: Function, region: str) -> str:
    """Returns the ARN of the function."""
    return f"arn:aws:lambda:{region}:{ACCOUNT_ID}:function:{function.name}"


def function_environment(
    function: Function, *, region: str, user: Mapping[str, str], stack: Mapping[str, str], home: Path
) -> dict[str, str]:
    """Returns the variables, the later of these winning: the user's, Lambda's own, the template's, the stack's.

    A variable whose value is only a parameter of the template can be set by the user, like the parameter.
    `stack`: the addresses of the started servers. The address of the Runtime API is added for each instance.
    """
    chosen = {
        name: user[name] if variable.from_parameter and name in user else variable.value
        for name, variable in function.environment.items()
    }
    inherited = {name: value for name, value in user.items() if name not in _REMOVED_VARIABLES}
    return {**_credentials(user, home), **inherited, **_lambda_variables(function, region), **chosen, **stack}


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
    return {} if has_own else _DUMMY_CREDENTIALS


def wrapper(function: Function, environment: Mapping[str, str]) -> Path | None:
    """Returns the script that AWS_LAMBDA_EXEC_WRAPPER names, in the layer's folder (`/opt` on AWS), or None."""
    path = environment.get("AWS_LAMBDA_EXEC_WRAPPER", "")
    if not path.startswith("/opt/"):
        return None
    candidates = [layer / path.removeprefix("/opt/") for layer in function.layers]
    return next((file for file in candidates if file.is_file()), None)
