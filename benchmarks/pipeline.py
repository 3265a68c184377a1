"""What the pipeline costs: seconds, memory, and the speed of vision beside a bare landmarker loop.

    python benchmarks/pipeline.py [--segments 60] [--home .dmd/benchmarks/pipeline]

Runs `dmd run` on a new sample corpus twice and follows the memory of every process; then measures the vision of the
same clips by the package's instrument and by a bare loop over the same frames, in turn, on one core. Prints a table;
`benchmarks/RESULTS.md` keeps what was seen.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import av
import mediapipe as mp
import numpy as np
import psutil

from tasks import assets
from tasks.features.vision import FaceLandmarker, quiet_stderr

POLL_SECONDS = 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--segments", type=int, default=60)
    parser.add_argument("--home", type=Path, default=Path(".dmd/benchmarks/pipeline"))
    options = parser.parse_args()
    shutil.rmtree(options.home, ignore_errors=True)
    for name in ("first", "second"):
        seconds, peak = followed([sys.executable, "-m", "flows", "run", "--home", str(options.home), "--segments",
                                  str(options.segments)])  # fmt: skip
        print(f"{name} run of {options.segments} segments: {seconds:.1f} s, largest process {peak / 2**20:.0f} MiB")
    clips = sorted((options.home / "sample").glob("raw-*/Raw/*/*.mp4"))[:12]
    ratios = list(vision_ratios(clips))
    print(f"vision, speed of the instrument / bare landmarker loop: {statistics.median(ratios):.2f} "
          f"(median of {len(ratios)} clips; {min(ratios):.2f} to {max(ratios):.2f})")  # fmt: skip


def followed(command: list[str]) -> tuple[float, int]:
    """Seconds of a command, and the resident bytes of the largest process it had, sampled ten times a second."""
    began, peak = time.monotonic(), 0
    process = psutil.Popen(command)
    while process.poll() is None:
        for member in (process, *process.children(recursive=True)):
            try:
                peak = max(peak, member.memory_info().rss)
            except psutil.NoSuchProcess:
                continue
        time.sleep(POLL_SECONDS)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return time.monotonic() - began, peak


def vision_ratios(clips: list[Path]) -> Iterator[float]:
    """Bare seconds over the instrument's, a clip at a time, in turn and pinned to one core; the order alternates."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    instrument = FaceLandmarker(frames_per_second=None)
    model = assets.fetch("face_landmarker.task").read_bytes()
    instrument.measure(clips[0]), bare(model, clips[0])
    for clip, first in zip(clips, itertools.cycle((True, False))):
        seconds = {}
        for bare_now in (first, not first):
            began = time.process_time()
            rows = bare(model, clip) if bare_now else len(instrument.measure(clip).values)
            seconds[bare_now] = (time.process_time() - began) / rows
        yield seconds[True] / seconds[False]


def bare(model: bytes, clip: Path) -> int:
    """Decode a clip and run the landmarker on every frame, and nothing else; returns the number of frames."""
    vision = mp.tasks.vision
    options = vision.FaceLandmarkerOptions(
        base_options=mp.tasks.BaseOptions(model_asset_buffer=model),
        running_mode=vision.RunningMode.VIDEO,
        output_face_blendshapes=True,
        output_facial_transformation_matrixes=True,
    )
    with quiet_stderr():
        landmarker = vision.FaceLandmarker.create_from_options(options)
    with landmarker, av.open(str(clip)) as container:
        count = 0
        for frame in container.decode(video=0):
            count += 1
            picture = mp.Image(mp.ImageFormat.SRGB, np.ascontiguousarray(frame.to_ndarray(format="rgb24")))
            landmarker.detect_for_video(picture, int(1000 * frame.time))
    return count


if __name__ == "__main__":
    main()
