"""Accuracy of detection: geomm's heads against the same mmdet detectors, trained by mmengine's Runner alone.

`compare` trains a head over ResNet-18 twice from chance on the same samples, in the same order, with the same
optimizer, course of the rate and number of steps: once as geomm wires it, once as mmdet's own config stands,
with mmdet's ResNet. Both keep the epoch that validates best. Of scenes, the part that was not trained on is
searched too, and what is found is judged after merging. `heads` trains geomm's heads one after another and
prints AP50 and the processor time of training and inference side by side.
"""

import argparse
import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

import geomm
from geomm.config import compose, resolve
from geomm.config.compose import hydra_session
from geomm.datasets.sampling import EpochSampler
from geomm.engine.optimization import optim_wrapper, param_scheduler
from geomm.metrics.detection import DetectionMetric
from geomm.models.frameworks import load_framework
from geomm.models.objects.wiring import published_folder
from geomm.registry import TASKS, build
from geomm.samples import make
from geomm.structures import Objects

PALMS = Path("..") / "shared" / "data" / "palms_export"
CONFIGS = {
    "retinanet": "retinanet/retinanet_r18_fpn_1x_coco",
    "faster_rcnn": "faster_rcnn/faster-rcnn_r50_fpn_1x_coco",
    "ssd": "ssd/ssd300_coco",
    "yolov3": "yolo/yolov3_d53_8xb8-320-273e_coco",
}
#: Channels of ResNet-18's stages, for configs written for ResNet-50.
WIDTHS = [64, 128, 256, 512]
ALL_HEADS = ("ssd", "retinanet", "yolov3", "faster_rcnn", "mask_rcnn")
#: Narrower necks and heads than published, so that two cores suffice; the same for both contestants.
NARROW = {
    "retinanet": {"neck.out_channels": 64, "bbox_head.feat_channels": 64, "bbox_head.stacked_convs": 2},
    "faster_rcnn": {
        "neck.out_channels": 64,
        "rpn_head.feat_channels": 64,
        "roi_head.bbox_head.fc_out_channels": 256,
        "train_cfg.rpn_proposal.max_per_img": 300,
        "train_cfg.rcnn.sampler.num": 256,
    },
    "ssd": {"neck.out_channels": [128, 64, 64]},
    "yolov3": {"neck.out_channels": [128, 64, 32], "bbox_head.out_channels": [256, 128, 64]},
}
NARROW["mask_rcnn"] = {
    **NARROW["faster_rcnn"],
    "roi_head.mask_head.num_convs": 2,
    "roi_head.mask_head.conv_out_channels": 64,
}
#: What geomm fills in by itself and mmdet's config has to be told: the channels between the parts.
FOLLOWS = {
    "retinanet": ["bbox_head.in_channels"],
    "faster_rcnn": [
        "rpn_head.in_channels",
        "roi_head.bbox_roi_extractor.out_channels",
        "roi_head.bbox_head.in_channels",
    ],
    "ssd": [],
    "yolov3": [],
}
#: Stages of ResNet-18 that a head reads, for configs written for another backbone.
STAGES = {"ssd": (1, 2), "yolov3": (1, 2, 3)}
#: Edges of SSD's anchors by level, shares of the image's edge: those that mmdet's config comes to.
SSD_EDGES = (0.07, 0.15, 0.40, 0.65, 0.90, 1.15)


def overrides(args, head, seed, folder):
    data = {
        "palms": [
            "dataset=chips",
            f"dataset.root={args.root}",
            f"dataset.window_px={args.window or 'null'}",
            "dataset.split.seed=0",
        ],
        "crowns": [
            "dataset=geotiff",
            "dataset.sample=tree_crowns",
            "dataset.classes=[tree crown]",
            f"dataset.window_px={args.window or 256}",
            f"dataset.windows_per_epoch={args.windows}",
            "dataset.split.seed=0",
        ],
    }[args.data]
    return [
        f"task={'instance_segmentation' if head == 'mask_rcnn' else 'detection'}",
        *data,
        "backbone=resnet18",
        f"head={head}",
        *narrow(args, head),
        f"schedule.epochs={args.epochs}",
        f"schedule.val_interval={args.every}",
        "schedule.patience=null",
        "runtime.workers=0",
        f"runtime.amp={args.amp}",
        "runtime.device=auto",
        "tracking=none",
        f"seed={seed}",
        f"work_dir={folder}",
    ]


def shrink(root, by, folder):
    """Copy an export of boxes with its chips ``by`` times coarser."""
    shutil.copytree(root, folder)
    for path in (folder / "images").glob("*.jpg"):
        with Image.open(path) as image:
            image.reduce(by).save(path, quality=95)
        world = path.with_suffix(".jgw")
        turned = [float(line) for line in world.read_text().split()]
        edge, down = turned[0], turned[3]
        move = (by - 1) / 2  # a world file names the centre of the first pixel
        lines = [edge * by, 0.0, 0.0, down * by, turned[4] + move * edge, turned[5] + move * down]
        world.write_text("\n".join(map(str, lines)))
        path.with_suffix(".jpg.aux.xml").unlink(missing_ok=True)
    for path in (folder / "labels").glob("*.xml"):
        tree = ElementTree.parse(path)
        for tag in ("width", "height", "xmin", "ymin", "xmax", "ymax"):
            for node in tree.iter(tag):
                node.text = f"{float(node.text) / by:g}"
        tree.write(path)
    return folder


def narrow(args, head):
    """Return the overrides that make a head as narrow as asked."""
    changes = {} if args.published else NARROW[head]
    return [f"head.{key}={json.dumps(value).replace(' ', '')}" for key, value in changes.items()]


def train_geomm(args, head, seed, folder):
    """Train as a user does; return AP50 of validation, seconds, and what finds objects."""
    started = time.perf_counter()
    package = geomm.train(overrides(args, head, seed, folder))
    seconds = time.perf_counter() - started
    metrics = json.loads((folder / "metrics.json").read_text())
    return metrics["val"]["AP50"], seconds, package.model.detect, package.spec


class Packed(Dataset):
    """geomm's samples as mmdet's own datasets pack them."""

    def __init__(self, samples):
        self.samples = samples

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        from mmdet.structures import DetDataSample
        from mmengine.structures import InstanceData

        sample = self.samples[index]
        objects = sample.extras["objects"]
        ignored = np.zeros(len(objects), bool) if objects.ignored is None else objects.ignored
        size = sample.valid.shape
        packed = DetDataSample(metainfo={"img_shape": size, "ori_shape": size, "scale_factor": (1.0, 1.0)})
        for name, chosen in (("gt_instances", ~ignored), ("ignored_instances", ignored)):
            part = objects[chosen]
            boxes, labels = torch.from_numpy(part.boxes).reshape(-1, 4), torch.from_numpy(part.labels)
            setattr(packed, name, InstanceData(bboxes=boxes, labels=labels))
        return {"inputs": torch.from_numpy(sample.image.astype(np.float32)), "data_samples": packed}


def plain_model(args, head, spec):
    """Build mmdet's detector from mmdet's own config.

    Other than published are only the classes, statistics, ResNet-18 from chance, the number of objects a
    window, and the width where it is not the published one.
    """
    load_framework("mmdet")
    from mmdet.registry import MODELS
    from mmengine.config import Config
    from mmengine.registry import DefaultScope

    published = Config.fromfile(str(published_folder() / f"{CONFIGS[head]}.py"))
    last = "model.test_cfg.rcnn" if head == "faster_rcnn" else "model.test_cfg"
    published.merge_from_dict({f"{last}.max_per_img": 300})
    if not args.published:
        width = NARROW[head]["neck.out_channels"]
        changes = {**NARROW[head], **dict.fromkeys(FOLLOWS[head], width)}
        published.merge_from_dict({f"model.{key}": value for key, value in changes.items()})
    cfg = published.model
    if head in STAGES:
        other_backbone(cfg, head, spec.window_px)
    else:
        cfg.backbone.update(depth=18, init_cfg=None, frozen_stages=-1, norm_eval=False)
        cfg.neck["in_channels"] = WIDTHS
    cfg.backbone["in_channels"] = spec.in_channels
    cfg.data_preprocessor.update(
        mean=list(spec.statistics.mean), std=list(spec.statistics.std), bgr_to_rgb=False
    )
    heads = cfg.roi_head.bbox_head if head == "faster_rcnn" else cfg.bbox_head
    heads["num_classes"] = spec.num_classes
    with DefaultScope.overwrite_default_scope("mmdet"):
        model = MODELS.build(cfg)
        model.init_weights()
    if head == "ssd":
        model.bbox_head.loss_cls = None  # mmdet's predict reads it, and its SSDHead never sets it
    return model


def other_backbone(cfg, head, window_px):
    """Put ResNet-18 in the place of the VGG or Darknet that a config is written for."""
    stages = STAGES[head]
    widths = [WIDTHS[stage] for stage in stages]
    cfg["backbone"] = {"type": "ResNet", "depth": 18, "out_indices": stages, "norm_eval": False}
    if head == "yolov3":
        cfg.neck["in_channels"] = widths[::-1]
        cfg.bbox_head["in_channels"] = cfg.neck["out_channels"]
        return
    channels = (*widths, *cfg.neck["out_channels"][-3:])
    cfg.neck.update(
        in_channels=tuple(widths),
        out_channels=channels,
        level_strides=(2, 2, 2),
        level_paddings=(1, 1, 1),
        l2_norm_scale=None,
    )
    cfg.bbox_head["in_channels"] = channels
    edges = [share * window_px for share in SSD_EDGES]
    cfg.bbox_head["anchor_generator"] = {
        "type": "SSDAnchorGenerator",
        "scale_major": False,
        "strides": [8, 16, 32, 64, 128],
        "ratios": [[2], [2, 3], [2, 3], [2, 3], [2]],
        "min_sizes": edges[:-1],
        "max_sizes": edges[1:],
    }


def prepared(args, head, seed, folder):
    """Return the run's config, and its data as geomm prepares them."""
    with hydra_session():
        config = resolve(compose("train", overrides(args, head, seed, folder)))
    source = build(TASKS, config["task"]).build_source(config)
    return config, source, source.prepare(folder / "cache")


def train_plain(args, head, seed, folder):
    """Train mmdet's own by mmengine's Runner; return what ``train_geomm`` returns."""
    from mmengine.device import get_device
    from mmengine.hooks import Hook
    from mmengine.runner import Runner

    config, source, spec = prepared(args, head, seed, folder)
    schedule = config["schedule"]
    torch.manual_seed(seed)
    model = plain_model(args, head, spec)
    data = Packed(source.split("train"))
    loader = DataLoader(
        data,
        batch_size=schedule["batch_size"],
        sampler=EpochSampler(data, shuffle=True, seed=seed),
        collate_fn=lambda samples: {key: [s[key] for s in samples] for key in samples[0]},
    )
    detect = plain_detect(model)
    best = {"AP50": -1.0}

    class JudgeHook(Hook):
        def after_train_epoch(self, runner):
            if not self.every_n_epochs(runner, args.every) and not self.is_last_train_epoch(runner):
                return
            score = judge(detect, source.split("val"), spec)
            if score > best["AP50"]:
                state = {key: value.clone() for key, value in model.state_dict().items()}
                best.update(AP50=score, state=state)

    started = time.perf_counter()
    runner = Runner(
        model=model,
        work_dir=str(folder / "plain"),
        train_dataloader=loader,
        train_cfg={"by_epoch": True, "max_epochs": schedule["epochs"]},
        optim_wrapper=optim_wrapper(schedule, config["runtime"], torch.device(get_device())),
        param_scheduler=param_scheduler(schedule, len(loader)),
        custom_hooks=[JudgeHook()],
        default_hooks={"checkpoint": None},
        default_scope="mmdet",
        log_level="ERROR",
        experiment_name=f"plain_{head}_{seed}",
    )
    runner.train()
    model.load_state_dict(best["state"])
    return best["AP50"], time.perf_counter() - started, detect, spec


def plain_detect(model):
    """Return mmdet's model as a function from raw pixels to objects."""
    from mmdet.structures import DetDataSample

    @torch.no_grad()
    def detect(inputs, valid):
        training = model.training
        model.eval()
        size = tuple(inputs.shape[-2:])
        meta = {"img_shape": size, "ori_shape": size, "scale_factor": (1.0, 1.0)}
        samples = [DetDataSample(metainfo=meta) for _ in inputs]
        found = model.test_step({"inputs": list(inputs.float()), "data_samples": samples})
        model.train(training)
        return [
            Objects(
                sample.pred_instances.bboxes.cpu().numpy(),
                sample.pred_instances.labels.cpu().numpy(),
                sample.pred_instances.scores.cpu().numpy(),
            )
            for sample in found
        ]

    return detect


def judge(detect, samples, spec):
    """Return AP50 over samples."""
    metric = DetectionMetric([item.name for item in spec.classes])
    for index in range(len(samples)):
        sample = samples[index]
        inputs = torch.from_numpy(sample.image.astype(np.float32))[None]
        (found,) = detect(inputs, torch.from_numpy(sample.valid)[None])
        metric.process(None, [{"prediction": found, "objects": sample.extras["objects"]}])
    return metric.evaluate(len(samples))["AP50"]


def judge_scene(detect, spec, folder):
    """Return AP50 of the merged boxes of the scene that was not trained on, and seconds."""
    from geomm.inference import ObjectOptions, judge_objects, predict_objects

    paths = make("tree_crowns")
    options = ObjectOptions(score_threshold=0.05, preview=False, progress=False, resume=False)
    started = time.perf_counter()
    report = predict_objects(
        paths["unseen"], folder, detect=detect, spec=spec, options=options, model_id=folder.name
    )
    seconds = time.perf_counter() - started
    (layer,) = [path for path in report.outputs if path.suffix == ".gpkg"]
    return judge_objects(layer, paths["unseen_boxes"], paths["unseen"])["AP50"], seconds


def compare(args):
    for head in args.heads or CONFIGS:
        rows = {f"geomm {head}": train_geomm, f"mmdet {head}": train_plain}
        scores = {name: [] for name in rows}
        for seed in range(args.seeds):
            for name, run in rows.items():
                with tempfile.TemporaryDirectory() as folder:
                    score, seconds, detect, spec = run(args, head, seed, Path(folder))
                    scores[name].append(score)
                    line = f"seed {seed}, {name}: AP50 {score:.4f}, {seconds:.0f} s"
                    if args.data == "crowns":
                        merged, _ = judge_scene(detect, spec, Path(folder) / "map")
                        line += f", merged scene {merged:.4f}"
                    print(line, flush=True)
        for name, found in scores.items():
            spread = statistics.stdev(found) if len(found) > 1 else 0.0
            print(f"{name}: AP50 {statistics.mean(found):.4f} +- {spread:.4f}")


def heads(args):
    print("head | AP50 | training, processor s | inference, processor ms a window")
    for head in args.heads or ALL_HEADS:
        with tempfile.TemporaryDirectory() as folder:
            started = time.process_time()  # wall time says who else was on the machine
            _, _, detect, spec = train_geomm(args, head, 0, Path(folder))
            seconds = time.process_time() - started
            # Of Mask R-CNN too the boxes, as of the others.
            score = judge(detect, prepared(args, head, 0, Path(folder))[1].split("val"), spec)
            window = torch.rand(1, spec.in_channels, spec.window_px, spec.window_px) * 255
            valid = torch.ones(1, spec.window_px, spec.window_px, dtype=torch.bool)
            detect(window, valid)
            started = time.process_time()
            for _ in range(10):
                detect(window, valid)
            each = (time.process_time() - started) * 100
            print(f"{head} | {score:.4f} | {seconds:.0f} | {each:.0f}", flush=True)


def main(argv):
    parser = argparse.ArgumentParser(prog="benchmark.py detection_accuracy", description=__doc__)
    parser.add_argument("what", choices=["compare", "heads"])
    parser.add_argument("--data", choices=["palms", "crowns"], default="crowns")
    parser.add_argument("--root", default=str(PALMS), help="folder of the export")
    parser.add_argument("--heads", nargs="*")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--every", type=int, default=1, help="epochs between validations")
    parser.add_argument("--windows", type=int, default=64)
    parser.add_argument("--window", type=int, help="edge of windows, pixels; 256 of scenes, whole chips")
    parser.add_argument("--shrink", type=int, default=1, help="the export's chips so many times coarser")
    parser.add_argument("--amp", default="false", help="bf16 for mixed precision")
    parser.add_argument("--published", action="store_true", help="necks and heads as wide as published")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        if args.shrink > 1:
            args.root = str(shrink(Path(args.root), args.shrink, Path(folder) / "export"))
        {"compare": compare, "heads": heads}[args.what](args)
