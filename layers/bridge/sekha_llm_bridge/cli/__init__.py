"""The command line, `sekha-bridge`. No other package imports it. A command imports its module when it runs."""

import sys

_USAGE, _INTERRUPTED = 2, 130


def main() -> None:
    """Runs the command named in `sys.argv`, and exits."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a name that the terminal's encoding lacks is no reason to fail
    try:
        from sekha_llm_bridge.cli.app import app

        app(prog_name="sekha-bridge")
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] not in {"typer", "rich"}:
            raise
        sys.stderr.write(f"sekha-bridge needs the package {exc.name}: pip install sekha-llm-bridge\n")
        raise SystemExit(_USAGE) from None
    except KeyboardInterrupt:
        raise SystemExit(_INTERRUPTED) from None
