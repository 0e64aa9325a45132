"""Starts the embedded models: small models, so that requests are answered on a machine without any other model.

There are two servers, the scripts `chat_server` and `embedding_server`. They run in the Python environment `model`, in
which this project is not installed.
"""

import os
from pathlib import Path

from local_stack.loopback import ReservedPort, until_answers
from local_stack.processes import Child, Processes
from local_stack.services import Service, ready_child

_START_LIMIT_S = 60.0
_FOLDER = Path(__file__).parent


class ModelServer:
    """One of the two servers: runs `script` with a port, in the Python environment at `environment`."""

    def __init__(
        self, name: str, *, model: str, script: str, environment: Path, processes: Processes, logs: Path
    ) -> None:
        self._name = name
        self._model = model
        self._command: list[str | Path] = [environment / "bin" / "python", "-I", _FOLDER / script]
        self._processes = processes
        self._log = logs / f"{name}.log"
        self._port = ReservedPort()
        self.url = f"http://127.0.0.1:{self._port.number}"

    @property
    def service(self) -> Service:
        """For `services.keep_running`."""
        return Service(self._name, f"{self._model} on {self.url}", self.begin)

    async def begin(self) -> Child:
        """Starts the server and waits until the model is loaded."""
        child = await self._processes.spawn(
            [*self._command, str(self._port.number)], environment=os.environ, log=self._log
        )
        answers = until_answers(f"{self.url}/v1/models", alive=lambda: child.alive, timeout_s=_START_LIMIT_S)
        return await ready_child(child, self._log, answers)


def chat_server(environment: Path, processes: Processes, logs: Path) -> ModelServer:
    """Returns the server of SmolLM2: llama.cpp's OpenAI-compatible server."""
    return ModelServer(
        "chat-model",
        model="smollm2-135m-instruct",
        script="chat_server.py",
        environment=environment,
        processes=processes,
        logs=logs,
    )


def embedding_server(environment: Path, processes: Processes, logs: Path) -> ModelServer:
    """Returns the server of all-MiniLM-L6-v2, with vectors of 384 dimensions."""
    return ModelServer(
        "embedding-model",
        model="all-minilm-l6-v2",
        script="embedding_server.py",
        environment=environment,
        processes=processes,
        logs=logs,
    )
