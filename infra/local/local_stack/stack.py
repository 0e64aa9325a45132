"""Starts everything, waits for a signal, and stops everything."""

import asyncio
import os
import signal
import time
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from pathlib import Path

from local_stack.aws_services import AwsServices
from local_stack.chroma import Chroma
from local_stack.configuration import (
    CHAT_VARIABLE,
    CHROMA_VARIABLE,
    EMBEDDINGS_VARIABLE,
    Configuration,
)
from local_stack.functions import MAX_INSTANCES, RESERVED_THROTTLE_AFTER_S, THROTTLE_AFTER_S, FunctionPool, start_limit
from local_stack.gateway import Gateway
from local_stack.http_server import HttpServer
from local_stack.instance import InstanceSpec
from local_stack.instance_specs import make_instance_spec, short_names
from local_stack.invocation import FunctionFault
from local_stack.log_delivery import FollowedLogs, LogDelivery
from local_stack.models import ModelServer, chat_server, embedding_server
from local_stack.plan import AUTH_VARIABLE, Plan, auth_mode
from local_stack.processes import Child, Processes
from local_stack.scheduler import Job, SystemClock, run_once, run_when_due
from local_stack.services import Service, ServiceError, keep_running, tail
from local_stack.stack_file import StackFile, stacks_folder
from local_stack.template import Function, LogSubscription, Schedule
from local_stack.terminal import Terminal, curl

CHAT_PATH = "/v1/chat/completions"
EMBEDDINGS_PATH = "/v1/embeddings"
MAKE_A_KEY = "requests need an API key: sekha-bridge keys create --name first"
_TABLE_VARIABLES = {"StateTable": "STATE_TABLE", "KeysTable": "KEYS_TABLE"}  # by the table's logical id
_FIRST_RUN_LIMIT_S = 5.0


class Stack:
    """One run of the stack."""

    def __init__(self, plan: Plan, terminal: Terminal) -> None:
        self._plan = plan
        self._terminal = terminal
        self._logs = plan.state / "logs"
        self._processes = Processes()
        self._aws = AwsServices(plan.template, self._processes, self._logs)
        self._supporting_servers: dict[str, Chroma | ModelServer] = dict(self._services_of(plan.configuration))
        # Without --auth, the authorizer is not even asked: it would allow everything, and start slowly.
        self._api = plan.template.api if plan.auth else replace(plan.template.api, authorizers={})
        self._pools: dict[str, FunctionPool] = {}
        self._names = short_names(plan.template)
        self._starting = start_limit()
        self._failed: set[str] = set()
        self._server: HttpServer | None = None
        self._file = StackFile(stacks_folder())
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        """Runs until SIGINT or SIGTERM. Returns the exit status."""
        end = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, end.set)
        ending = asyncio.create_task(end.wait())
        starting = asyncio.create_task(self._start())
        try:
            await asyncio.wait({ending, starting}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done() and not starting.result():
                return 1
            await ending
            return 0
        finally:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            await self._end()

    # --- starting

    async def _start(self) -> bool:
        """Starts everything. Returns whether all of it started."""
        await self._processes.start()
        self._pools = {one.logical_id: self._pool(one) for one in self._plan.template.functions}
        services = [self._aws.service, *(one.service for one in self._supporting_servers.values())]
        asked = {one.function for one in self._api.authorizers.values()}
        prewarming = [
            self._prewarm(one)
            for one in self._plan.template.functions
            if not self._plan.on_demand and (one.routes or one.logical_id in asked)
        ]
        warm = asyncio.gather(*prewarming)
        if not all(await asyncio.gather(*(self._start_service(service) for service in services))):
            warm.cancel()
            return False
        self._deliver_logs()
        await asyncio.gather(warm, *(self._start_job(job) for job in self._jobs()))
        gateway = Gateway(self._api, self._plan.template.routes, self._pools)
        self._server = HttpServer(gateway.handle)
        await self._server.start(self._plan.listening)
        self._publish()
        if self._plan.auth:
            self._terminal.note("auth", MAKE_A_KEY)
        self._terminal.ready(self._plan.url, time.monotonic() - self._plan.requested_at, self._example())
        return True

    def _publish(self) -> None:
        plan, addresses = self._plan, self._addresses()
        configured = plan.configuration.settings.chroma.url if plan.configuration else ""
        chroma_url = addresses.get(CHROMA_VARIABLE) or configured or None
        if chroma_url:
            addresses[CHROMA_VARIABLE] = chroma_url
        variables = {**addresses, "AWS_REGION": plan.template.region, **self._tables()}
        self._file.write(url=plan.url, chroma_url=chroma_url, state=plan.state, variables=variables)

    def _tables(self) -> dict[str, str]:
        """Returns the variables with the names of the tables, as the functions have them."""
        names = {one.logical_id: str(one.definition["TableName"]) for one in self._plan.template.tables}
        return {variable: names[table] for table, variable in _TABLE_VARIABLES.items() if table in names}

    def _services_of(self, configuration: Configuration | None) -> Mapping[str, Chroma | ModelServer]:
        """Returns the servers that the configuration needs, by the environment variable that holds their address."""
        if configuration is None:
            return {}
        environments, processes, logs = self._plan.environments, self._processes, self._logs
        services: dict[str, Chroma | ModelServer] = {}
        if configuration.needs_chroma:
            services[CHROMA_VARIABLE] = Chroma(environments["chroma"], self._plan.state, processes, logs)
        if configuration.needs_chat_model:
            services[CHAT_VARIABLE] = chat_server(environments["model"], processes, logs)
        if configuration.needs_embedding_model:
            services[EMBEDDINGS_VARIABLE] = embedding_server(environments["model"], processes, logs)
        return services

    async def _start_service(self, service: Service) -> bool:
        began = time.monotonic()
        try:
            child = await service.begin()
        except ServiceError as fault:
            self._terminal.problem(service.name, str(fault))
            return False
        self._terminal.started(service.name, service.detail, time.monotonic() - began)
        self._in_background(self._keep_running(service, child))
        return True

    async def _keep_running(self, service: Service, child: Child) -> None:
        await keep_running(service, child, lambda text: self._terminal.problem(service.name, text))

    async def _prewarm(self, function: Function) -> None:
        """Starts a function's first instance. A failure is reported and does not affect the other functions."""
        began = time.monotonic()
        await self._pools[function.logical_id].prewarm()
        if function.name not in self._failed:
            name = self._names[function.logical_id]
            paths = dict.fromkeys(route.path for route in function.routes)
            self._terminal.started(name, ", ".join(paths) or "asked before other functions", time.monotonic() - began)

    def _jobs(self) -> list[Job]:
        plan = self._plan
        return [
            Job(
                schedule,
                plan.timings[schedule.name],
                self._pools[one.logical_id],
                plan.template.region,
                self._job_failed,
            )
            for one in plan.template.functions
            for schedule in one.schedules
            if schedule.name in plan.timings
        ]

    async def _start_job(self, job: Job) -> None:
        """Runs a scheduled function once, so that the health is known at the start; waits 5 s for it at most."""
        began, clock = time.monotonic(), SystemClock()
        first = self._in_background(run_once(job, clock.now()))
        await asyncio.wait({first}, timeout=_FIRST_RUN_LIMIT_S)
        if job.schedule.name not in self._failed:
            name = self._names[job.schedule.function]
            still_running = "" if first.done() else ", the first run has not finished"
            self._terminal.started(name, job.schedule.expression + still_running, time.monotonic() - began)
        self._in_background(run_when_due(job, clock))

    def _deliver_logs(self) -> None:
        """Lets the functions that subscribe to logs have the lines that are written from now on."""
        files = [self._log_of(function) for function in self._plan.template.functions]
        for function in self._plan.template.functions:
            for subscription in function.log_subscriptions:
                pool = self._pools[function.logical_id]
                delivery = LogDelivery(subscription, pool, self._delivery_failed)
                self._in_background(delivery.run(FollowedLogs(files)))

    def _log_of(self, function: Function) -> Path:
        return self._logs / f"{self._names[function.logical_id]}.log"

    # --- functions

    def _pool(self, function: Function) -> FunctionPool:
        return FunctionPool(
            make_instance_spec(
                function,
                region=self._plan.template.region,
                user=os.environ,
                stack=self._addresses(),
                log=self._log_of(function),
            ),
            self._processes,
            self._starting,
            on_init_failure=self._init_failed,
            max_instances=function.reserved_concurrency or MAX_INSTANCES,
            throttle_after_s=RESERVED_THROTTLE_AFTER_S if function.reserved_concurrency else THROTTLE_AFTER_S,
        )

    def _addresses(self) -> dict[str, str]:
        addresses = {"AWS_ENDPOINT_URL_DYNAMODB": self._aws.url, "AWS_ENDPOINT_URL_SQS": self._aws.url}
        addresses[AUTH_VARIABLE] = auth_mode(auth=self._plan.auth)
        if self._plan.configuration:
            addresses["LLM_CONFIG_PATH"] = str(self._plan.configuration.path)
        return {**addresses, **{variable: service.url for variable, service in self._supporting_servers.items()}}

    # --- failures

    def _init_failed(self, failed: InstanceSpec, fault: FunctionFault) -> None:
        """Reports a function that cannot start; the first time with the end of its log."""
        was_reported = failed.name in self._failed
        self._failed.add(failed.name)
        message = str(fault) if was_reported else f"{fault}\n{tail(failed.log)}\n    {failed.log}"
        self._terminal.problem(failed.log.stem, message)

    def _job_failed(self, schedule: Schedule, fault: Exception) -> None:
        self._failed.add(schedule.name)
        self._terminal.problem(self._names[schedule.function], f"{type(fault).__name__}: {fault}")

    def _delivery_failed(self, subscription: LogSubscription, fault: Exception) -> None:
        self._terminal.problem(self._names[subscription.function], f"{type(fault).__name__}: {fault}")

    # --- stopping

    async def _end(self) -> None:
        self._file.remove()
        self._terminal.print_line("stopping …")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server:
            await self._server.close()
        self._plan.listening.close()
        await asyncio.gather(*(pool.close() for pool in self._pools.values()), return_exceptions=True)
        await self._processes.end_all()

    def _in_background(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _example(self) -> str:
        """Returns a command to try: a chat if the configuration has a chat model, else an embedding, else the first
        route."""
        configuration, url = self._plan.configuration, self._plan.url
        headers = {"authorization": "Bearer <key>"} if self._plan.auth else {}
        if configuration and configuration.answers_chats:
            return curl(url, CHAT_PATH, '{"messages": [{"role": "user", "content": "Say hello."}]}', headers)
        if configuration:
            return curl(url, EMBEDDINGS_PATH, '{"input": "Say hello."}', headers)
        return curl(url, next((route.path for route in self._plan.template.routes), "/"), headers=headers)
