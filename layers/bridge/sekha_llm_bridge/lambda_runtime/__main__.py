"""Starts the runtime. It is run as a file, so it sets the import path itself, as Lambda's own runtime does."""

import os
import site
import sys


def make_import_path() -> None:
    """Sets the import path: the function's folder, the layer's packages, the runtime's folder, then PYTHONPATH.

    Removes this file's own folder, which Python has put first, so that its modules are not found by their bare names.
    """
    layer = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120 — importing pathlib takes longer than the rest
    packages = "{}/lib/python{}.{}/site-packages".format(layer, *sys.version_info[:2])
    task, runtime = os.environ.get("LAMBDA_TASK_ROOT", os.getcwd()), os.environ.get("LAMBDA_RUNTIME_DIR")  # noqa: PTH109 — as above
    sys.path[:1] = [task, packages, layer, *([runtime] if runtime else [])]
    for folder in (task, packages, layer):
        site.addsitedir(folder)
    if runtime:
        os.environ.setdefault("PYTHONPATH", runtime)  # the value that Lambda documents


if __name__ == "__main__":
    make_import_path()
    from sekha_llm_bridge.lambda_runtime.loop import main

    sys.exit(main(os.environ))
