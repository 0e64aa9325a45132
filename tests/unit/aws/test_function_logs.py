"""What libraries may log in a function, whatever level Lambda has given to the root logger."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

FUNCTIONS = Path(__file__).parents[3] / "functions"


def printed(code: str, **variables: str) -> list[str]:
    """Runs code in a process of its own, because levels and filters last as long as a process."""
    environment = {**os.environ, **variables}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_levels_of_libraries_stay_whenever_a_library_makes_its_logger() -> None:
    code = """
        import io, logging, os
        handler = logging.StreamHandler(out := io.StringIO())
        logging.root.addHandler(handler)
        logging.root.setLevel("DEBUG")
        own = logging.getLogger("library.with.a.level")
        own.setLevel("DEBUG")
        os.environ["AWS_LAMBDA_FUNCTION_NAME"] = "f"
        from sekha_llm_bridge.aws.function_logs import quiet_libraries
        quiet_libraries()
        for logger in (own, logging.getLogger("botocore.parsers"), logging.getLogger("made.later")):
            logger.debug("debug"), logger.info("info"), logger.warning(f"warning of {logger.name}")
        print(out.getvalue(), end="")
    """
    assert printed(code) == [
        "warning of library.with.a.level",
        "warning of botocore.parsers",
        "warning of made.later",
    ]


def test_elsewhere_the_program_that_uses_the_bridge_decides() -> None:
    code = """
        import logging
        logging.root.setLevel("DEBUG")
        from sekha_llm_bridge.aws.function_logs import quiet_libraries
        quiet_libraries()
        print(logging.getLevelName(logging.root.level))
    """
    assert printed(code) == ["DEBUG"]


def test_every_function_quiets_the_libraries_when_it_starts() -> None:
    code = """
        import importlib.util, logging, pathlib
        for file in sorted(pathlib.Path("FUNCTIONS").glob("*/app.py")):
            logging.root.setLevel("DEBUG")
            spec = importlib.util.spec_from_file_location(f"function_{file.parent.name}", file)
            spec.loader.exec_module(importlib.util.module_from_spec(spec))
            print(file.parent.name, logging.getLevelName(logging.root.level))
    """
    lines = printed(
        code.replace("FUNCTIONS", str(FUNCTIONS)),
        AUTH_MODE="none",
        AWS_LAMBDA_FUNCTION_NAME="f",
        STATE_TABLE="state",
    )
    expected = [f"{folder.name} WARNING" for folder in sorted(FUNCTIONS.iterdir()) if (folder / "app.py").is_file()]
    assert [line for line in lines if not line.startswith("{")] == expected


def test_the_bridges_own_logger_follows_the_switch() -> None:
    code = """
        from sekha_llm_bridge.aws.function_logs import quiet_libraries
        from sekha_llm_bridge.observability import logger
        quiet_libraries()
        logger().debug("seen")
    """
    variables = {"AWS_LAMBDA_FUNCTION_NAME": "f", "POWERTOOLS_LOG_LEVEL": "INFO"}
    (line,) = printed(code, AWS_LAMBDA_LOG_LEVEL="DEBUG", **variables)
    assert '"level":"DEBUG","message":"seen"' in line
    assert printed(code, **variables) == []
