"""OpenAI's wire format, which the bridge also uses inside: requests, answers and streams of OpenAI-compatible vendors."""
