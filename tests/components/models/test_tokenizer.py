"""A vocabulary of one's own reads like open_clip's whole one, and open_clip reads it too."""

from __future__ import annotations

import io

import open_clip
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from components.models.tokenizer import size, tokenizer, vocabulary

CAPTIONS = ["the digit three", "an ankle boot", "a green t-shirt on a striped black background", "it's blurred"]
PACKED = vocabulary(CAPTIONS)
OURS, THEIRS = tokenizer(PACKED, 14), open_clip.SimpleTokenizer(bpe_path=io.BytesIO(PACKED), context_length=14)


@given(st.text(max_size=30))
def test_any_text_tokenises_as_open_clip_does_with_this_file(text):
    if "_of_text>" in text:
        return
    assert torch.equal(OURS([text]), THEIRS([text]))


@pytest.mark.parametrize("caption", CAPTIONS)
def test_captions_split_as_under_the_whole_vocabulary(caption):
    whole = open_clip.SimpleTokenizer()
    pieces = [whole.decoder[token] for token in whole.encode(caption)]
    assert pieces == [THEIRS.decoder[token] for token in THEIRS.encode(caption)]


def test_end_of_text_is_the_largest_id_and_ends_every_text():
    tokens = OURS([*CAPTIONS, "x" * 99, ""])
    assert tokens.shape == (6, 14)
    assert (tokens.max(1).values == size(PACKED) - 1).all()
    assert THEIRS.vocab_size == size(PACKED)


def test_the_vocabulary_is_the_same_for_the_same_words_in_any_order():
    assert vocabulary(reversed(CAPTIONS)) == PACKED


def test_a_folder_and_its_bytes_are_the_same_tokeniser(tmp_path):
    (tmp_path / "bpe.txt.gz").write_bytes(PACKED)
    assert torch.equal(tokenizer(str(tmp_path), 14)(CAPTIONS), OURS(CAPTIONS))


def test_text_that_spells_a_special_token_is_text():
    assert (OURS(["<end_of_text>"]) == size(PACKED) - 1).sum() == 1
