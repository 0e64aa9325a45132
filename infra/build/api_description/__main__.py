"""Writes `openapi.json` into the package.

PYTHONPATH=infra/build:layers/bridge .local/envs/bridge/bin/python -m api_description
"""

from api_description.document import write_description

if __name__ == "__main__":
    write_description()
