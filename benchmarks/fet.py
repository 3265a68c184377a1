"""MMSA-FET as a peer: run by the Python of an environment of its own, which this project does not touch.

It is GPL-3 and needs other versions of libraries than ours, so nothing of it is imported here.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

SCRIPT = """
import json, resource, sys, time
clips, warm_up, rate = json.loads(sys.argv[1])
import MSA_FET
config = {
    "audio": {"tool": "librosa", "sample_rate": None, "args": {
        "mfcc": {"n_mfcc": 20, "htk": True}, "rms": {}, "zero_crossing_rate": {}, "spectral_rolloff": {},
        "spectral_centroid": {}}},
    "video": {"tool": "mediapipe", "fps": rate, "args": {
        "face_mesh": {"static_image_mode": False, "max_num_faces": 1}, "visualize": False}},
}
tool = MSA_FET.FeatureExtractionTool(config, verbose=0)
def used():
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
for number, clip in enumerate(clips):
    if number == warm_up:
        began = used()
    tool.run_single(clip)
print("CPU", used() - began)
"""
"""Sound and face of each clip; the clips before ``warm_up`` are not counted."""


def fet_seconds(python: str, clips: Sequence[Path], warm_up: int, rate: float) -> float:
    """CPU seconds, ffmpeg's among them, that MMSA-FET takes for the clips after the first ``warm_up``."""
    arguments = json.dumps([list(map(str, clips)), warm_up, rate])
    done = subprocess.run([python, "-c", SCRIPT, arguments], capture_output=True, text=True, check=True)
    return float(done.stdout.split("CPU ")[-1])
