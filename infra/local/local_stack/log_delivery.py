"""Delivers the lines of the functions' logs to the functions that subscribe to them, as CloudWatch Logs does.

The form of the event: https://docs.aws.amazon.com/lambda/latest/dg/services-cloudwatchlogs.html
"""

import asyncio
import base64
import gzip
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from local_stack.invocation import FunctionFault, Invocable, ThrottledError
from local_stack.template import ACCOUNT_ID, LogSubscription

LOG_GROUP = "sekha-local-LogGroup"
POLL_S = 0.5
_MAX_LINES = 1000  # in one event
_RETRY_PAUSES_S = (0.5, 2.0)  # Lambda repeats an asynchronous invocation twice; not as soon as here
_numbers = count()


class FollowedLogs:
    """The lines that are added to log files from now on. A file may appear later."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._read_bytes = {file: file.stat().st_size if file.exists() else 0 for file in files}

    def new_lines(self) -> Iterator[tuple[Path, list[str]]]:
        """Yields each file with its complete lines since the last call. An emptied file is read from its start."""
        for file, start in self._read_bytes.items():
            if not file.exists() or (size := file.stat().st_size) == start:
                continue
            with file.open("rb") as log:
                log.seek(start if size > start else 0)
                added = log.read()
            complete = added[: added.rfind(b"\n") + 1]
            self._read_bytes[file] = (start if size > start else 0) + len(complete)
            if complete:
                yield file, complete.decode(errors="replace").splitlines()


@dataclass(frozen=True, slots=True)
class LogDelivery:
    """One subscription, its function, and whom to tell of a failure."""

    subscription: LogSubscription
    function: Invocable
    on_failure: Callable[[LogSubscription, Exception], None]

    async def run(self, logs: FollowedLogs) -> None:
        """Delivers what matches, for ever. A slow function does not delay the next events."""
        async with asyncio.TaskGroup() as deliveries:
            while True:
                for file, lines in logs.new_lines():
                    matching = [line for line in lines if self.subscription.pattern.matches(line)]
                    for start in range(0, len(matching), _MAX_LINES):
                        part = matching[start : start + _MAX_LINES]
                        deliveries.create_task(self._deliver(log_event(self.subscription, file.stem, part)))
                await asyncio.sleep(POLL_S)

    async def _deliver(self, event: bytes) -> None:
        for pause_s in (*_RETRY_PAUSES_S, None):
            try:
                await (await self.function.invoke(event)).read()
            except (FunctionFault, ThrottledError) as fault:
                if pause_s is None:
                    self.on_failure(self.subscription, fault)
                    return
                await asyncio.sleep(pause_s)
            else:
                return


def log_event(subscription: LogSubscription, stream: str, lines: Sequence[str]) -> bytes:
    """Returns the event for lines of one log."""
    now_ms = int(time.time() * 1000)
    delivered = {
        "messageType": "DATA_MESSAGE",
        "owner": ACCOUNT_ID,
        "logGroup": LOG_GROUP,
        "logStream": stream,
        "subscriptionFilters": [subscription.name],
        "logEvents": [
            {"id": f"{now_ms:028}{next(_numbers):028}", "timestamp": now_ms, "message": line} for line in lines
        ],
    }
    data = base64.b64encode(gzip.compress(json.dumps(delivered).encode())).decode()
    return json.dumps({"awslogs": {"data": data}}).encode()
