"""Reading text, turning it into numbers and back, and drawing batches."""

import json
import os

import numpy as np
import pytest

import npformer as npf
from npformer.core.errors import InputError
from npformer.data import Batches, CharTokenizer, default_text, digest, in_order, read_text, split

TEXT = "the quick brown fox jumps over the lazy dog.\n" * 20


def test_default_text_is_real_english_and_the_same_each_time():
    text = default_text()
    assert len(text) > 300_000
    assert text.count(" the ") > 1000
    assert digest(text) == digest(default_text())


# ── files ─────────────────────────────────────────────────────────────────────────────────────────


def test_read_text_takes_utf8_with_and_without_a_byte_order_mark(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes("Grüße, 世界\r\nund mehr".encode())
    assert read_text(path) == "Grüße, 世界\nund mehr"
    path.write_bytes(b"\xef\xbb\xbfabc")
    assert read_text(path) == "abc"


@pytest.mark.parametrize("content, words", [
    (b"", "is empty"),
    (b"abc\0def", "binary file: byte 3 is 0"),
    (b"abc\xe9def", "not UTF-8: byte 3 is 0xe9"),
    (b"\xef\xbb\xbfab\xe9", "not UTF-8: byte 5 is 0xe9"),
])
def test_read_text_refuses_what_is_no_text(tmp_path, content, words):
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_text(path)


def test_read_text_says_missing_folder_and_unreadable(tmp_path):
    with pytest.raises(InputError, match="there is no such file"):
        read_text(tmp_path / "no.txt")
    with pytest.raises(InputError, match="is a folder"):
        read_text(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        read_text("a\0b")
    path = tmp_path / "closed.txt"
    path.write_text("abc")
    path.chmod(0)
    if not os.access(path, os.R_OK):               # root reads everything
        with pytest.raises(InputError, match="cannot be read: Permission denied"):
            read_text(path)


# ── characters ────────────────────────────────────────────────────────────────────────────────────


def test_tokenizer_goes_there_and_back_and_through_json():
    tokenizer = CharTokenizer.of("hello wörld")
    assert tokenizer.vocabulary == " dehlorwö"
    ids = tokenizer.encode("hello")
    assert ids.tolist() == [3, 2, 4, 4, 5]
    assert CharTokenizer(json.loads(json.dumps(tokenizer.vocabulary))).decode(ids) == "hello"
    for outside in (-1, len(tokenizer)):
        with pytest.raises(npf.IndexRangeError, match=f"decode: number {outside} is out of range"):
            tokenizer.decode([0, outside])
    assert len(tokenizer) == 9
    assert tokenizer.encode("").shape == (0,)


def test_tokenizer_names_the_unknown_character():
    with pytest.raises(InputError,
                       match=r"the character 'x' \(place 2\) is not in the vocabulary.\n"
                             r"  unknown: 'xyz'"):
        CharTokenizer("ab").encode("abxyzx")
    with pytest.raises(InputError, match="stands there twice"):
        CharTokenizer("aba")


# ── batches ───────────────────────────────────────────────────────────────────────────────────────


def test_split_loses_nothing():
    first, rest = split(np.arange(101), 0.9)
    assert len(first) == 90 and np.array_equal(np.concatenate([first, rest]), np.arange(101))


def test_batches_are_windows_with_y_one_ahead():
    x, y = next(Batches(np.arange(50), batch=7, context=5, seed=1))
    assert x.shape == y.shape == (7, 5)
    assert np.array_equal(y.array, x.array + 1)
    assert np.array_equal(np.diff(x.array, axis=1), np.ones((7, 4)))
    assert len(set(x.array[:, 0].tolist())) > 1


def test_batches_reach_the_first_and_the_last_window():
    batches = Batches(np.arange(7), batch=200, context=4)
    assert set(next(batches)[0].array[:, 0].tolist()) == {0, 1, 2}


def test_batches_are_seeded_and_go_on_from_a_saved_state():
    ids = CharTokenizer.of(TEXT).encode(TEXT)
    a, b, c = (Batches(ids, 4, 8, seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(next(a)[0].array, next(b)[0].array)
    assert not np.array_equal(next(a)[0].array, next(c)[0].array)
    state = json.loads(json.dumps(a.state_dict()))
    expected = [next(a)[0].array for _ in range(3)]
    c.load_state_dict(state)
    for x in expected:
        assert np.array_equal(next(c)[0].array, x)


def test_text_that_just_fits_and_text_that_is_too_short():
    x, y = next(Batches(np.arange(6), batch=2, context=5))
    assert x.array.tolist() == [[0, 1, 2, 3, 4]] * 2
    with pytest.raises(InputError, match=r"too short: 5 characters.*\n.*at most 4"):
        Batches(np.arange(5), batch=2, context=5)


def test_in_order_covers_the_text_once():
    batches = list(in_order(np.arange(24), batch=2, context=5))
    assert [x.shape for x, _ in batches] == [(2, 5), (2, 5)]
    assert np.concatenate([x.array.reshape(-1) for x, _ in batches]).tolist() == list(range(20))
    assert np.concatenate([y.array.reshape(-1) for _, y in batches]).tolist() == list(range(1, 21))
    assert list(in_order(np.arange(5), batch=2, context=5)) == []
    assert sum(len(x.array) for x, _ in in_order(np.arange(100), 4, 5, most=6)) == 6
