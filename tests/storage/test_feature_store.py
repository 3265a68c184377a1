"""What a FeatureStore promises: whole commits, one committer, a main that moves by publish alone, clear refusals."""

import dataclasses
import json
import subprocess
import sys

import icechunk
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import aligned, repository
from storage.feature_store import FeatureStore
from storage.schema import Failure, Frames, StoreError, Word, fingerprint
from storage.segments import Segment, SegmentId
from tests.storage.store_records import (
    COLUMNS,
    RECIPE,
    assert_same_frames,
    batches,
    failures,
    frames,
    some_dataset,
    some_results,
    some_segments,
    some_unaligned,
    words,
)


@pytest.fixture
def url(tmp_path) -> str:
    return str(tmp_path / "store")


@pytest.fixture
def store(url) -> FeatureStore:
    return FeatureStore.open(url)


def versions(store: FeatureStore) -> icechunk.Repository:
    return icechunk.Repository.open(icechunk.local_filesystem_storage(store._repository.url))


def commits(store: FeatureStore) -> int:
    return len(list(versions(store).ancestry(branch="staging")))


def refusal(call, *arguments, **named) -> StoreError:
    with pytest.raises(StoreError) as raised:
        call(*arguments, **named)
    return raised.value


@settings(max_examples=5)
@given(batches(frames() | failures), batches(words | failures))
def test_what_was_appended_is_read_by_another_process_whatever_the_batches(tmp_path_factory, measured, spoken):
    url = str(tmp_path_factory.mktemp("s") / "store")
    store = FeatureStore.open(url)
    for part in measured:
        store.append("vision", RECIPE, COLUMNS, part)
    for part in spoken:
        store.append_words(RECIPE, part)
    reread = FeatureStore.open(url, create=False)
    for feature, parts in (("vision", measured), ("words", spoken)):
        results = {key: result for part in parts for key, result in part.items()}
        done = reread.done(feature, fingerprint(RECIPE))
        assert done == {key: result if isinstance(result, Failure) else None for key, result in results.items()}
        keys = [key for key, failure in done.items() if failure is None]
        if feature == "words" and keys:
            assert reread.words(fingerprint(RECIPE), keys) == {key: results[key] for key in keys}
        elif keys:
            found = reread.frames(feature, fingerprint(RECIPE), keys)
            for key in keys:
                assert_same_frames(found[key], results[key])


@settings(max_examples=3)
@given(st.randoms(use_true_random=False))
def test_the_digest_depends_on_the_data_alone(tmp_path_factory, random):
    """Not on the order of work, the number of commits, a forgotten failure or a publication."""
    results = some_results(0, 12)
    one, other = (FeatureStore.open(str(tmp_path_factory.mktemp("s") / "store")) for _ in range(2))
    one.write_segments(some_segments(4))
    one.append("vision", RECIPE, COLUMNS, results)
    one.write_aligned(RECIPE, some_dataset())

    other.write_aligned(RECIPE, some_dataset())
    other.write_segments(some_segments(2))
    other.publish(fingerprint(RECIPE))
    shuffled = random.sample(list(results.items()), len(results))
    cut = random.randint(1, 11)
    other.append("vision", RECIPE, COLUMNS, dict(shuffled[:cut]))
    other.forget_failures("vision", fingerprint(RECIPE))
    forgotten = {key: result for key, result in shuffled[:cut] if isinstance(result, Failure)}
    other.append("vision", RECIPE, COLUMNS, dict(shuffled[cut:]) | forgotten)
    assert one.digest() != other.digest()
    other.write_segments(some_segments(4))
    assert one.digest() == other.digest()


def test_one_append_is_one_commit_and_an_empty_one_none(store):
    before = commits(store)
    store.append("vision", RECIPE, COLUMNS, some_results(0, 7))
    assert commits(store) == before + 1
    store.append("vision", RECIPE, COLUMNS, {})
    assert commits(store) == before + 1


def test_a_key_is_appended_once_unless_its_failure_is_forgotten(store):
    name = fingerprint(RECIPE)
    store.append("vision", RECIPE, COLUMNS, {"a": Failure("no_face", "no face seen"), "b": some_results(0, 1)["key0"]})
    before = store.digest()
    for key in ("a", "b"):
        error = refusal(
            store.append, "vision", RECIPE, COLUMNS, {"c": some_results(1, 2)["key1"], key: Failure("x", "")}
        )
        assert error.reason == "duplicate_key" and repr(key) in str(error)
    assert store.digest() == before
    store.forget_failures("vision", name)
    assert store.done("vision", name) == {"b": None}
    store.append("vision", RECIPE, COLUMNS, {"a": some_results(1, 2)["key1"]})
    assert store.done("vision", name) == {"b": None, "a": None}


def test_recipes_and_features_are_kept_apart_and_described(store):
    store.append("vision", RECIPE, COLUMNS, some_results(0, 3))
    store.append(
        "vision", RECIPE | {"code": 2}, COLUMNS[:2], {"key0": Frames(np.ones((1, 2)), np.zeros(1), np.ones(1))}
    )
    store.append_words(RECIPE, {"key0": (Word("häßlich", 0, 0.5, 0.9, "aligned"),)})
    assert set(store.done("vision", fingerprint(RECIPE))) == {"key0", "key1", "key2"}
    assert set(store.done("vision", fingerprint(RECIPE | {"code": 2}))) == {"key0"}
    assert store.done("audio", fingerprint(RECIPE)) == {}
    session = versions(store).readonly_session("staging")
    group = zarr.open_group(session.store, mode="r")[f"features/vision/{fingerprint(RECIPE)}"]
    assert group.attrs["recipe"] == RECIPE and tuple(group.attrs["columns"]) == COLUMNS
    assert all('"checksum": true' in json.dumps(array.metadata.to_dict()) for _, array in group.arrays())


def test_bad_results_are_refused_whole(store):
    good = some_results(0, 1)["key0"]
    bad = {
        "bad_shape": dataclasses.replace(good, times=good.times[1:]),
        "bad_failure": Failure("", "for no reason"),
    }
    for reason, result in bad.items():
        error = refusal(store.append, "vision", RECIPE, COLUMNS, {"good": good, "bad": result})
        assert error.reason == reason and "'bad'" in str(error)
    assert refusal(store.append, "vision", RECIPE, COLUMNS[:2], {"good": good}).reason == "bad_shape"
    for name in ("../vision", "words"):
        assert refusal(store.append, name, RECIPE, COLUMNS, {"good": good}).reason == "bad_name"
    assert store.done("vision", fingerprint(RECIPE)) == {}


def test_what_is_not_there_is_said_in_a_sentence(store, url, tmp_path):
    name = fingerprint(RECIPE)
    assert refusal(store.frames, "vision", name, ["key0"]).reason == "unknown_fingerprint"
    store.append("vision", RECIPE, COLUMNS, some_results(0, 5))
    assert refusal(store.frames, "vision", name, ["nobody"]).reason == "unknown_key"
    assert refusal(store.frames, "vision", name, ["key4"]).reason == "failed_key"
    assert refusal(store.done, "vision", "../../etc").reason == "bad_name"
    assert refusal(store.aligned, name, at="staging").reason == "unknown_fingerprint"
    assert refusal(store.aligned, name).reason == "unpublished"
    assert refusal(store.segments, at="no-such-tag").reason == "unknown_ref"
    assert refusal(store.publish, name).reason == "unknown_fingerprint"
    assert refusal(FeatureStore.open, str(tmp_path / "nowhere"), create=False).reason == "absent"
    assert not (tmp_path / "nowhere").exists()
    assert refusal(FeatureStore.open, "gs://bucket/x").reason == "bad_url"
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "me.jpg").touch()
    assert refusal(FeatureStore.open, str(tmp_path / "photos")).reason == "not_a_store"


def test_the_segment_table_is_written_once(store):
    table = [Segment(SegmentId("../v", "1"), 1, given_words=(Word("a", 0, 1),)), *some_segments(3)]
    assert store.segments() == []
    store.write_segments(table)
    before = commits(store)
    store.write_segments([dataclasses.replace(segment) for segment in table])
    assert commits(store) == before
    assert repr(store.segments()) == repr(table)
    store.write_segments(table[:2])
    assert commits(store) == before + 1 and repr(store.segments()) == repr(table[:2])


def test_a_data_set_is_written_once_and_its_recipe_not_used_for_another(store):
    name = store.write_aligned(RECIPE, some_dataset())
    before = commits(store)
    assert name == store.write_aligned(RECIPE, some_dataset()) == fingerprint(RECIPE)
    assert commits(store) == before
    assert aligned.digest(store.aligned(name, at="staging")) == aligned.digest(some_dataset())
    assert refusal(store.write_aligned, RECIPE, some_dataset(seed=1)).reason == "recipe_reused"
    assert refusal(store.write_aligned, RECIPE, some_unaligned()).reason == "recipe_reused"


def test_an_unaligned_data_set_is_read_as_it_was_written(store):
    name = store.write_aligned(RECIPE, some_unaligned())
    found = store.aligned(name, at="staging")
    assert aligned.digest(found) == aligned.digest(some_unaligned())
    assert found.frame_offsets.keys() == found.frame_times.keys() == {"vision"}


def test_main_moves_by_publish_alone(store):
    first = store.write_aligned({"data": 1}, some_dataset(1))
    second = store.write_aligned({"data": 2}, some_dataset(2))
    assert store.published() is None and store.published("staging") is None

    published = store.publish(first)
    assert published == store.published() == store.published(published.tag) == store.published(published.snapshot)
    assert published.fingerprint == first and published.tag == f"aligned-{first}"

    store.write_segments(some_segments(2))
    store.append("vision", RECIPE, COLUMNS, some_results(0, 2))
    assert store.publish(first) == published == store.published()
    assert store.segments(at="main") == [] and len(store.segments()) == 2

    assert store.publish(second).tag == f"aligned-{second}"
    assert len(store.segments(at="main")) == 2
    again = store.publish(first)
    assert again.tag == f"aligned-{first}-2" and again.snapshot != published.snapshot
    assert store.published(published.tag) == published and store.segments(at=published.tag) == []
    assert aligned.digest(store.aligned(first)) == aligned.digest(some_dataset(1))


def test_what_was_published_before_a_data_set_is_known_before_and_after_its_own_publication(store):
    first, second = (store.write_aligned({"data": number}, some_dataset(number)) for number in (1, 2))
    assert store.published_before(first) is None
    published = store.publish(first)
    assert store.published_before(first) is None and store.published_before(second) == published
    store.write_segments(some_segments(2))
    later = store.publish(second)
    assert store.published_before(second) == published and store.published_before(first) == later


@pytest.mark.parametrize("cut_at", ["create_tag", "reset_branch"])
def test_a_publication_that_was_cut_short_is_carried_on(store, monkeypatch, cut_at):
    """Until main has moved nothing is published; then there is one tag, and one commit was enough."""
    name = store.write_aligned(RECIPE, some_dataset())

    def cut(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(icechunk.Repository, cut_at, cut)
        with pytest.raises(KeyboardInterrupt):
            store.publish(name)
    assert store.published() is None
    before = commits(store)
    assert store.publish(name).tag == f"aligned-{name}"
    assert commits(store) == before and versions(store).list_tags() == {f"aligned-{name}"}


def test_a_store_of_another_schema_version_is_refused(url, monkeypatch):
    FeatureStore.open(url)
    monkeypatch.setattr(repository, "SCHEMA_VERSION", 7)
    error = refusal(FeatureStore.open, url)
    assert error.reason == "schema_version" and "version 1" in str(error) and "version 7" in str(error)


def test_a_second_coordinator_is_kept_out_until_the_first_is_dead(store, url):
    """The one kept out is told who holds the store; SIGKILL frees it; reading needs no lock."""
    program = f"""
import sys
from storage.feature_store import FeatureStore
with FeatureStore.open({url!r}).coordinating():
    print("held", flush=True)
    sys.stdin.read()
"""
    holder = subprocess.Popen([sys.executable, "-c", program], stdin=-1, stdout=-1, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        for call, arguments in ((store.write_segments, [[]]), (store.coordinating().__enter__, [])):
            error = refusal(call, *arguments)
            assert error.reason == "locked" and f"process {holder.pid} on " in str(error)
        assert FeatureStore.open(url).segments() == []
    finally:
        holder.kill()
        holder.communicate()
    store.write_segments(some_segments(1))


def test_the_coordinator_may_open_its_store_again(store, url):
    with store.coordinating():
        FeatureStore.open(url).write_segments(some_segments(1))
    assert len(store.segments()) == 1


def test_standard_output_stays_clean(url):
    program = f"from storage.feature_store import FeatureStore; FeatureStore.open({url!r}).write_segments([])"
    ran = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    assert (ran.stdout, ran.stderr) == ("", "")
