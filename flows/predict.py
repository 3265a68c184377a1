"""The flow `predict`: one video of one's own, from picture and sound to a page of what a trained model reads in it."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from flows.parameters import PredictParameters
from storage.feature_store import FeatureStore
from tasks.align import align
from tasks.extract import TEXT_FEATURES, extract
from tasks.own_video import cut
from tasks.predict import choose, predict, training_of
from tasks.prediction_files import write_prediction
from tasks.prediction_page import pictures, prediction_page
from tasks.workers import Workers


@flow(name="predict")
def predict_video(run: PredictParameters) -> Path:
    """Cut a video into segments, measure them as the model's training data was measured, and read them.

    What was measured of the same video before is not measured again. Returns the path of the page; beside it lie
    ``prediction.json``, ``segments.csv`` and ``words.csv``. Raises ChampionError, PredictionError, MediaError,
    TranscriptError and AlignmentError.
    """
    chosen = choose(run.models_folder, run.model)
    training = training_of(FeatureStore.open(run.store_url, create=False), chosen)
    store, folder = FeatureStore.open(str(run.output / "store")), str(run.video.absolute().parent)
    with store.coordinating(), Workers() as workers:
        store.write_segments(
            cut(run.video.absolute(), run.transcript, run.segments, not run.without_text, training.limits(run.pause),
                training.word_seconds)
        )  # fmt: skip
        steps = [align(store, workers, folder, training.aligner, trust_given=True, retry_failures=False)]
        for feature, instrument in training.instruments.items():
            if not (run.without_text and feature in TEXT_FEATURES):
                steps.append(extract(store, workers, folder, feature, instrument, retry_failures=False))
        reading = predict(store, steps, chosen, training)
        strip = pictures(workers, run.video.absolute())
    record = write_prediction(store, steps, chosen, reading, run.output)
    return prediction_page(run.video.absolute(), record, strip, run.output)
