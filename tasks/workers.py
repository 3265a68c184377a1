"""The Dask workers that measure segments: a local cluster, or one that is already running."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any

from distributed import Client, LocalCluster, WorkerPlugin, as_completed
from distributed.scheduler import KilledWorker

from storage.schema import Failure
from tasks.assets import AssetError

DEATHS_TOLERATED = 1
"""How often a segment may cost a worker its life and be tried again."""


class WorkersError(Exception):
    """There are no workers to be had."""

    reason = "no_workers"


class Workers:
    """Dask workers of one thread each, started when the first segment needs them.

    ``address`` is that of a running scheduler; without one a cluster is started on this machine, one worker a core.
    Use as a context manager: what was started here is ended here.
    """

    def __init__(self, address: str | None = None):
        self.address = address
        self._cluster: LocalCluster | None = None

    @cached_property
    def client(self) -> Client:
        """The client of the scheduler, started at its first use. Raises WorkersError."""
        logging.getLogger("distributed").setLevel(logging.ERROR)
        if self.address is None:
            self._cluster = LocalCluster(
                n_workers=len(os.sched_getaffinity(0)),
                threads_per_worker=1,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.ERROR,
            )
        try:
            client = Client(self._cluster or self.address, timeout="30s", set_as_default=False)
        except (OSError, ValueError) as error:
            raise WorkersError(f"no Dask scheduler answers at {self.address}: is it running there?") from error
        client.run_on_scheduler(_tolerate_deaths, DEATHS_TOLERATED)
        if self._cluster is not None:
            client.register_plugin(_DeafToInterrupts())
        return client

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_) -> None:
        if "client" in self.__dict__:
            self.client.close()
        if self._cluster is not None:
            self._cluster.close(timeout=10)

    def measure(self, function: Callable[..., Any], arguments: Mapping[str, tuple]) -> Iterator[tuple[str, Any]]:
        """Call ``function(*arguments[key])`` on the workers for every key; yield (key, result or Failure) as they end.

        A call that raises an error with a ``reason`` gives that Failure, any other error ``unexpected``, and one whose
        worker died twice ``worker_died``. A missing model file is nobody's segment: its AssetError is raised.
        """
        if not arguments:
            return
        keys: dict[Any, str] = {}
        waiting = iter(arguments.items())

        def submit(key: str, values: tuple):
            future = self.client.submit(_attempt, function, values, pure=False)
            keys[future] = key
            return future

        # One segment a worker at a time: when a worker dies, the segment it held is the one to blame.
        threads = max(1, sum(self.client.nthreads().values()))
        first = [submit(*item) for _, item in zip(range(threads), waiting, strict=False)]
        running = as_completed(first, loop=self.client.loop, raise_errors=False)
        for future in running:
            result = _outcome(future)
            if (item := next(waiting, None)) is not None:
                running.add(submit(*item))
            yield keys.pop(future), result


class _DeafToInterrupts(WorkerPlugin):
    """A Ctrl-C reaches every process of the terminal; ours ends the workers in good order."""

    def setup(self, worker) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _tolerate_deaths(deaths: int, dask_scheduler=None) -> None:
    dask_scheduler.allowed_failures = deaths


def _attempt(function: Callable[..., Any], values: tuple) -> Any:
    try:
        return function(*values)
    except AssetError:
        raise
    except Exception as error:
        reason = getattr(error, "reason", "unexpected")
        return Failure(reason, str(error) if reason != "unexpected" else f"{type(error).__name__}: {error}")


def _outcome(future) -> Any:
    if future.status == "finished":
        return future.result()
    error = future.exception()
    if isinstance(error, KilledWorker):
        return Failure("worker_died", f"the worker that measured this segment died {DEATHS_TOLERATED + 1} times")
    raise error
