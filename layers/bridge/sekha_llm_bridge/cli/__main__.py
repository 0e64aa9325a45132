"""`python -m sekha_llm_bridge.cli`, for environments whose PATH lacks the script."""

from sekha_llm_bridge.cli import main

main()
