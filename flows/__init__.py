"""The flows of the project. No library that they use reports to anybody; what our own modules say is shown."""

import logging
import os

os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
ROOMS = ("dmd_model", "flows", "storage", "tasks")
os.environ.setdefault("PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW", "ignore")  # as in the Dask workers
os.environ.setdefault("PREFECT_LOGGING_EXTRA_LOGGERS", ",".join(ROOMS))
for room in ROOMS:
    logging.getLogger(room).setLevel(logging.INFO)


class _OneSentence(logging.Filter):
    """Errors that explain themselves (they have a reason code) are shown without a traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and hasattr(record.exc_info[1], "reason"):
            record.exc_info = None
        return True


for runs in ("prefect.flow_runs", "prefect.task_runs"):
    logging.getLogger(runs).addFilter(_OneSentence())
