"""Starts the loop. It is run as a file, and so makes the path of imports itself, as Lambda's own runtime does."""

import os
import site
import sys


def make_import_path() -> None:
    """The function's folder first, then the layer's packages, then the runtime's, then what PYTHONPATH names.

    This file's own folder, which Python has put first, goes: its modules are not to be found by their bare names.
    """
    layer = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120 — importing pathlib takes longer than the rest
    packages = "{}/lib/python{}.{}/site-packages".format(layer, *sys.version_info[:2])
    task, runtime = os.environ.get("LAMBDA_TASK_ROOT", os.getcwd()), os.environ.get("LAMBDA_RUNTIME_DIR")  # noqa: PTH109 — as above
    sys.path[:1] = [task, packages, layer, *([runtime] if runtime else [])]
    for folder in (task, packages, layer):
        site.addsitedir(folder)
    if runtime:
        os.environ.setdefault("PYTHONPATH", runtime)  # what Lambda documents as its value


if __name__ == "__main__":
    make_import_path()
    from sekha_llm_bridge.lambda_runtime.loop import main

    sys.exit(main(os.environ))
