"""`python -m sekha_llm_bridge.cli`, for where the script is not on PATH."""

from sekha_llm_bridge.cli import main

main()
