"""The command line, `sekha-bridge`. No other package imports it. A command imports its module when it runs."""


def main() -> None:
    """Runs the command named in `sys.argv`."""
    from sekha_llm_bridge.cli.app import app

    app()
