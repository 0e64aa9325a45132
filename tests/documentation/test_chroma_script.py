"""The guide's script for Chroma, in the environment that has Chroma's own package."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

import environment
from tests.documentation.blocks import GUIDE, blocks_of
from tests.documentation.reader import is_for_chromas_client
from tests.fakes.provider import vector_of

DIMENSION = 768
_MAKE_V1_FOLDER = """
import chromadb, json, sys
collection = chromadb.PersistentClient(path="./chroma_data").get_or_create_collection("conversations")
collection.add(**json.load(sys.stdin))
"""
_READ_FOLDER = """
import chromadb, json
collection = chromadb.PersistentClient(path="./chroma_data").get_collection("conversations_768")
found = collection.get(include=["documents", "metadatas", "embeddings"])
print(json.dumps({**found, "embeddings": [list(map(float, one)) for one in found["embeddings"]]}, default=str))
"""
# Chroma's client of v1 returned lists; the present one returns arrays of numpy, which have no truth value.
_LISTS_AS_IN_V1 = """
from chromadb.api.models.Collection import Collection
_get = Collection.get
def get(self, *args, **fields):
    found = _get(self, *args, **fields)
    return {**found, "embeddings": [list(map(float, one)) for one in found["embeddings"]]}
Collection.get = get
"""
_RECORDS = {
    "ids": ["a", "b", "c"],
    "documents": ["one", "two", "three"],
    "metadatas": [{"n": 1}, {"n": 2}, {"n": 3}],
    "embeddings": [vector_of(text, DIMENSION) for text in ("one", "two", "three")],
}


def chroma_python(code: str, folder: Path, **how: Any) -> subprocess.CompletedProcess[str]:
    python = environment.make("chroma", environment.find_python()) / "bin" / "python"
    return subprocess.run([python, "-c", code], cwd=folder, capture_output=True, text=True, check=False, **how)


@pytest.fixture(scope="module")
def v1_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("v1")
    done = chroma_python(_MAKE_V1_FOLDER, folder, input=json.dumps(_RECORDS))
    assert done.returncode == 0, done.stderr
    return folder


def _script_of_the_guide() -> str:
    return next(block.text for block in blocks_of(GUIDE) if is_for_chromas_client(block))


def test_the_guides_script_copies_a_collection_with_a_client_that_returns_lists(v1_folder: Path) -> None:
    done = chroma_python(_LISTS_AS_IN_V1 + _script_of_the_guide() + _READ_FOLDER, v1_folder)
    assert done.returncode == 0, done.stderr
    *printed, found = done.stdout.splitlines()
    assert printed == ["Detected dimension: 768", "Migrated 3 documents"]
    records = json.loads(found)
    assert sorted(records["ids"]) == ["a", "b", "c"]
    assert sorted(records["documents"]) == ["one", "three", "two"]
    assert {len(vector) for vector in records["embeddings"]} == {DIMENSION}


def test_the_present_client_of_chroma_cannot_run_the_guides_script(v1_folder: Path) -> None:
    """infra/README.md names `sekha-bridge migrate-collections` instead. This test fails when Chroma changes that."""
    assert "The truth value of an array" in chroma_python(_script_of_the_guide(), v1_folder).stderr
