"""Starts `aws_server`: DynamoDB and SQS with the template's tables and queues."""

import json
import os
import sys
from pathlib import Path

from local_stack.http_server import listen
from local_stack.processes import Child, Processes
from local_stack.services import Service, ready_child
from local_stack.template import Template

_PACKAGE_ROOT = Path(__file__).resolve().parents[1]


class AwsServices:
    """The services of one template. A restart keeps the socket, and so the address, but loses the data."""

    def __init__(self, template: Template, processes: Processes, logs: Path) -> None:
        self._resources = {
            "region": template.region,
            "tables": [{"definition": table.definition, "ttl": table.ttl_attribute} for table in template.tables],
            "queues": [{"name": queue.name, "attributes": queue.attributes} for queue in template.queues],
        }
        self._processes = processes
        self._log = logs / "aws.log"
        self._listening = listen("127.0.0.1")
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    @property
    def service(self) -> Service:
        """For `services.keep_running`."""
        tables, queues = len(self._resources["tables"]), len(self._resources["queues"])
        return Service("aws", f"DynamoDB ({_count(tables, 'table')}) and SQS ({_count(queues, 'queue')})", self.begin)

    async def begin(self) -> Child:
        """Starts the process and waits until it has created the tables and queues."""
        fd = self._listening.fileno()
        child = await self._processes.spawn(
            [sys.executable, "-m", "local_stack.aws_server", str(fd)],
            environment={**os.environ, "PYTHONPATH": str(_PACKAGE_ROOT)},
            log=self._log,
            has_pipes=True,
            pass_fds=[fd],
        )
        await child.write_stdin(json.dumps(self._resources).encode())

        async def reported() -> bool:
            return await child.first_line() == "ready"

        return await ready_child(child, self._log, reported())


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
