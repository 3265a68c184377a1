"""What extraction costs and how good alignment is, beside its floor and its peer.

    python -m benchmarks.extraction [floor workers peer alignment many] [--segments 24] [--many 2200]
        [--many-seconds 0.5] [--many-steps words glove bert pieces vision audio] [--home .dmd/benchmarks/extraction]
        [--fet PYTHON] [--peer-clips 6] [--grid FOLDER] [--ctc MODEL]

``floor``: CPU time of the pipeline beside bare loops over the same clips. ``workers``: wall time of two workers and of
one. ``peer``: MMSA-FET on the same clips, where ``--fet`` names the Python that it is installed in. ``alignment``:
boundary errors on the sample corpus, and on GRID's clips with true times where ``--grid`` names them. ``many``: memory
over many short segments, a run that has nothing to do, and what a segment costs on disk.

All but ``workers`` and ``many`` run on one core. CPU times leave other load out; wall times do not.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np

from benchmarks.bare_loops import bare_loops
from benchmarks.fet import fet_seconds
from benchmarks.many_segments import commits, many, unchanged
from benchmarks.warm_pipeline import WARM_UP, cpu_seconds, pinned, warm_run
from tasks.align import POCKETSPHINX, aligner_named
from tasks.extract import modality
from tasks.features import media, words
from tasks.ingest import read_raw
from tasks.sample import build

EVERY_PICTURE = 1000.0
"""Pictures a second: more than any video has."""
FEATURES = ("glove", "bert", "pieces", "vision", "audio")
GRID = {"bbaf2n": "bbaf2n", "id2_vcd_swwp2s": "swwp2s"}
"""Clips of GRID, and the .align files with their true times."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = {"floor": floor, "workers": two_workers, "peer": peer, "alignment": alignment, "many": many_segments}
    parser.add_argument("parts", nargs="*", metavar="part", default=list(parts), help=", ".join(parts))
    parser.add_argument("--segments", type=int, default=24)
    parser.add_argument("--many", type=int, default=2200)
    parser.add_argument("--many-seconds", type=float, default=0.5, help="of each of the many segments")
    parser.add_argument("--many-steps", nargs="+", default=["words", *FEATURES], help="what measures them")
    parser.add_argument("--home", type=Path, default=Path(".dmd/benchmarks/extraction"))
    parser.add_argument("--fet", help="the Python in whose environment MMSA-FET is installed")
    parser.add_argument("--peer-clips", type=int, default=6)
    parser.add_argument("--grid", type=Path, help="folder of GRID clips with transcripts.tsv and .align files")
    parser.add_argument("--ctc", help="a Wav2Vec2ForCTC model, by folder or hub name")
    options = parser.parse_args()
    print(f"load of the machine before: {os.getloadavg()[0]:.1f}")
    for name in options.parts:
        print(f"\n== {name}")
        parts[name](options)


def corpus(options: argparse.Namespace) -> Path:
    return build(options.home / f"raw-{options.segments}", options.segments).absolute()


def floor(options: argparse.Namespace) -> None:
    """CPU time of each step beside that of the bare loop that does the same."""
    raw = corpus(options)
    segments = read_raw(raw)[0]
    measured = segments[WARM_UP:]
    seconds = sum(len(media.waveform(raw / s.media)) / media.SAMPLE_RATE for s in measured)
    with pinned(1):
        bare_loops(raw, segments)  # fetches what is missing, compiles, fills caches
        bare = bare_loops(raw, measured)
    with warm_run(options.home / "floor", raw, segments, cores=1) as run:
        taken = run.measured(cpu_seconds)
    loops = {
        "text encoder": [feature for feature in taken if modality(feature) == "text"],
        "decode + landmarker": ["vision"],
        "decode + acoustics": ["audio"],
        "decode + aligner": ["words"],
    }
    print(f"CPU seconds for a second of video ({len(measured)} clips, {seconds:.0f} s of video, one core)\n"
          f"{'':22} {'pipeline':>9} {'floor':>9} {'ratio':>6}")  # fmt: skip
    for loop, steps in loops.items():
        ours, theirs = sum(taken[step] for step in steps) / seconds, bare[loop] / seconds
        print(f"{loop:22} {ours:9.4f} {theirs:9.4f} {ours / theirs:6.2f}")
    total, least = sum(taken.values()) / seconds, sum(bare.values()) / seconds
    print(f"{'all':22} {total:9.4f} {least:9.4f} {total / least:6.2f}   aim: 1.15")


def two_workers(options: argparse.Namespace) -> None:
    """Wall time of one worker beside that of two; nothing else should run."""
    raw = corpus(options)
    segments = read_raw(raw)[0]
    taken = {}
    for cores in (1, 2):
        with warm_run(options.home / f"workers-{cores}", raw, segments, cores) as run:
            per_segment = sum(run.measured(time.monotonic).values()) / (len(segments) - cores * WARM_UP)
        taken[cores] = per_segment
        print(f"{cores} workers: {per_segment:.3f} s a segment")
    print(f"two workers are {taken[1] / taken[2]:.2f} times as fast as one (aim: 1.8), load {os.getloadavg()[0]:.1f}")


def peer(options: argparse.Namespace) -> None:
    """Seconds for a second of video: ours with all modalities and alignment, MMSA-FET's with sound and face."""
    if not options.fet:
        print("skipped: name the Python that MMSA-FET is installed in (--fet)")
        return
    raw = corpus(options)
    segments = read_raw(raw)[0][: options.peer_clips + WARM_UP]
    clips = [raw / segment.media for segment in segments]
    seconds = sum(len(media.waveform(clip)) / media.SAMPLE_RATE for clip in clips[WARM_UP:])
    for name, rate in (("15 pictures a second", 15.0), ("every picture", EVERY_PICTURE)):
        with warm_run(options.home / "peer", raw, segments, cores=1, rate=rate) as run:
            ours = sum(run.measured(cpu_seconds).values()) / seconds
        with pinned(1):
            theirs = fet_seconds(options.fet, clips, WARM_UP, min(rate, media.probe(clips[0]).frame_rate)) / seconds
        print(f"{name}: {ours:.3f} CPU seconds, MMSA-FET {theirs:.3f}; we are {theirs / ours:.2f} times as fast")


def alignment(options: argparse.Namespace) -> None:
    """How far forced boundaries lie from the true ones."""
    raw = corpus(options)
    clips = [(raw / s.media, s.given_words) for s in read_raw(raw)[0]]
    sets = {"sample corpus": clips}
    if options.grid:
        sets["GRID"] = [
            (options.grid / f"{clip}.mpg", words.read_align(options.grid / f"{true}.align"))
            for clip, true in GRID.items()
        ]
    for name in filter(None, (POCKETSPHINX, options.ctc)):
        aligner = aligner_named(name)
        for title, recordings in sets.items():
            errors = 1000 * np.concatenate([
                words.boundary_errors(aligner.align(media.waveform(path), [word.text for word in true]), true)
                for path, true in recordings
            ])  # fmt: skip
            print(f"{name}, {title}: {len(errors)} boundaries, median {np.median(errors):.0f} ms, "
                  f"p90 {np.percentile(errors, 90):.0f} ms, {(errors <= 50).mean():.1%} within 50 ms")  # fmt: skip


def many_segments(options: argparse.Namespace) -> None:
    """Memory over many short segments, a run that finds all of them done, commits and packing."""
    unchanged(corpus(options), options.home, options.many)
    commits(options.home)
    many(corpus(options), options.home, options.many, options.many_seconds, options.many_steps)


if __name__ == "__main__":
    main()
