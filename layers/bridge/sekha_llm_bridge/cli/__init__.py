"""The command line, `sekha-bridge`. Nothing else imports it, and a command imports what it needs when it runs."""


def main() -> None:
    """Runs the command named in `sys.argv`."""
    from sekha_llm_bridge.cli.app import app

    app()
