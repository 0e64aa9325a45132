"""Makes the bridge's price snapshot from the installed genai-prices, and lists the differences to the one before."""
