"""The BiLSTM-CRF: what it sees of words, and that batches change nothing."""

import pytest
import torch

from geomm.models.texts.bilstm_crf import BiLstmCrf
from geomm.models.texts.word_features import (
    VIEWS,
    WordFeatures,
    character_row,
    character_rows,
    word_shape,
    word_views,
)
from geomm.text import TextSpec, biluo_spans

WORDS = [["Police", "went", "to", "Toledo", "."], ["Ann"], ["He", "left", "El", "Paso", "in", "1999", "."]]
TAGS = [["O", "O", "O", "U-PLACE", "O"], ["U-NAME"], ["O", "O", "B-PLACE", "L-PLACE", "O", "O", "O"]]
BREAKS = [[], [], [2]]


def make(**changes):
    torch.manual_seed(0)
    options = {"rows": [64] * 5, "widths": [4] * 5, "char_filters": 8, "hidden": 16, **changes}
    return BiLstmCrf(spec=TextSpec(("NAME", "PLACE")), **options)


@pytest.fixture(scope="module")
def trained():
    """A model that knows three texts by heart; random weights would hide what goes wrong."""
    model = make(dropout=0.0, word_dropout=0.0).train()
    optimizer = torch.optim.AdamW(model.parameters(), 0.02)
    for _ in range(60):
        optimizer.zero_grad()
        model(WORDS, BREAKS, TAGS, mode="loss")["loss"].backward()
        optimizer.step()
    return model.eval()


def test_it_learns(trained):
    assert trained.predict_tags(WORDS, BREAKS) == TAGS


def test_a_text_has_the_same_emissions_whatever_is_in_its_batch(trained):
    together = trained(WORDS, BREAKS)
    for row, (words, breaks) in enumerate(zip(WORDS, BREAKS, strict=True)):
        alone = trained([words], [breaks])
        torch.testing.assert_close(together[row, : len(words)], alone[0])


def test_spans_are_those_of_the_tags_with_probabilities(trained):
    for found, tags in zip(trained.predict_spans(WORDS, BREAKS), TAGS, strict=True):
        assert [span[:3] for span in found] == biluo_spans(tags)
        assert all(0.5 < span[3] <= 1.0 for span in found)


def test_predictions_go_with_their_truth(trained):
    found = trained(WORDS, BREAKS, TAGS, name=["a", "b", "c"], mode="predict")
    assert [item["truth"] for item in found] == TAGS
    assert found[1] == {"words": ["Ann"], "prediction": ["U-NAME"], "truth": ["U-NAME"], "name": "b"}
    assert trained(WORDS, BREAKS, mode="predict")[0]["truth"] is None


@pytest.mark.parametrize("changes", [{"decoder": "linear"}, {"layers": 2}, {"char_filters": 0}])
def test_variants_learn_too(changes):
    model = make(**changes).train()
    before = model(WORDS, BREAKS, TAGS, mode="loss")["loss"]
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 0.02)
    for _ in range(15):
        optimizer.zero_grad()
        loss = model(WORDS, BREAKS, TAGS, mode="loss")["loss"]
        loss.backward()
        optimizer.step()
    assert loss < 0.5 * before


def test_words_that_training_never_met_share_the_unknown_rows(trained):
    model = make(rows=[4096] * 5).train()
    model([["abc", "def"]], [[]])
    model.eval()
    views = torch.from_numpy(model.words.features.encode(["abc", "xyzzy"])[0])
    known = model.words._known(views)
    assert torch.equal(known[0], views[0])
    assert known[1, VIEWS.index("form")] == 0
    assert known[1, VIEWS.index("shape")] == views[1, VIEWS.index("shape")]  # xxx, as abc


def test_views_of_a_word():
    assert word_views("McDonald's") == ("mcdonald's", "mcd", "d's", "'s", "XxXxxx'x")
    assert word_views("3/4/2017")[0] == "0/0/0000"
    assert word_shape("AAAAAaaa11111-") == "XXXxxxddd-"


def test_features_do_not_depend_on_the_process():
    features = WordFeatures([1000] * 5, chars=6)
    rows, letters = features.encode(["Toledo", "internationally"])
    assert rows[0].tolist() == WordFeatures([1000] * 5, chars=6).encode(["Toledo"])[0][0].tolist()
    assert rows.min() > 0 and rows.max() < 1000
    assert letters[1].tolist() == [character_row(c) for c in "intlly"]
    assert all(0 < character_row(c) < character_rows() for c in "aé中\U0001f600\0")
