"""No token of a row reaches a token that may not see it, and every other does, through the whole model."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from music_flamingo.batch import PackedBatch, PrefixTree, RowBuilder
from music_flamingo.models import MusicFlamingo
from tests.builders import tiny_model
from tests.layouts import forests, who_sees_whom

VOCABULARY = 300
NO_AUDIO = -1


@pytest.fixture(scope="module")
def model() -> MusicFlamingo:
    return tiny_model()


def text_row(tree: PrefixTree) -> PackedBatch:
    ids = torch.randint(6, VOCABULARY, (tree.num_tokens,), generator=torch.Generator().manual_seed(tree.num_tokens))
    row = RowBuilder(NO_AUDIO)
    for part, parent in zip(ids.split(list(tree.lengths)), tree.parents, strict=True):
        row.add(part, parent=parent)
    return row.build()


@settings(max_examples=30)
@given(tree=forests())
def test_another_word_changes_exactly_the_tokens_that_may_see_it(model: MusicFlamingo, tree: PrefixTree) -> None:
    row = text_row(tree)
    changed = []
    with torch.no_grad():
        before = model.hidden_states(row)
        for token in range(tree.num_tokens):
            ids = row.input_ids.clone()
            ids[token] = (ids[token] + 1) % VOCABULARY
            changed.append((model.hidden_states(replace(row, input_ids=ids)) != before).any(1))
    assert torch.equal(torch.stack(changed, 1), who_sees_whom(tree))


@settings(max_examples=15)
@given(tree=forests(max_segments=5, max_length=3))
def test_a_hidden_state_has_gradients_at_the_embeddings_it_may_see_and_at_no_others(
    model: MusicFlamingo, tree: PrefixTree
) -> None:
    row = text_row(tree)
    embeddings = model.embed_tokens(row.input_ids).detach()
    audio = embeddings.requires_grad_()  # every token stands where a song's would
    hidden = model.hidden_states(replace(row, audio_positions=torch.arange(tree.num_tokens)), audio)
    weight = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(0))
    depends = [
        (torch.autograd.grad(token, audio, retain_graph=True)[0] != 0).any(1) for token in (hidden * weight).sum(1)
    ]
    assert torch.equal(torch.stack(depends), who_sees_whom(tree))


@settings(max_examples=30)
@given(tree=forests(), data=st.data())
def test_some_rows_read_alone_are_those_of_all(model: MusicFlamingo, tree: PrefixTree, data: st.DataObject) -> None:
    row = text_row(tree)
    some = data.draw(st.sets(st.integers(0, tree.num_tokens - 1), min_size=1).map(sorted), label="rows")
    with torch.no_grad():
        alone = model.hidden_states(row, rows=torch.tensor(some))
        torch.testing.assert_close(alone, model.hidden_states(row)[some], rtol=0, atol=1e-5)
