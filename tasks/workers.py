"""The Dask workers that measure segments: a local cluster, or one that is already running."""

from __future__ import annotations

import atexit
import faulthandler
import gc
import logging
import math
import os
import queue
import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from functools import cached_property
from typing import Any

import dask
from distributed import Client, Future, LocalCluster, WorkerPlugin
from distributed.scheduler import KilledWorker

from storage.schema import Failure
from tasks.assets import AssetError
from tasks.processes import die_with_parent

CALL_SECONDS = 2.0
"""For so long a worker goes on to the next segment within one call, because a call costs 10 ms of processor time."""

CALL_SEGMENTS = 32
"""The most segments of one call."""

LIBRARY = 20_000
"""Objects of Python that no call leaves behind: where there are more, a library was imported or a model loaded."""

TRIES = 2
"""How often a segment may cost a worker its life before it is given up."""

ANSWER_SECONDS = 30.0
"""How long a scheduler may not answer."""

PATIENCE = 120.0
"""Seconds without any worker after which there are none to be had."""

LOOK = 1.0
"""Seconds between two looks at which workers live."""

LOCAL_CLUSTER = {
    # Else a worker that takes 15 s to come back, on a busy machine, is given up for good.
    "distributed.deploy.lost-worker-timeout": "1 hour",
    # Its profiler and its frequent looks at itself take 9 % of a core, and nobody sees them; so it is 1.5 %.
    "distributed.worker.profile.enabled": False,
    "distributed.worker.memory.monitor-interval": "1s",
    "distributed.admin.system-monitor.interval": "2s",
    "distributed.admin.tick.interval": "500ms",
    # Without Dask's MALLOC_TRIM_THRESHOLD_, for which the C library gives every larger block back to the system at
    # once and has it cleared again: a training takes twice as long, and a picture a tenth more.
    "distributed.nanny.pre-spawn-environ": dict.fromkeys(
        ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), 1
    ),
}
"""Dask's settings where the cluster is ours."""


class WorkersError(Exception):
    """There are no workers to be had."""

    reason = "no_workers"


class Workers:
    """Dask workers, each of which measures one segment after the other; started when the first segment needs them.

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
            dask.config.set(LOCAL_CLUSTER)
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

        A worker goes through neighbouring keys in their order, as many at a time as it gets done in CALL_SECONDS. What
        raises an error with a ``reason`` gives that Failure, any other error ``unexpected``. What lasts longer than
        ``time_limit`` seconds is ended with its worker's process and gives ``timeout``; what costs a worker its life
        TRIES times gives ``crash``. Where it was one of several keys, these are done again one by one, so that the
        others come through. A missing model file is nobody's segment: its AssetError is raised. Raises WorkersError
        where there are no workers any more.
        """
        if not arguments:
            return
        waiting, deaths = Runs(arguments), Counter()
        calls = _Calls(self.client, function, time_limit)
        try:
            while waiting or calls:
                workers, idle = calls.workers()
                for worker in idle:
                    # Half of a fair share, so that workers end at about the same time.
                    share = len(waiting) // (2 * len(workers))
                    if keys := waiting.take(worker, max(1, min(CALL_SEGMENTS, share))):
                        calls.start(worker, {key: arguments[key] for key in keys})
                for worker, keys, results in calls.ended():
                    if results is not _DIED:
                        waiting.put_back(worker, keys[len(results) :])
                        yield from _given(keys, results)
                        continue
                    deaths.update(keys if len(keys) == 1 else ())
                    for key in keys:
                        if deaths[key] < TRIES:
                            waiting.add(key)
                        else:
                            yield key, Failure("crash", f"the worker that measured this segment died {TRIES} times")
        finally:
            calls.cancel()


class Runs:
    """Keys in runs of neighbours, one a worker; a worker without keys takes over the latter half of the longest run.

    So the segments of one video follow each other on one worker, and none is idle while there is work.
    """

    def __init__(self, keys: Iterable[str]):
        self._of_nobody = deque([deque(keys)])
        self._of_worker: dict[str, deque[str]] = {}

    def __len__(self) -> int:
        return sum(map(len, (*self._of_nobody, *self._of_worker.values())))

    def take(self, worker: str, most: int) -> list[str]:
        """The keys that this worker is to do next, some if there are any; they are taken out."""
        run = self._of_worker[worker] = self._of_worker.get(worker) or self._another()
        return [run.popleft() for _ in range(min(most, len(run)))]

    def put_back(self, worker: str, keys: Sequence[str]) -> None:
        """What a worker took and has not done comes before the rest of its run."""
        self._of_worker[worker].extendleft(reversed(keys))

    def add(self, key: str) -> None:
        """One more key, for the next worker without any, which takes no other with it."""
        self._of_nobody.append(deque([key]))

    def _another(self) -> deque[str]:
        if self._of_nobody:
            return self._of_nobody.popleft()
        longest = max(self._of_worker.values(), key=len, default=deque())
        return deque(reversed([longest.pop() for _ in range((len(longest) + 1) // 2)]))


_DIED = object()
"""The results of a call whose worker died."""


class _Calls:
    """The calls under way, at most one a worker, so that it is known which segments may be to blame for its death.

    Each is bound to its worker: the scheduler would start it elsewhere as often as its own settings say.
    """

    def __init__(self, client: Client, function: Callable[..., Any], time_limit: float):
        self._client, self._function, self._time_limit = client, function, time_limit
        self._under_way: dict[Future, tuple[str, list[str], float]] = {}  # worker, keys, when it began
        self._ended: queue.SimpleQueue[Future] = queue.SimpleQueue()
        self._workers: set[str] = set()
        self._looked = -math.inf
        self._last_alive = time.monotonic()

    def __bool__(self) -> bool:
        return bool(self._under_way)

    def start(self, worker: str, arguments: Mapping[str, tuple]) -> None:
        """Call the function on this worker, for each key."""
        future = self._client.submit(
            _attempts, self._function, list(arguments.values()), self._time_limit,
            workers=[worker], allow_other_workers=False, pure=False,
        )  # fmt: skip
        self._under_way[future] = worker, list(arguments), time.monotonic()
        future.add_done_callback(self._ended.put)

    def workers(self) -> tuple[set[str], set[str]]:
        """All workers, and those that do nothing for us. Raises WorkersError where there has been none for long."""
        if time.monotonic() - self._looked > LOOK:
            self._look()
        return self._workers, self._workers.difference(worker for worker, _, _ in self._under_way.values())

    def ended(self) -> Iterator[tuple[str, list[str], Any]]:
        """Worker, keys and results of the next call that ends, if one does soon: of all or the first keys, or _DIED."""
        try:
            future = self._ended.get(timeout=LOOK)
        except queue.Empty:
            return
        if future not in self._under_way:
            return  # given already, when its worker was found dead
        worker, keys, began = self._under_way.pop(future)
        results = _outcome(future)
        if results is _DIED and len(keys) == 1 and time.monotonic() - began > self._time_limit:
            results = [Failure("timeout", f"this segment was not measured within {self._time_limit:g} s")]
        yield worker, keys, results

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


def _attempts(function: Callable[..., Any], calls: Sequence[tuple], time_limit: float) -> list[Any]:
    """The results of the first of these calls, as many as begin within CALL_SECONDS."""
    began, results = time.monotonic(), []
    for values in calls:
        results.append(_attempt(function, values, time_limit))
        if time.monotonic() - began > CALL_SECONDS or isinstance(results[-1], AssetError):
            break
    _let_go()
    return results


def _let_go() -> None:
    """Let go of what libraries leave behind: objects that hold each other, a landmarker's 0.2 MB among them.

    Python would look for them rarely. Modules and models are not looked at again, for that would take 0.1 s; what calls
    leave is always looked at, for some of it is held a little longer than its call.
    """
    gc.collect()
    if len(gc.get_objects()) > LIBRARY:
        gc.freeze()


def _attempt(function: Callable[..., Any], values: tuple, time_limit: float) -> Any:
    """The result, Failure or AssetError of one call.

    The process is ended when it takes too long, even where no Python runs.
    """
    if time_limit < math.inf:
        faulthandler.dump_traceback_later(time_limit, exit=True, file=open(os.devnull, "w"))  # noqa: SIM115
    try:
        return function(*values)
    except AssetError as error:
        return error
    except Exception as error:
        reason = getattr(error, "reason", "unexpected")
        return Failure(reason, str(error) if reason != "unexpected" else f"{type(error).__name__}: {error}")
    finally:
        faulthandler.cancel_dump_traceback_later()


def _given(keys: Iterable[str], results: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    """Keys and their results; an AssetError, which is the last, is raised."""
    for key, result in zip(keys, results, strict=False):
        if isinstance(result, AssetError):
            raise result
        yield key, result


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
