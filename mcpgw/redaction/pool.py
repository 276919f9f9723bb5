"""Worker processes: started, asked one thing at a time, killed when they are late, and replaced."""

import json
import logging
import time
from typing import Any
from weakref import WeakValueDictionary

import anyio

from mcpgw.core.errors import ConfigError, RedactionError
from mcpgw.redaction import wire
from mcpgw.redaction.config import RedactionConfig
from mcpgw.redaction.processes import Forked, Forker, Spawned, WorkerProcess, shares_model

logger = logging.getLogger(__name__)

_ENDED = (anyio.IncompleteRead, anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError, OSError, ValueError)
"""What a pipe to a process that ended, or that speaks nonsense, raises."""


class Worker:
    """One worker process. Not safe for use by two calls at once."""

    def __init__(self, process: WorkerProcess, loading_until: float) -> None:
        self._process = process
        self.loaded = False
        self.loading_until = loading_until
        """Monotonic time by which its model must be loaded."""
        self._loading = anyio.Lock(fast_acquire=True)
        """The start and the first job may both wait for the model, and a pipe has one reader."""
        self._broken: ConfigError | None = None  # None until the model was found to be unloadable

    @property
    def pid(self) -> int:
        """Its process id; 0 until it is known."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.alive

    async def load(self) -> None:
        """Wait until the model is loaded.

        Raises:
            ConfigError: it cannot be.
        """
        async with self._loading:
            await self._hear()
        if self._broken is not None:
            raise ConfigError(str(self._broken), hint=self._broken.hint)

    async def _hear(self) -> None:
        """Wait until it says, once, whether its model is loaded."""
        if self.loaded or self._broken is not None:
            return
        answer = json.loads(await self._process.greeting())
        self._broken = ConfigError(answer["error"], hint=answer["hint"]) if "error" in answer else None
        self.loaded = self._broken is None

    async def ask(self, body: bytes) -> Any:
        """Send a job and return its answer, parsed."""
        await self._process.send(wire.frame(body))
        return json.loads(await self._process.receive())

    async def kill(self) -> None:
        """End the process at once."""
        await self._process.kill()


class Pool:
    """Runs jobs on the workers of a configuration, each within its time."""

    def __init__(self, config: RedactionConfig) -> None:
        self._config = config
        self._workers: set[Worker] = set()
        self._forker: Forker | None = None  # None until one is needed, and where each worker loads its own model
        self._forking = anyio.Lock(fast_acquire=True)
        self._put, self._idle = anyio.create_memory_object_stream[Worker](config.workers)
        self._open = False
        self._begun = anyio.Event()
        """The pool was opened once, or closed for good: before, calls wait for its start."""
        self._turns: WeakValueDictionary[str, anyio.Semaphore] = WeakValueDictionary()
        """By caller, while it has jobs: how many of its jobs may stand in the line at once."""
        self._back_by = 0.0
        """Monotonic time until which calls can wait for the one that takes the place of a late worker."""

    @property
    def ready(self) -> bool:
        """Whether a job that came now would be done: a worker with a loaded model is alive, busy or not, or one that was
        late is being replaced."""
        return self._open and (any(map(_works, self._workers)) or time.monotonic() < self._back_by)

    @property
    def complete(self) -> bool:
        """Whether every worker is alive, with its model loaded."""
        return self._open and all(map(_works, self._workers))

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the workers, as far as they are known."""
        return tuple(worker.pid for worker in self._workers if worker.pid)

    @property
    def idle(self) -> int:
        """How many workers wait for a job."""
        return self._idle.statistics().current_buffer_used

    @property
    def waiting(self) -> int:
        """How many jobs stand in the line for a worker."""
        return self._idle.statistics().tasks_waiting_receive

    async def begin(self) -> None:
        """Start the workers, which load their model by themselves. What goes wrong is told by `start`."""
        try:
            await self._spawn()
        except OSError:
            await self.aclose()

    async def _spawn(self) -> None:
        self._put.close()
        self._idle.close()
        self._put, self._idle = anyio.create_memory_object_stream[Worker](self._config.workers)
        self._open = True
        self._begun.set()
        for _ in range(self._config.workers):
            self._admit(await self._fresh())

    async def _fresh(self) -> Worker:
        """Start a worker. Its model loads by itself, or is there already.

        Raises:
            OSError: no process can be started.
        """
        settings = wire.frame(wire.settings(self._config))
        until = time.monotonic() + self._config.start_timeout_s
        forks = shares_model(self._config)
        return Worker(await self._forked(settings) if forks else await Spawned.spawn(settings), until)

    async def _forked(self, settings: bytes) -> Forked:
        """Let a worker be forked, by a new process where the one that did so is gone."""
        async with self._forking:
            if self._forker is None or not self._forker.alive:
                await self._end_forker()
                self._forker = await Forker.spawn(settings)
            if not self._is_open():  # closed meanwhile, which knew nothing of this one
                await self._end_forker()
                raise OSError("the redactor was closed")
            return await self._forker.fork()

    async def _end_forker(self) -> None:
        if self._forker is not None:
            await self._forker.kill()
            self._forker = None

    async def start(self) -> None:
        """Start the workers, unless they were, and wait until each has loaded its model. After a failure it may be tried again.

        Raises:
            ConfigError: the model cannot be loaded.
            RedactionError: it was not loaded in time.
        """
        try:
            with anyio.fail_after(self._config.start_timeout_s):
                if not self._workers:
                    await self._spawn()
                for worker in list(self._workers):  # they load side by side, each in its own process
                    await worker.load()
        except TimeoutError:
            await self.aclose()
            raise RedactionError(f"the language model was not loaded within {self._config.start_timeout_s:g} s") from None
        except _ENDED:
            await self.aclose()
            raise RedactionError("a redaction worker ended while it was loading its model") from None
        except ConfigError:
            await self.aclose()
            raise

    async def run(self, body: bytes, caller: str = "") -> Any:
        """Return a worker's answer to a job.

        Workers are given out in the order of asking, and nobody stands in that line more often than there are workers: so each
        caller's next job waits for at most one round of everybody else's.

        Raises:
            RedactionError: no worker was free, or it did not answer in time, or it ended. It has been replaced.
        """
        patience = anyio.CancelScope(deadline=anyio.current_time() + self._config.wait_s)
        with patience:
            if not self._begun.is_set():
                await self._begun.wait()
            turn = self._turns.setdefault(caller, anyio.Semaphore(self._config.workers, fast_acquire=True))
            await turn.acquire()
        if patience.cancelled_caught:
            raise self._late()
        try:
            return await self._work(body, patience.deadline)
        finally:
            turn.release()

    async def _work(self, body: bytes, begin_by: float) -> Any:
        """Run a job whose turn it is on the next free worker, if there is one by that time."""
        worker = await self._free(begin_by)
        answered = False
        try:
            with anyio.fail_after(begin_by - anyio.current_time()):
                worker = await self._living(worker)
                await worker.load()
            with anyio.fail_after(self._config.timeout_s):
                answer = await worker.ask(body)
                answered = True
        except TimeoutError:
            raise self._late(worker) from None
        except _ENDED:
            raise RedactionError("a redaction worker ended while it was at work") from None
        except ConfigError as error:
            raise RedactionError(str(error), hint=error.hint) from None
        finally:
            await self._give_back(worker, answered)
        return answer

    async def _free(self, by: float) -> Worker:
        """Return a worker that nobody else uses, once there is one."""
        self._must_be_open()
        try:
            with anyio.fail_after(by - anyio.current_time()):
                return await self._idle.receive()
        except TimeoutError:
            raise self._late() from None
        except _ENDED:
            raise RedactionError("the redactor is not running") from None

    def _is_open(self) -> bool:
        return self._open

    def _must_be_open(self) -> None:
        if not self._is_open():
            raise RedactionError("the redactor is not running")

    def _late(self, worker: Worker | None = None) -> RedactionError:
        """What took too long, as far as the call came."""
        hint = "Raise redaction.workers or redaction.timeout."
        if not self._begun.is_set():
            return RedactionError("the redactor is not running")
        if worker is None:
            return RedactionError(f"no worker was free ({self._config.wait_s:g} s)", hint=hint)
        if not worker.loaded:
            return RedactionError(f"the language model is still being loaded ({self._config.wait_s:g} s)")
        return RedactionError(f"it took too long ({self._config.timeout_s:g} s)", hint=hint)

    async def aclose(self) -> None:
        """End all workers. Jobs under way fail."""
        self._open = False
        self._begun.set()
        with anyio.CancelScope(shield=True):
            for worker in list(self._workers):
                await worker.kill()
            await self._end_forker()
        self._workers.clear()
        self._put.close()
        self._idle.close()

    async def _living(self, worker: Worker) -> Worker:
        """Return the worker, or a fresh one where it died while nobody was using it."""
        if worker.alive:
            return worker
        logger.warning("a redaction worker had died; a fresh one takes its place")
        return await self._replace(worker)

    async def _give_back(self, worker: Worker, answered: bool) -> None:
        """Return the worker to the others; one that is late, cancelled in its work, or dead is replaced."""
        if not self._open or worker not in self._workers:  # the pool was closed meanwhile, and perhaps started again
            return
        with anyio.CancelScope(shield=True):
            loading = not worker.loaded and worker.alive and time.monotonic() < worker.loading_until
            if not answered and not loading:
                logger.warning("a redaction worker is replaced")
                if _works(worker):  # so a model that kills whoever loads it is not hoped for twice
                    self._back_by = time.monotonic() + self._config.wait_s
                worker = await self._replaced_if_possible(worker)
            if self._is_open():
                self._put.send_nowait(worker)
            else:  # closed while a fresh one was being started, of which the closing knew nothing
                self._workers.discard(worker)
                await worker.kill()

    async def _replaced_if_possible(self, worker: Worker) -> Worker:
        try:
            return await self._replace(worker)
        except OSError as error:
            logger.error("no redaction worker can be started: %s; the next call tries again", error)
            self._back_by = 0.0
            return worker

    async def _replace(self, worker: Worker) -> Worker:
        """Kill it and start another. Where none can be started, the dead one keeps its place, so that the next job tries again.

        Raises:
            OSError: no process can be started.
        """
        with anyio.CancelScope(shield=True):  # or a caller who leaves now would leave one worker less for good
            await worker.kill()
            fresh = await self._fresh()
        self._workers.discard(worker)
        self._workers.add(fresh)
        return fresh

    def _admit(self, worker: Worker) -> None:
        self._workers.add(worker)
        self._put.send_nowait(worker)


def _works(worker: Worker) -> bool:
    return worker.loaded and worker.alive
