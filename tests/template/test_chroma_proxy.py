"""The token proxy of `infra/chroma.yaml`: its configuration in a real nginx, before a real Chroma server.

nginx is a package of the system: `infra/local/chroma-proxy` runs these tests, and fails where there is none.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import chromadb
import httpx
import numpy as np
import pytest

from sekha_llm_bridge.bootstrap import make_bridge
from tests.fakes.chroma import ChromaProcess
from tests.fakes.functions import Function
from tests.fakes.provider import FakeProvider
from tests.fakes.servers import free_port, wait_until_ready
from tests.fakes.settings import embedding_model, make_settings, provider
from tests.template.chroma_stack import executable, update_script

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed; see infra/local/chroma-proxy")

TOKEN, OLD_TOKEN = "aB3" * 16, "xY7" * 16
HEARTBEAT, LIST = "/api/v2/heartbeat", "/api/v2/tenants/default_tenant/databases/default_database/collections"
MAIN = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log {folder}/access.log;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  include {folder}/*.conf;
}}
"""


@dataclass(frozen=True)
class Proxy:
    """A proxy that runs; `folder` has its logs and its configuration."""

    url: str
    folder: Path

    def get(self, path: str, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.get(self.url + path, headers=named, timeout=30)


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("proxy")
    chroma = ChromaProcess(tmp_path_factory.mktemp("chroma"))
    chroma.start()
    port = free_port()
    _write_configuration(folder, port, chroma.url)
    (folder / "main").write_text(MAIN.format(folder=folder))
    process = subprocess.Popen([str(NGINX), "-c", folder / "main", "-p", folder])
    url = f"http://127.0.0.1:{port}"
    wait_until_ready(url + HEARTBEAT, process)
    yield Proxy(url, folder)
    process.terminate()
    process.wait(10)
    chroma.end()


def _write_configuration(folder: Path, port: int, chroma_url: str) -> None:
    """Runs the instance's own script, with AWS's command line replaced; then only the two ports are other ones."""
    executable(folder / "update", update_script())
    executable(
        folder / "aws",
        f'#!/bin/bash\n[[ "$*" == *AWSCURRENT* ]] && echo {TOKEN}\n[[ "$*" == *AWSPREVIOUS* ]] && echo {OLD_TOKEN}\nexit 0\n',
    )
    (folder / "environment").write_text(f"TOKEN_SECRET=secret PROXY={folder}\n")
    environ = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    subprocess.run([folder / "update"], env=environ, check=True)
    file = folder / "chroma.conf"
    text = file.read_text().replace("listen 8000", f"listen 127.0.0.1:{port}")
    file.write_text(text.replace("http://127.0.0.1:8001", chroma_url))


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {TOKEN}"},
        {"X_Chroma_Token": TOKEN},
        {"Authorization": f"Bearer {TOKEN}", "X_Chroma_Token": TOKEN},
        {"Authorization": f"Bearer {OLD_TOKEN}"},
    ],
)
def test_the_token_and_the_one_before_it_are_accepted_in_either_header(proxy: Proxy, headers: dict[str, str]) -> None:
    assert (proxy.get(LIST, **headers).status_code, proxy.get(LIST, **headers).json()) == (200, [])


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": TOKEN},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": f"Bearer {TOKEN.swapcase()}"},
        {"Authorization": f"Bearer {TOKEN} {TOKEN}"},
        {"X_Chroma_Token": TOKEN.swapcase()},
        {"X_Chroma_Token": f"x{TOKEN}"},
        {"X_Chroma_Token": "|"},
    ],
)
def test_any_other_token_gets_401_on_every_path(proxy: Proxy, headers: dict[str, str]) -> None:
    for path in (LIST, "/", "/docs", "/api/v2/version", HEARTBEAT + "/", "//api/v2/version"):
        answer = proxy.get(path, **headers)
        assert answer.status_code == 401, path
        assert answer.json()["error"] == "AuthError"
        assert answer.headers["www-authenticate"] == "Bearer"


def test_the_heartbeat_is_open_for_reading_only(proxy: Proxy) -> None:
    assert proxy.get(HEARTBEAT).status_code == 200
    assert httpx.post(proxy.url + HEARTBEAT, timeout=30).status_code == 403


def test_no_token_is_in_a_log_or_an_answer(proxy: Proxy) -> None:
    answers = [proxy.get(LIST, X_Chroma_Token=TOKEN), proxy.get(LIST, Authorization=f"Bearer {TOKEN}x")]
    logs = [(proxy.folder / name).read_text() for name in ("access.log", "error.log")]
    assert "401" in logs[0]
    assert not [text for text in (*logs, *(answer.text for answer in answers)) if TOKEN in text]


@pytest.fixture
def client(proxy: Proxy) -> Any:
    host, _, port = proxy.url.removeprefix("http://").partition(":")
    return chromadb.HttpClient(host, int(port), headers={"X-Chroma-Token": TOKEN})


def test_the_largest_write_of_the_bridge_and_an_answer_of_that_size_pass(client: Any) -> None:
    """The bridge sends at most 1,000 records, and 16 MB of documents and vectors."""
    collection = client.create_collection("large")
    ids = [f"record-{i}" for i in range(1_000)]
    vectors = np.random.default_rng(1).random((1_000, 2_048), dtype=np.float32)
    documents = ["word " * 800 for _ in ids]
    collection.upsert(ids=ids, embeddings=vectors, documents=documents)
    found = collection.get(ids=ids, include=["embeddings", "documents"])
    order = [found["ids"].index(name) for name in ids]
    assert np.array_equal(np.asarray(found["embeddings"], dtype=np.float32)[order], vectors)
    assert found["documents"] == documents


def test_the_bridge_embeds_stores_and_searches_through_it(proxy: Proxy, fake: FakeProvider) -> None:
    settings = make_settings(
        provider("p", embedding_model("mini", dimension=8), base_url=f"{fake.url}/v1"),
        chroma={"url": proxy.url, "auth_token": TOKEN},
        default_models={"embedding": "mini"},
    )
    stored = Function("embeddings", make_bridge(settings))(
        "POST", "/v1/embeddings", {"input": ["red apples", "a green tree"]}
    )
    assert stored.json()["bridge"]["stored"] == 2, stored.text
    found = Function("search", make_bridge(settings))("POST", "/api/v1/search", {"query": "red apples", "n_results": 1})
    assert "red apples" in found.text, found.text


def test_a_wrong_token_stores_nothing_and_the_caller_still_gets_the_vectors(proxy: Proxy, fake: FakeProvider) -> None:
    settings = make_settings(
        provider("p", embedding_model("mini", dimension=8), base_url=f"{fake.url}/v1"),
        chroma={"url": proxy.url, "auth_token": "wrong"},
        default_models={"embedding": "mini"},
    )
    answer = Function("embeddings", make_bridge(settings))("POST", "/v1/embeddings", {"input": "lost"})
    assert answer.status == 200
    assert answer.json()["bridge"]["stored"] == 0
