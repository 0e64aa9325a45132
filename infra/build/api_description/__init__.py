"""Makes the description of the API, `openapi.json`, from the models of its requests and of its answers."""
