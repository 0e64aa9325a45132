"""Who may use the bridge, for what, and how much: API keys, their policies, limits and budgets, and usage."""
