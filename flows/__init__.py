"""The flows of the project. No library that they use reports to anybody; what our own modules say is shown."""

import logging
import os

os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
ROOMS = ("dmd_model", "flows", "storage", "tasks")
os.environ.setdefault("PREFECT_LOGGING_EXTRA_LOGGERS", ",".join(ROOMS))
for room in ROOMS:
    logging.getLogger(room).setLevel(logging.INFO)
