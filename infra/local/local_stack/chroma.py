"""The stack's Chroma server. Its data is in the state folder and is kept after the stack ends."""

import os
from pathlib import Path

from local_stack.loopback import ReservedPort, until_answers
from local_stack.processes import Child, Processes
from local_stack.services import Service, ready_child

_START_LIMIT_S = 60.0


class Chroma:
    """The server. `environment`: the folder of the Python environment in which it is installed."""

    def __init__(self, environment: Path, state: Path, processes: Processes, logs: Path) -> None:
        self._program = environment / "bin" / "chroma"
        self._data = state / "chroma"
        self._processes = processes
        self._log = logs / "chroma.log"
        self._port = ReservedPort()
        self.url = f"http://127.0.0.1:{self._port.number}"

    @property
    def service(self) -> Service:
        """For `services.keep_running`."""
        return Service("chroma", self.url, self.begin)

    async def begin(self) -> Child:
        """Starts the server and waits until it answers."""
        child = await self._processes.spawn(
            [self._program, "run", "--path", self._data, "--host", "127.0.0.1", "--port", str(self._port.number)],
            environment={**os.environ, "ANONYMIZED_TELEMETRY": "False"},
            log=self._log,
        )
        answers = until_answers(f"{self.url}/api/v2/heartbeat", alive=lambda: child.alive, timeout_s=_START_LIMIT_S)
        return await ready_child(child, self._log, answers)
