"""Entities: geomm's heads against spaCy's blank `ner` pipeline, on the same documents and tokens.

Every contestant learns from the same documents, keeps the epoch that is best on the same validation
documents, and is judged on the same test documents (a fifth of all), with strict entity F1. spaCy trains
with its own batches, optimizer, dropout and weight averages until its validation F1 has not risen for
`--patience` epochs. Speed is that of bare updates and of bare prediction over the same tokens, in turns.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

WIKIGOLD = Path("..") / "shared" / "data" / "text" / "wikigold.conll.txt"


def overrides(args, seed, folder, head):
    schedule = ["schedule=fine_tune"] if head == "transformer" else [f"schedule.epochs={args.epochs}"]
    return [
        "task=ner",
        f"head={head}",
        *schedule,
        f"dataset.path={args.path}",
        f"dataset.split={{val: {args.val}, test: 0.2, seed: {seed}}}",
        "tracking=none",
        "runtime.workers=0",
        f"runtime.threads={args.threads}",
        f"seed={seed}",
        f"work_dir={folder}",
    ]


def prepare(args, seed, folder, head):
    """Return the source that `overrides` describe, prepared, and its spec and config."""
    from geomm.config import compose, resolve
    from geomm.config.compose import hydra_session
    from geomm.registry import TASKS, build

    with hydra_session():
        config = resolve(compose("train", overrides(args, seed, folder, head)))
    task = build(TASKS, config["task"])
    source = task.build_source(config)
    return source, source.prepare(folder / "cache"), config, task


def train_geomm(args, seed, folder, head):
    import geomm

    geomm.train(overrides(args, seed, folder, head))
    return json.loads((folder / "metrics.json").read_text())["test"]["F1"]


def make_spacy(labels, seed):
    import spacy

    spacy.util.fix_random_seed(seed)
    nlp = spacy.blank("en")
    ner = nlp.add_pipe("ner")
    for label in labels:
        ner.add_label(label)
    return nlp


def to_examples(nlp, documents):
    from spacy.tokens import Doc, Span
    from spacy.training import Example

    from geomm.text import biluo_spans

    examples = []
    for document in documents:
        truth = Doc(nlp.vocab, words=document.tokens)
        truth.ents = [Span(truth, a, b + 1, label=label) for a, b, label in biluo_spans(document.tags)]
        examples.append(Example(Doc(nlp.vocab, words=document.tokens), truth))
    return examples


def update_spacy(nlp, optimizer, examples, order):
    from spacy.training.batchers import minibatch_by_words

    for batch in minibatch_by_words([examples[i] for i in order], 1000, discard_oversize=False):
        nlp.update(batch, sgd=optimizer, drop=0.1)


def train_spacy(args, seed, folder):
    import numpy as np

    source, spec, *_ = prepare(args, seed, folder, "bilstm_crf")
    nlp = make_spacy(spec.labels, seed)
    train, val, test = (to_examples(nlp, source.documents[name]) for name in ("train", "val", "test"))
    optimizer = nlp.initialize(lambda: train)
    rng = np.random.default_rng(seed)
    best, kept, waited, epochs = -1.0, b"", 0, 0
    while waited < args.patience and epochs < args.spacy_epochs:
        epochs += 1
        update_spacy(nlp, optimizer, train, rng.permutation(len(train)))
        with nlp.use_params(optimizer.averages):
            score = nlp.evaluate(val)["ents_f"] or 0.0
            if score > best:
                best, kept, waited = score, nlp.to_bytes(), 0
            else:
                waited += 1
    print(f"  spaCy stopped after {epochs} epochs, validation F1 {best:.4f}", flush=True)
    nlp.from_bytes(kept)
    return nlp.evaluate(test)["ents_f"]


def speeds(args, folder):
    """Return tokens a second of training and inference of both, medians of rounds taken in turns."""
    import numpy as np
    import torch
    from mmengine.optim import OptimWrapper
    from spacy.tokens import Doc

    torch.set_num_threads(args.threads)
    source, spec, config, task = prepare(args, 0, folder, "bilstm_crf")
    documents = source.documents["train"]
    tokens = sum(len(document.offsets) for document in documents)
    model = task.build_model(config, spec)
    wrapper = OptimWrapper(torch.optim.AdamW(model.parameters(), lr=1e-3), clip_grad={"max_norm": 5.0})
    windows, size = source.split("train"), config["schedule"]["batch_size"]
    nlp = make_spacy(spec.labels, 0)
    examples = to_examples(nlp, documents)
    optimizer = nlp.initialize(lambda: examples)
    rng = np.random.default_rng(0)

    def learn_geomm():
        model.train()
        order = rng.permutation(len(windows))
        for at in range(0, len(order), size):
            model.train_step(task.collate([windows[i] for i in order[at : at + size]]), wrapper)

    def find_geomm():
        from geomm.inference.texts.predict import find_entities

        model.eval()
        list(find_entities(model, documents, spec.window_tokens))

    def find_spacy():
        list(nlp.pipe([Doc(nlp.vocab, words=document.tokens) for document in documents]))

    jobs = {
        ("training", "geomm bilstm_crf"): learn_geomm,
        ("training", "spaCy"): lambda: update_spacy(nlp, optimizer, examples, rng.permutation(len(examples))),
        ("inference", "geomm bilstm_crf"): find_geomm,
        ("inference", "spaCy"): find_spacy,
    }
    rates = {key: [] for key in jobs}
    for turn in range(args.rounds + 1):
        for key, job in jobs.items():
            started = time.perf_counter()
            job()
            if turn:  # the first warms up
                rates[key].append(tokens / (time.perf_counter() - started))
    return {key: statistics.median(values) for key, values in rates.items()}


def main(argv):
    parser = argparse.ArgumentParser(prog="benchmark.py ner", description=__doc__)
    parser.add_argument("--path", default=str(WIKIGOLD))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--spacy-epochs", type=int, default=60)
    parser.add_argument("--patience", type=int, default=8)
    parser.add_argument(
        "--val", type=float, default=0.08, help="share of the documents that choose the epoch"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--transformer", action="store_true", help="also the transformer head")
    args = parser.parse_args(argv)
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    scores = {"geomm bilstm_crf": [], "spaCy blank ner": []}
    scores |= {"geomm transformer (all-MiniLM-L6-v2)": []} if args.transformer else {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        rates = speeds(args, folder / "speed")
        for (what, name), rate in rates.items():
            print(f"{what}, {name}: {rate:,.0f} tokens/s", flush=True)
        for seed in range(args.seeds):
            for name, found in scores.items():
                where = folder / f"{len(found)}_{name.split()[1]}"
                if name.startswith("spaCy"):
                    found.append(train_spacy(args, seed, where))
                else:
                    head = "transformer" if "transformer" in name else "bilstm_crf"
                    found.append(train_geomm(args, seed, where, head))
                print(f"seed {seed}, {name}: F1 {found[-1]:.4f}", flush=True)
    print(f"\n| model | test F1, mean of {args.seeds} seeds | each |\n|---|---|---|")
    for name, found in scores.items():
        print(f"| {name} | {statistics.mean(found):.4f} | {', '.join(f'{x:.4f}' for x in found)} |")
    print("\n| | training, tokens/s | inference, tokens/s |\n|---|---|---|")
    for name in ("geomm bilstm_crf", "spaCy"):
        print(f"| {name} | {rates['training', name]:,.0f} | {rates['inference', name]:,.0f} |")
    return 0
