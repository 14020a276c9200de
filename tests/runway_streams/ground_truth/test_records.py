"""Records: what is packed is unpacked, one by one as in bulk."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from runway_streams.errors import RunwayError
from runway_streams.ground_truth import slim
from runway_streams.ground_truth.full import Layout
from runway_streams.ground_truth.records import (
    Key,
    full_key,
    mark_key,
    pack_full,
    pack_slim,
    pack_slim_many,
    parse_key,
    slim_key,
    unpack_full,
    unpack_slim,
    unpack_slim_many,
)
from runway_streams.ground_truth.settings import Settings

cells = st.sampled_from([0.0, 0.0, 0.0, 1.0, -2.5, 1e-300, 1e300])
matrices = arrays(np.float64, st.tuples(st.integers(0, 4), st.just(12), st.just(slim.WIDTH)), elements=cells)
text = st.text(max_size=8)
hours = st.integers(-20_000_000, 20_000_000)


@given(matrices)
def test_slim_records_keep_every_cell(rows):
    records = pack_slim_many(rows)
    assert np.array_equal(unpack_slim_many(records)[0], rows)
    assert records == [pack_slim(row) for row in rows]


def test_a_slim_record_keeps_its_confusion_and_says_that_it_is_partial():
    record = unpack_slim(pack_slim(slim.empty(12), [(0, "a", "b", 3), (11, "b", "b", 1)], partial=True))
    assert record.confusion == [(0, "a", "b", 3), (11, "b", "b", 1)]
    assert record.partial


@given(text, text, text, text, hours, hours, text)
def test_keys_come_back(model, version, segment_key, value, event_hour, log_hour, digest):
    whose = (model, version, segment_key, value, event_hour, log_hour)
    assert parse_key(slim_key(*whose)) == Key("slim", *whose)
    assert parse_key(full_key(*whose, digest)) == Key("full", *whose, digest)


@pytest.mark.parametrize("key", [None, b"", b"{", b'["slim"]', b'["later",1]', b"[]", b"\xff", b'[1,"m"]'])
def test_unknown_keys_are_skipped(key):
    assert parse_key(key) is None


def test_the_mark_has_a_key():
    assert parse_key(mark_key()).kind == "mark"


def test_full_records_keep_families_and_sketches():
    layout = Layout.of(Settings("m", task="multiclass", labels=("a", "b")))
    whole = np.arange(layout.size, dtype=float)
    record = unpack_full(pack_full(layout, whole, {"feature": b"kll"}))
    assert np.array_equal(np.concatenate(list(record.families.values())), whole)
    assert record.families.keys() == layout.families.keys()
    assert record.sketches == {"feature": b"kll"}


def test_a_later_format_is_refused_with_a_remedy():
    later = b"\x95\x63" + pack_slim(slim.empty(12))[2:]
    with pytest.raises(RunwayError, match=r"format 99.*upgrade this process"):
        unpack_slim(later)
