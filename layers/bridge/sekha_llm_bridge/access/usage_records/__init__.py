"""What requests have used, by day, API key and model: counted from the log lines of requests."""
