"""The second check finds nothing wrong with what geomm ships, and names what is wrong."""

import pytest
import yaml
from omegaconf import OmegaConf

from geomm.config.arguments import check_arguments
from geomm.config.compose import compose, config_dir, hydra_session
from geomm.errors import ConfigError

#: What files that leave the type to the user are tried with.
CHOSEN = {
    "mmdet": ["head.type=mmdet.FCOS", "head.config=fcos/fcos_r50-caffe_fpn_gn-head_1x_coco"],
    "mmpretrain": ["head.type=mmpretrain.LinearClsHead"],
    "sklearn": ["head.estimator=sklearn.linear_model.Ridge"],
}


def composed(*overrides):
    with hydra_session():
        cfg = compose("train", ["work_dir=x", *overrides])
        return OmegaConf.to_container(cfg, resolve=False)


def names(group):
    return sorted(file.stem for file in (config_dir() / group).glob("*.yaml"))


def serving(group):
    """Return (task, name) of every file of a group, for each task that it serves."""
    found = []
    for name in names(group):
        text = (config_dir() / group / f"{name}.yaml").read_text(encoding="utf-8")
        found += [(task, name) for task in yaml.safe_load(text).get("tasks", [])]
    return found


@pytest.mark.parametrize("task, head", serving("head"))
def test_every_head_passes(task, head):
    check_arguments(composed(f"task={task}", f"head={head}", *CHOSEN.get(head, [])))


@pytest.mark.parametrize("task, loss", serving("loss"))
def test_every_loss_passes(task, loss):
    check_arguments(composed(f"task={task}", f"loss={loss}"))


@pytest.mark.parametrize("backbone", [name for name in names("backbone") if name != "timm"])
def test_every_backbone_passes(backbone):
    check_arguments(composed(f"backbone={backbone}"))


@pytest.mark.parametrize("task, dataset", serving("dataset"))
def test_every_dataset_passes(task, dataset):
    check_arguments(composed(f"task={task}", f"dataset={dataset}"))


@pytest.mark.parametrize("experiment", names("experiment"))
def test_every_experiment_passes(experiment):
    check_arguments(composed(f"experiment={experiment}"))


@pytest.mark.parametrize(
    "override, path, said",
    [
        ("+head.norm_cfg.eps_=1e-3", "head.norm_cfg.eps_", "did you mean 'eps'"),
        ("+head.norm_cfg.requires_gradient=false", "head.norm_cfg.requires_gradient", "BN has no argument"),
        ("head.norm_cfg.type=BNN", "head.norm_cfg.type", "unknown model 'BNN'"),
    ],
)
def test_mistakes_in_a_layers_config_are_named(override, path, said):
    with pytest.raises(ConfigError) as caught:
        check_arguments(composed("head=pspnet", override))
    (problem,) = caught.value.problems
    assert problem.path == path and said in problem.message


def test_a_config_that_mmdet_does_not_bring_is_named_with_those_beside_it():
    with pytest.raises(ConfigError, match=r"mmdet has no config 'fcos/fcos_r50_nope'; .*fcos/fcos_r"):
        check_arguments(
            composed("task=detection", "head=mmdet", "head.type=mmdet.FCOS", "head.config=fcos/fcos_r50_nope")
        )


def test_a_detector_that_mmdet_does_not_have_is_named_with_those_it_has():
    with pytest.raises(
        ConfigError, match=r"unknown detector 'mmdet\.FCOSS'; did you mean 'mmdet\.FCOS'"
    ) as caught:
        check_arguments(
            composed(
                "task=detection",
                "head=mmdet",
                "head.type=mmdet.FCOSS",
                "head.config=fcos/fcos_r50-caffe_fpn_gn-head_1x_coco",
            )
        )
    assert "Loss" not in str(caught.value)
