"""Which rows of a data set's features belong to which word, aligned or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from storage.schema import AlignedDataset

if TYPE_CHECKING:
    from dmd_model.attribution import WordRows


def word_rows(data: AlignedDataset, features: Sequence[str]) -> WordRows:
    """The rows of each word in these features, one a modality; one that was not measured has none.

    A word of an unaligned feature has the frames within its time, and of word pieces those that it is made of.
    """
    from dmd_model.attribution import WordRows

    counts = np.diff(data.offsets)
    segments = np.repeat(np.arange(len(data.ids)), counts)  # [W]
    places = np.arange(len(segments)) - data.offsets[segments]  # [W]
    first, stop = np.zeros((2, len(segments), len(features)), np.int64)
    for m, feature in enumerate(features):
        if feature in data.frame_offsets:
            for segment in range(len(data.ids)):
                words = slice(*data.offsets[segment : segment + 2])
                rows = slice(*data.frame_offsets[feature][segment : segment + 2])
                if feature == "pieces":  # ordered, too, but for the mark at the end, which is of no word
                    order, number = data.features[feature][rows, 1][:-1], places[words] + 1
                    first[words, m], stop[words, m] = order.searchsorted(number), order.searchsorted(number, "right")
                else:
                    times = data.frame_times[feature][rows]
                    first[words, m] = times.searchsorted(data.starts[words])
                    stop[words, m] = times.searchsorted(data.ends[words])
        elif feature in data.features:
            first[:, m], stop[:, m] = places, places + 1
    return WordRows(segments, first, stop)
