"""Seconds of `dmd predict` on a talking-head video of 1280 x 720 pixels, step by step.

    python -m benchmarks.prediction MODELS_HOME [--minutes 3] [--dataset sample] [--model dmd] [--out FOLDER]

``MODELS_HOME`` is a home folder with trained models and a raw corpus whose clips are joined, with pauses, into one
video; it is only read. Prints wall and CPU seconds of every step; `benchmarks/RESULTS.md` keeps what was seen.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import shutil
import subprocess
import sys
import time
from fractions import Fraction
from itertools import cycle
from pathlib import Path

import av
import numpy as np
import psutil

from tasks.features import media

PAUSE, RATE, SIZE = 0.7, 25, (1280, 720)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("home", type=Path)
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--dataset", default="sample")
    parser.add_argument("--model", default="dmd")
    parser.add_argument("--out", type=Path, default=Path(".dmd/benchmarks/prediction"))
    options = parser.parse_args()
    shutil.rmtree(options.out / "result", ignore_errors=True)
    options.out.mkdir(parents=True, exist_ok=True)
    (raw,) = (options.home / options.dataset).glob("raw-*")
    video = joined(raw, options.out / "video.mp4", 60 * options.minutes)
    command = ["predict", str(video), "--transcript", str(video.with_suffix(".txt")), "--model", options.model]
    command += ["--home", str(options.home), "--dataset", options.dataset, "--to", str(options.out / "result")]
    began, load = time.monotonic(), os.getloadavg()[0]
    cpu, lines = followed([sys.executable, "-m", "flows", *command])
    seconds, length = time.monotonic() - began, media.probe(video).duration
    print(f"{length:.0f} s of video, {SIZE[0]} x {SIZE[1]}: {seconds:.0f} s, {cpu:.0f} s of CPU time")
    print(f"{len(os.sched_getaffinity(0))} cores, load before {load:.1f}, after {os.getloadavg()[0]:.1f}")
    before = began
    for when, line in lines:
        if step := re.search(r"Task run '(.+?)(?:-\w{3})?' - Finished", line):
            print(f"{step[1]:<20} {when - before:6.1f} s")
            before = when


def joined(raw: Path, path: Path, seconds: float) -> Path:
    """Clips of the test split one after the other, scaled up and padded, until they fill ``seconds``."""
    with (raw / "label.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["mode"] == "test"]
    texts, sounds, picture = [], [], 0
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=RATE, options={"preset": "veryfast"})
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        audio = container.add_stream("aac", rate=media.SAMPLE_RATE, layout="mono")
        for row in cycle(rows):
            if picture / RATE >= seconds:
                break
            clip = raw / "Raw" / row["video_id"] / f"{row['clip_id']}.mp4"
            shown = [rgb for _, rgb in media.frames(clip, frames_per_second=RATE)]
            for rgb in shown + [shown[-1]] * round(PAUSE * RATE):
                container.mux(video.encode(frame_of(rgb)))
                picture += 1
            texts.append(row["text"])
            sounds.append(media.waveform(clip))
            missing = round(picture / RATE * media.SAMPLE_RATE) - sum(map(len, sounds))
            sounds.append(np.zeros(max(0, missing), np.float32))
        sound = np.concatenate(sounds)
        for first in range(0, len(sound), 1024):
            block = av.AudioFrame.from_ndarray(sound[None, first : first + 1024], format="fltp", layout="mono")
            block.sample_rate, block.pts, block.time_base = media.SAMPLE_RATE, first, Fraction(1, media.SAMPLE_RATE)
            container.mux(audio.encode(block))
        for stream in (video, audio):
            container.mux(stream.encode(None))
    path.with_suffix(".txt").write_text(" ".join(texts), encoding="utf-8")
    return path


def frame_of(rgb: np.ndarray) -> av.VideoFrame:
    """The picture in the middle of a grey one of SIZE, as high as that."""
    width, height = round(rgb.shape[1] * SIZE[1] / rgb.shape[0]), SIZE[1]
    scaled = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(width, height).to_ndarray(format="rgb24")
    wide = np.full((height, SIZE[0], 3), 128, np.uint8)
    left = (SIZE[0] - width) // 2
    wide[:, left : left + width] = scaled
    return av.VideoFrame.from_ndarray(wide, format="rgb24")


def followed(command: list[str]) -> tuple[float, list[tuple[float, str]]]:
    """CPU seconds of a command and all that it started, and every line it printed with its time."""
    process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    lines = [(time.monotonic(), line) for line in process.stderr]
    if process.wait():
        raise SystemExit("".join(line for _, line in lines[-20:]))
    used = os.times()
    return used.children_user + used.children_system, lines


if __name__ == "__main__":
    main()
