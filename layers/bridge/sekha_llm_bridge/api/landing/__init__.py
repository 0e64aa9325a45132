"""The first page: what runs here, for people and for programs, and the description of the API."""
