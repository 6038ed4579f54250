"""A training set over a history that does not fit has the digest of one built from all of it at once."""

import pickle
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store.compute import Mode
from feature_store.training import dataset_spill
from feature_store.training.bucket_answers import Answer, Answered, Bucket, run_here
from feature_store.training.dataset import build_dataset, rebuild_dataset
from headrace.config import Settings
from headrace.errors import RejectedError
from headrace.spec.features import FeatureView
from tests.shop_history import HOUR_US, SHOP, START_US, write_history


def run_elsewhere(view: FeatureView, answer: Answer, buckets: Iterable[Bucket], /) -> Iterator[Answered]:
    """As other machines do: everything travels as bytes, and the last to be asked is the first to answer."""
    sent = [pickle.dumps((answer, bucket)) for bucket in buckets]
    for there, bucket in map(pickle.loads, reversed(sent)):
        yield from run_here(view, there, [bucket])


@pytest.mark.filterwarnings("ignore:.*arrived long after:UserWarning")
@settings(deadline=None, max_examples=20)
@given(
    events=st.integers(2, 120),
    seed=st.integers(0, 2**16),
    cut=st.integers(3, 60),
    memory=st.integers(1, 200_000),
    mode=st.sampled_from(["as_served", "corrected"]),
    span=st.tuples(st.integers(0, 30), st.integers(31, 70), st.integers(20, 80)),
)
def test_it_is_the_same_data_set(
    tmp_path_factory: pytest.TempPathFactory,
    events: int,
    seed: int,
    cut: int,
    memory: int,
    mode: Mode,
    span: tuple[int, int, int],
) -> None:
    home, model = Settings(home=tmp_path_factory.mktemp("home")), SHOP.models[0]
    write_history(home, events, seed, cut)
    start_us, end_us, as_of_us = (START_US + hours * HOUR_US for hours in span)
    asked = {"start_us": start_us, "end_us": end_us, "as_of_us": as_of_us, "mode": mode}
    built = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset_spill, "_FEWEST_ROWS", 7)
        for bound, run in ((None, run_here), (memory, run_here), (memory, run_elsewhere)):
            try:
                built.append(build_dataset(home, SHOP, model, memory_bytes=bound, run=run, **asked))
            except RejectedError as error:
                built.append(str(error))

    assert built[0] == built[1] == built[2]
    if not isinstance(built[0], str):
        assert rebuild_dataset(home, SHOP, built[0]) == built[0].content_hash
