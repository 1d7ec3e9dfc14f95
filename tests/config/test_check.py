"""The config check: every mistake at once, each with its path, what was found and what is allowed."""

import subprocess
import sys

import pytest
import yaml
from omegaconf import OmegaConf

from geomm.cli import train
from geomm.config import compose
from geomm.config.check import check
from geomm.config.compose import hydra_session
from geomm.config.problems import rule_problems
from geomm.config.rules import RULES

GIVEN = ["dataset.images=pyproject.toml", "dataset.labels=pyproject.toml"]


@pytest.fixture(autouse=True)
def _in_root(monkeypatch, root):
    monkeypatch.chdir(root)


def messages(*overrides, given=GIVEN):
    return [str(problem) for problem in check("train", [*given, *overrides]).problems]


def test_a_right_command_line_has_no_problems():
    assert messages() == []
    assert messages("schedule=cosine", "schedule.epochs=3", "schedule.lr=auto", "tracking=none") == []


@pytest.mark.parametrize("head", ["unet", "pspnet", "deeplabv3", "deeplabv3plus", "segformer", "upernet"])
def test_every_head_is_known(head):
    assert messages(f"head={head}") == []


def test_unknown_head_names_the_nearest():
    (message,) = messages("head=unett")
    assert message.startswith("head: unknown 'unett'; did you mean 'unet'? allowed: ")


def test_unknown_key_names_the_nearest():
    (message,) = messages("schedule.epocs=3")
    assert message.startswith("schedule.epocs: unknown key 'epocs' in schedule; did you mean 'epochs'?")


def test_unknown_root_key():
    (message,) = messages("hed=unet")
    assert "did you mean 'head'?" in message


def test_every_mistake_at_once():
    found = messages("head=unett", "schedule.epocs=3", "dataset.imags=x", "schedule.lr=-1", given=[])
    assert [line.split(":")[0] for line in found] == [
        "head",
        "schedule.epocs",
        "dataset.imags",
        "schedule.lr",
        "dataset.images",
    ]


def test_missing_value_is_named():
    (message,) = messages(given=[])
    assert message.startswith("dataset.images: a value is required and missing; give dataset.images=…")


def test_missing_file_names_the_nearest():
    (message,) = messages("dataset.images=pyprojet.toml", given=GIVEN[1:])
    assert message == "dataset.images: 'pyprojet.toml' does not exist; did you mean 'pyproject.toml'?"


@pytest.mark.parametrize("source", ["PG:dbname=x", "MSSQL:server=x", "MySQL:x", "OCI:x", "/vsizip/a.zip"])
def test_a_database_is_no_missing_file(source):
    assert messages(f"dataset.labels='{source}'", given=GIVEN[:1]) == []


def test_glob_without_a_match():
    (message,) = messages("dataset.images=*.nothing", given=GIVEN[1:])
    assert "no file matches '*.nothing'" in message


def test_class_named_twice():
    (message,) = messages("dataset.classes=[roof,road,roof]")
    assert message == "dataset.classes: 'roof' is named 2 times; name every class once"


def test_values_that_share_a_name_are_grouped():
    assert messages("dataset.classes={1: roof, 2: roof}") == []


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("schedule.epochs=-1", "found -1, expected a whole number from 0"),
        ("schedule.epochs=many", "found 'many', expected a whole number from 0"),
        ("schedule.lr=fast", "found 'fast', expected a number above 0, or auto"),
        ("schedule.warmup=2", "found 2, expected a number from 0 to 1"),
        ("runtime.amp=maybe", "found 'maybe'; allowed: auto, bf16, false, fp16"),
        ("resume=perhaps", "found 'perhaps', expected true or false"),
        ("seed=-1", "found -1, expected a whole number from 0 to 4.29497e+09"),
        ("task=detection task.iou=0", "found 0, expected a number above 0 to 1"),
        ("task=detection task.score_threshold=5", "found 5, expected a number from 0 to 1, or null"),
        ("task=detection head.score_threshold=50", "found 50, expected a number from 0 to 1, or null"),
        ("task=detection head.max_objects=-1", "found -1, expected a whole number from 1, or null"),
        (
            "task=detection head.object_px=[60,12]",
            "found [60, 12], expected auto, null or [small, large] in pixels",
        ),
        ("task=detection head.nms_iou=5", "found 5, expected a number from 0 to 1, or null"),
    ],
)
def test_values_out_of_range(override, expected):
    *more, last = override.split()
    (message,) = messages(*more, last)
    assert message == f"{last.split('=')[0]}: {expected}"


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path):
    file = tmp_path / "scene.tif"
    file.touch()
    for folder in (file, file / "runs"):
        assert f"work_dir: {str(file)!r} is a file; name a folder" in messages(f"work_dir={folder}")


def test_an_empty_folder_is_no_export(tmp_path):
    overrides = ["task=detection", "dataset=chips", "head=retinanet", f"dataset.root={tmp_path}"]
    (message,) = messages(*overrides, given=[])
    assert message.endswith("holds no chips; expected an export with images and labels, found nothing")


def test_every_choice_of_a_sweep_is_checked():
    found = messages("head=unet,unett", "backbone=resnet18,resnet500")
    assert len(found) == 2
    assert found[1].startswith("backbone: unknown 'resnet500'")
    (message,) = messages("schedule.epochs=3,-1", "seed=1,2,3")
    assert message == "schedule.epochs: found -1, expected a whole number from 0"
    assert messages("head=unet,ssd")[0].startswith("head: mmdet.SingleStageDetector serves task detection")
    (message,) = messages("head=unet,pspnet", "head.dropout=0.1")
    assert message.startswith("head.dropout: unknown key 'dropout' in head; did you mean 'dropout_ratio'?")


@pytest.mark.parametrize("experiment", ["swimming_pools", "buildings_and_trees", "house_prices"])
def test_classes_that_are_given_are_all_there_are(experiment):
    checked = check("train", [f"experiment={experiment}", "dataset.classes={1: one, 7: two}"])
    if experiment == "house_prices":
        assert "unknown key 'classes'" in str(checked.problems[0])
        return
    assert checked.problems == ()
    with hydra_session():
        assert compose("train", checked.overrides).dataset.classes == {1: "one", 7: "two"}


@pytest.mark.parametrize(
    "given, said",
    [
        (["dataset.fold=7", "dataset.folds=3"], "dataset.fold: found 7, expected 0 to 2"),
        (["head.members=0"], "head.members: found 0, expected a whole number from 1 to 1024, or auto"),
        (["dataset.fold=1"], "dataset.fold: found 1, expected dataset.folds to say of how many"),
        (["dataset.distances={road: nowhere.gpkg}"], "dataset.distances: 'nowhere.gpkg' does not exist"),
        (["dataset.rasters=nowhere/*.tif"], "dataset.rasters: no file matches 'nowhere/*.tif'"),
    ],
)
def test_folds_and_files_of_tables(given, said):
    (message,) = messages("experiment=house_prices", *given, given=[])
    assert message.startswith(said)


def test_mappings_of_parts_take_new_ones():
    checked = check("train", [*GIVEN, "task.augment.noise={type: GaussianNoise}"])
    assert checked.problems == ()
    assert checked.overrides[-1] == "++task.augment.noise={type: GaussianNoise}"


def test_typed_parts_take_further_arguments_with_a_plus():
    assert "+head.foo=…" in messages("head.foo=1")[0]
    assert messages("+head.foo=1") == []


def test_a_word_that_is_no_override():
    (message,) = messages("unet")
    assert message == "unet: expected name=value, such as head=unet"


def run(root, *arguments):
    command = [sys.executable, "tools/train.py", *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60)


def test_the_tool_prints_lines_and_exits_with_2(root):
    done = run(root, "head=unett", "schedule.epocs=3")
    assert done.returncode == 2
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) >= 2
    assert all(line.startswith("error: ") for line in lines)


@pytest.mark.parametrize("arguments", [["--help"], ["--cfg", "job"], ["head=unett"]])
def test_the_front_door_never_imports_torch(root, arguments):
    code = (
        "import sys\n"
        "from geomm.cli import train\n"
        f"status = train({arguments!r})\n"
        "heavy = {'torch', 'rasterio', 'geopandas', 'mmseg', 'mmdet', 'timm'} & set(sys.modules)\n"
        "print('HEAVY', sorted(heavy))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "HEAVY []", done.stderr


def test_a_whole_mapping_may_be_given_where_keys_are_free():
    given = ["task=tabular", "dataset.sample=house_prices", "dataset.target=price"]
    checked = check("train", [*given, "dataset.types={built: category}"])
    assert checked.problems == () and checked.overrides[-1] == "++dataset.types={built: category}"
    with hydra_session():
        assert compose("train", checked.overrides).dataset.types == {"built": "category"}


def test_a_divided_model_needs_torchrun_and_no_copies(monkeypatch):
    average = "hooks.ema={type: EMAHook}"
    found = messages("runtime.shard=true", f"+{average}", "schedule.ema=0.99")
    assert [line.split(":")[0] for line in found] == ["runtime.shard", "schedule.ema", "hooks.ema"]
    assert "torchrun --nproc-per-node 4 tools/train.py" in found[0]
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert messages("runtime.shard=true") == messages(f"+{average}") == []


def test_a_sweep_is_not_shown_as_one_run(capsys):
    assert train(["-m", "--cfg", "job", *GIVEN, "schedule.lr=1e-3,1e-4"]) == 2
    assert capsys.readouterr().err == "error: --cfg and --info show one run and start none; leave out -m\n"


@pytest.mark.parametrize(
    ("command", "given", "said"),
    [
        (
            "export_chips",
            "format=classified_tiles",
            "did you mean 'Classified_Tiles'? allowed: Classified_Tiles,",
        ),
        ("train", "runtime.amp=bf15", "did you mean 'bf16'? allowed: auto, bf16, false, fp16"),
        ("train", "dataset.background=perhaps", "allowed: auto, false, true"),
    ],
)
def test_words_are_told_as_they_are_to_be_typed(command, given, said):
    found = [str(problem) for problem in check(command, [*GIVEN, given]).problems]
    assert any(line.startswith(given.partition("=")[0]) and said in line for line in found), found


def test_every_switch_and_number_of_inference_has_a_rule(root):
    for path in sorted((root / "configs" / "inference").glob("*.yaml")):
        for key, value in yaml.safe_load(path.read_text(encoding="utf-8")).items():
            ruled = f"inference.{key}" in RULES["infer"]
            assert ruled or not isinstance(value, bool | int | float), f"{path.name}: {key}"
    wrong = {"skip_existing": "flase", "precision": "fp8", "threads": "abc", "polygons_background": 3}
    problems = rule_problems("infer", OmegaConf.create({"inference": wrong}))
    found = [str(problem) for problem in problems]
    assert len(found) == 4 and all(line.startswith("inference.") for line in found), found


def test_without_its_model_an_option_is_not_judged(tmp_path):
    given = [f"model={tmp_path}/none.dlpk", f"input={tmp_path}", "output=out", "inference.track=false"]
    assert [problem.path for problem in check("infer", given).problems] == ["model"]
