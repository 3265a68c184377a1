"""The Dask workers that measure segments: a local cluster, or one that is already running."""

from __future__ import annotations

import atexit
import faulthandler
import logging
import math
import os
import queue
import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError
from functools import cached_property
from typing import Any

import dask
from distributed import Client, Future, LocalCluster, WorkerPlugin
from distributed.scheduler import KilledWorker

from storage.schema import Failure
from tasks.assets import AssetError
from tasks.processes import die_with_parent

TRIES = 2
"""How often a segment may cost a worker its life before it is given up."""

ANSWER_SECONDS = 30.0
"""How long a scheduler may not answer."""

PATIENCE = 120.0
"""Seconds without any worker after which there are none to be had."""

LOOK = 1.0
"""Seconds between two looks at which workers live."""


class WorkersError(Exception):
    """There are no workers to be had."""

    reason = "no_workers"


class Workers:
    """Dask workers, each of which measures one segment at a time; started when the first segment needs them.

    ``address`` is that of a running scheduler, whose workers need one thread each and a nanny (Dask's default) that
    starts them again; without one a cluster is started on this machine, one worker a core. Use as a context manager:
    what was started here is ended here.
    """

    def __init__(self, address: str | None = None):
        self.address = address
        self._cluster: LocalCluster | None = None

    @cached_property
    def client(self) -> Client:
        """The client of the scheduler, started at its first use. Raises WorkersError."""
        logging.getLogger("distributed").setLevel(logging.ERROR)
        if self.address is None:
            # Else a worker that takes 15 s to come back, on a busy machine, is given up for good.
            dask.config.set({"distributed.deploy.lost-worker-timeout": "1 hour"})
            self._cluster = LocalCluster(
                n_workers=len(os.sched_getaffinity(0)),
                threads_per_worker=1,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.ERROR,
            )
        try:
            client = Client(self._cluster or self.address, timeout=ANSWER_SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:
            raise WorkersError(f"no Dask scheduler answers at {self.address}: is it running there?") from error
        if self._cluster is not None:
            client.register_plugin(_EndsWithUs())
        return client

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_) -> None:
        if "client" in self.__dict__:
            self.client.close()
        if self._cluster is not None:
            self._cluster.close(timeout=10)

    def measure(
        self, function: Callable[..., Any], arguments: Mapping[str, tuple], time_limit: float = math.inf
    ) -> Iterator[tuple[str, Any]]:
        """Call ``function(*arguments[key])`` on the workers for every key; yield (key, result or Failure) as they end.

        A worker goes through neighbouring keys in their order. A call that raises an error with a ``reason`` gives that
        Failure, any other error ``unexpected``. One that lasts longer than ``time_limit`` seconds is ended with its
        worker's process and gives ``timeout``; one whose worker died TRIES times gives ``crash``. A missing model file
        is nobody's segment: its AssetError is raised. Raises WorkersError where there are no workers any more.
        """
        if not arguments:
            return
        waiting, deaths = Runs(arguments), Counter()
        calls = _Calls(self.client, function, time_limit)
        try:
            while waiting or calls:
                for worker in calls.idle_workers():
                    if (key := waiting.next(worker)) is not None:
                        calls.start(worker, key, arguments[key])
                for key, result in calls.ended():
                    if result is _DIED:
                        deaths[key] += 1
                        if deaths[key] < TRIES:
                            waiting.add(key)
                            continue
                        result = Failure("crash", f"the worker that measured this segment died {TRIES} times")
                    yield key, result
        finally:
            calls.cancel()


class Runs:
    """Keys in runs of neighbours, one a worker; a worker without keys takes over the latter half of the longest run.

    So the segments of one video follow each other on one worker, and none is idle while there is work.
    """

    def __init__(self, keys: Iterable[str]):
        self._of_nobody = deque([deque(keys)])
        self._of_worker: dict[str, deque[str]] = {}

    def __bool__(self) -> bool:
        return any(self._of_nobody) or any(self._of_worker.values())

    def next(self, worker: str) -> str | None:
        """The key that this worker is to do next; it is taken out."""
        run = self._of_worker[worker] = self._of_worker.get(worker) or self._another()
        return run.popleft() if run else None

    def add(self, key: str) -> None:
        """One more key, for the next worker without any."""
        self._of_nobody.append(deque([key]))

    def _another(self) -> deque[str]:
        if self._of_nobody:
            return self._of_nobody.popleft()
        longest = max(self._of_worker.values(), key=len, default=deque())
        return deque(reversed([longest.pop() for _ in range((len(longest) + 1) // 2)]))


_DIED = object()
"""The result of a call whose worker died."""


class _Calls:
    """The calls under way, at most one a worker, so that it is known which segment is to blame for a worker's death.

    Each is bound to its worker: the scheduler would start it elsewhere as often as its own settings say.
    """

    def __init__(self, client: Client, function: Callable[..., Any], time_limit: float):
        self._client, self._function, self._time_limit = client, function, time_limit
        self._under_way: dict[Future, tuple[str, str, float]] = {}  # worker, key, when it began
        self._ended: queue.SimpleQueue[Future] = queue.SimpleQueue()
        self._workers: set[str] = set()
        self._looked = -math.inf
        self._last_alive = time.monotonic()

    def __bool__(self) -> bool:
        return bool(self._under_way)

    def start(self, worker: str, key: str, values: tuple) -> None:
        """Call the function on this worker."""
        future = self._client.submit(
            _attempt, self._function, values, self._time_limit, workers=[worker], allow_other_workers=False, pure=False
        )
        self._under_way[future] = worker, key, time.monotonic()
        future.add_done_callback(self._ended.put)

    def idle_workers(self) -> set[str]:
        """The workers that do nothing for us. Raises WorkersError where there has been none for a long time."""
        if time.monotonic() - self._looked > LOOK:
            self._look()
        return self._workers.difference(worker for worker, _, _ in self._under_way.values())

    def ended(self) -> Iterator[tuple[str, Any]]:
        """Key and result of the next call that ends, if one does soon; the result may be a Failure or _DIED."""
        try:
            future = self._ended.get(timeout=LOOK)
        except queue.Empty:
            return
        if future not in self._under_way:
            return  # given already, when its worker was found dead
        _, key, began = self._under_way.pop(future)
        result = _outcome(future)
        if result is _DIED and time.monotonic() - began > self._time_limit:
            result = Failure("timeout", f"this segment was not measured within {self._time_limit:g} s")
        yield key, result

    def cancel(self) -> None:
        """Have nothing more done."""
        self._client.cancel(list(self._under_way))

    def _look(self) -> None:
        """See which workers live, and which calls have lost theirs."""
        try:
            self._workers = set(self._client.nthreads())
        except (OSError, CancelledError) as error:
            raise WorkersError(f"the Dask scheduler at {self._client.scheduler.address} is gone") from error
        self._looked = time.monotonic()
        if self._workers:
            self._last_alive = self._looked
        elif self._looked - self._last_alive > PATIENCE:
            address = self._client.scheduler.address
            raise WorkersError(f"no worker of the Dask scheduler at {address} for {PATIENCE:g} s: start some there")
        for future, (worker, _, _) in self._under_way.items():
            if worker not in self._workers:
                self._ended.put(future)


class _EndsWithUs(WorkerPlugin):
    """Workers of our own: deaf to the Ctrl-C that reaches every process of the terminal, and quick to end."""

    def setup(self, worker) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        die_with_parent(signal.SIGKILL)  # Dask's own watch over the parent needs a worker that runs Python
        atexit.register(os._exit, 0)  # the libraries take seconds to be taken apart, and nothing is left to be saved


def _attempt(function: Callable[..., Any], values: tuple, time_limit: float) -> Any:
    """The result or Failure of one call; the process is ended when it takes too long, even where no Python runs."""
    if time_limit < math.inf:
        faulthandler.dump_traceback_later(time_limit, exit=True, file=open(os.devnull, "w"))  # noqa: SIM115
    try:
        return function(*values)
    except AssetError:
        raise
    except Exception as error:
        reason = getattr(error, "reason", "unexpected")
        return Failure(reason, str(error) if reason != "unexpected" else f"{type(error).__name__}: {error}")
    finally:
        faulthandler.cancel_dump_traceback_later()


def _outcome(future: Future) -> Any:
    """What the call gave, or _DIED."""
    if future.status in ("pending", "cancelled", "lost"):
        return _DIED
    if future.status == "error":
        error = future.exception()
        if isinstance(error, KilledWorker):
            return _DIED
        raise error
    try:
        return future.result(timeout=30)
    except (TimeoutError, CancelledError):
        return _DIED  # after the call, with its result
