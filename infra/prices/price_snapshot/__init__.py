"""Makes the bridge's price snapshot from the data of the installed genai-prices, and tells what has changed."""
