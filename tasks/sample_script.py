"""The script of the sample corpus: for every segment a label, what words, face and voice show of it, and a sentence.

Three signals, one a modality, are drawn with a little in common; the label is their sum with noise of its own. So each
signal alone tells part of the label (correlation about 0.6), and all three together most of it (about 0.9).
"""

from __future__ import annotations

import string
from dataclasses import dataclass

import numpy as np

SHARED_CORRELATION = 0.25  # between any two of the three signals
FUSED_CORRELATION = 0.9  # between the sum of the three signals and the label, before clipping and rounding
LABEL_SCALE = 1.5  # standard deviation of the labels before clipping to [-3, 3]; CMU-MOSI's is 1.6
LABEL_STEP = 0.2  # MOSI's labels are means of five annotators
SEGMENTS_A_VIDEO = 5.5
VALID_SHARE, TEST_SHARE = 0.12, 0.18  # of the videos

# What a slot may hold, by polarity from -3 to 3 after the words' everyday use.
POLAR = {
    "adjective": {
        -3: "horrible terrible awful dreadful disgusting pathetic miserable unbearable",
        -2: "bad boring stupid annoying ugly painful ridiculous lousy",
        -1: "dull slow bland forgettable predictable clumsy flat repetitive",
        0: "average ordinary typical usual standard normal common regular",
        1: "nice decent pleasant solid fine interesting useful clever",
        2: "good great lovely charming delightful impressive enjoyable exciting",
        3: "amazing wonderful brilliant fantastic superb excellent magnificent outstanding",
    },
    "verb": {
        -3: "hated",
        -2: "regretted hated",
        -1: "doubted questioned",
        0: "watched tried",
        1: "liked",
        2: "enjoyed admired",
        3: "loved enjoyed",
    },
    "noun": {
        -3: "nightmare disgrace horror",
        -2: "failure mess waste",
        -1: "disappointment mistake problem",
        0: "thing piece choice",
        1: "surprise comfort improvement",
        2: "pleasure delight success",
        3: "joy wonder treasure",
    },
}
FILLERS = {
    "subject": "movie film plot cast music camera phone screen sound script "
    "comedy sequel laptop soundtrack documentary picture series trailer",
    "brand": "zentrix kavoria blorptech quizzelo mivandro",  # in no dictionary, as product names are
    "person": "brother sister friend mother father neighbor teacher roommate",
    "very": "really very so truly quite pretty absolutely",
    "opening": "honestly well look basically actually anyway frankly",
    "number": "two three five seven ten twelve twenty",
}

# espeak runs some pairs of small words into one ("of the", "in the", "for a"), and then there is no true boundary
# between them: no template has such a pair.
TEMPLATES = (
    "i {verb} this {subject} because everything about it was {adjective} and {adjective}",
    "{opening} the whole {subject} is {adjective} and {adjective} and also a {noun}",
    "we {verb} it and the {subject} was {very} {adjective} and {adjective}",
    "my {person} bought this {subject} and says it feels {adjective} and {adjective}",
    "if you ask me both {subject} and {subject} were {adjective} and {adjective}",
    "what a {adjective} {subject} this is with such a {adjective} and {adjective} ending",
    "after {number} minutes i called this {subject} a {noun} because it looked {adjective} and {adjective}",
    "{opening} i {verb} every minute because it was {very} {adjective}",
    "the {subject} from {brand} is {adjective} and {adjective} and my {person} {verb} it",
    "people said it would be {adjective} and yes it is a {noun}",
    "i saw this {subject} {number} times and it was always {adjective} and {adjective}",
    "this must be the most {adjective} {subject} and the most {adjective} story this year",
    "{opening} my {person} and i {verb} its {adjective} and {adjective} {subject}",
    "the {subject} is {very} {adjective} while the story seems {adjective} and {adjective}",
    "she didn't say much but she {verb} that {adjective} {adjective} {subject}",
    "they made a {adjective} {subject} again and it became a {adjective} {noun}",
)


@dataclass(frozen=True)
class Line:
    """One segment of the script.

    ``words``, ``face`` and ``voice`` are the signals (mean 0, deviation 1 over many lines) that the three modalities
    show; ``label`` is in [-3, 3]; ``mode`` is train, valid or test, the same for all lines of a video.
    """

    video_id: str
    clip_id: int
    text: str
    label: float
    mode: str
    words: float
    face: float
    voice: float

    @property
    def annotation(self) -> str:
        return "Neutral" if self.label == 0 else "Positive" if self.label > 0 else "Negative"


def write_script(segments: int, seed: int) -> list[Line]:
    """``segments`` lines in videos of five or six, the same for the same seed.

    Raises ``ValueError`` for fewer than 3 segments, which cannot make the three splits.
    """
    if segments < 3:
        raise ValueError(f"A sample corpus needs at least 3 segments, one a split; {segments} were asked for.")
    rng = np.random.default_rng(seed)
    signals, labels = draw_signals(segments, rng)
    videos = max(3, round(segments / SEGMENTS_A_VIDEO))
    modes = split_videos(videos, rng)
    lines = []
    for rows, mode in zip(np.array_split(np.arange(segments), videos), modes, strict=True):
        video_id = "".join(rng.choice(list(string.ascii_letters + string.digits + "-_"), 11))
        for clip_id, row in enumerate(rows, start=1):
            words, face, voice = (float(signal) for signal in signals[row])
            text = write_sentence(words, rng)
            lines.append(Line(video_id, clip_id, text, float(labels[row]), mode, words, face, voice))
    return lines


def draw_signals(segments: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Signals [N, 3] (words, face, voice; unit variance) and labels [N] in [-3, 3] made of them."""
    covariance = np.full((3, 3), SHARED_CORRELATION) + (1 - SHARED_CORRELATION) * np.eye(3)
    signals = rng.multivariate_normal(np.zeros(3), covariance, size=segments)  # [N, 3]
    sum_variance = covariance.sum()
    total_variance = sum_variance / FUSED_CORRELATION**2
    noise = rng.normal(scale=np.sqrt(total_variance - sum_variance), size=segments)
    scaled = (signals.sum(axis=1) + noise) / np.sqrt(total_variance) * LABEL_SCALE
    steps = np.round(np.clip(scaled, -3, 3) / LABEL_STEP)
    return signals, np.round(steps * LABEL_STEP, 1) + 0.0  # + 0.0 turns -0.0 into 0.0


def split_videos(videos: int, rng: np.random.Generator) -> list[str]:
    """A split for each video: at least one of each."""
    valid, test = (max(1, round(videos * share)) for share in (VALID_SHARE, TEST_SHARE))
    modes = np.array(["train"] * (videos - valid - test) + ["valid"] * valid + ["test"] * test)
    return [str(mode) for mode in rng.permutation(modes)]


def write_sentence(words: float, rng: np.random.Generator) -> str:
    """Six to sixteen words whose polarity is about ``words``, a signal of unit variance."""
    filled: list[str] = []
    for token in str(rng.choice(TEMPLATES)).split():
        slot = token.strip("{}")
        if slot in POLAR:
            polarity = int(np.clip(np.round(1.5 * words + rng.normal(scale=0.4)), -3, 3))
            token = str(rng.choice(POLAR[slot][polarity].split()))
        elif slot in FILLERS:
            token = str(rng.choice(FILLERS[slot].split()))
        if filled and filled[-1] == "a" and token[0] in "aeiou":
            filled[-1] = "an"
        filled.append(token)
    return " ".join(filled)
