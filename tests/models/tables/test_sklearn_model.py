"""Estimators by dotted name: fitted, kept without a pickle, and nothing foreign loaded."""

import numpy as np
import pytest
import torch

from geomm.datasets.tables.source import TableRows
from geomm.errors import ConfigError, DataError, DependencyError, PackageError
from geomm.models.tables.estimators import build_estimator, dump_estimator, find_class
from geomm.models.tables.sklearn_model import SklearnModel
from tests.models.tables.test_fully_connected import CLASSES, REGRESSION, rows

ENCODED = rows(120)
VALUES = np.stack([ENCODED.numbers[:, 0], ENCODED.numbers[:, 1]], 1)
LABELS = (ENCODED.numbers[:, 0] > 0).astype(np.int64)  # the third class has no row
REGRESSORS = {
    "sklearn.ensemble.RandomForestRegressor": {"n_estimators": 5},
    "sklearn.neighbors.KNeighborsRegressor": {},
    "sklearn.neural_network.MLPRegressor": {"max_iter": 20},
    "sklearn.gaussian_process.GaussianProcessRegressor": {},
    "sklearn.multioutput.MultiOutputRegressor": {
        "estimator": {
            "estimator": "sklearn.ensemble.HistGradientBoostingRegressor",
            "kwargs": {"max_iter": 5},
        }
    },
    "sklearn.multioutput.RegressorChain": {
        "estimator": {
            "estimator": "lightgbm.LGBMRegressor",
            "kwargs": {"n_estimators": 5, "verbosity": -1},
        }
    },
    "sklearn.pipeline.Pipeline": {
        "steps": [
            ["scale", {"estimator": "sklearn.preprocessing.StandardScaler"}],
            ["fit", {"estimator": "sklearn.linear_model.Ridge", "kwargs": {"alpha": 0.1}}],
        ]
    },
}
CLASSIFIERS = {
    "sklearn.ensemble.HistGradientBoostingClassifier": {"max_iter": 5},
    "sklearn.linear_model.LogisticRegression": {},
    "lightgbm.LGBMClassifier": {"n_estimators": 5, "verbosity": -1},
    "sklearn.svm.LinearSVC": {},
}


def fitted(name, kwargs):
    spec, target = (CLASSES, LABELS) if name in CLASSIFIERS else (REGRESSION, VALUES)
    model = SklearnModel(spec=spec, estimator=name, kwargs=kwargs)
    model.fit_at_once(TableRows(ENCODED, target, np.arange(120)))
    return model


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name, kwargs", [*REGRESSORS.items(), *CLASSIFIERS.items()])
def test_a_packaged_estimator_predicts_the_same(name, kwargs):
    model = fitted(name, kwargs)
    again = SklearnModel(spec=model.spec, estimator=name, kwargs=kwargs)
    again.load_package_files(model.package_files())
    again.load_state_dict(model.state_dict())
    assert np.array_equal(model.predict_learnt(ENCODED), again.predict_learnt(ENCODED))
    assert model.predict_learnt(ENCODED).shape == (120, model.spec.outputs)
    assert model.predict_learnt(rows(0)).shape == (0, model.spec.outputs)
    assert model.gives_probabilities == (name in CLASSIFIERS and "LinearSVC" not in name)


def test_classes_without_rows_have_no_probability():
    model = fitted("sklearn.linear_model.LogisticRegression", {})
    learnt = model.predict_learnt(ENCODED)
    assert (learnt[:, 2] == 0).all() and (learnt.argmax(1) == LABELS).mean() > 0.9


def test_an_estimator_is_judged_as_a_network_is():
    model = fitted("sklearn.neighbors.KNeighborsRegressor", {})
    numbers, categories = torch.from_numpy(ENCODED.numbers), torch.from_numpy(ENCODED.categories)
    (found,) = model(numbers, categories, torch.from_numpy(VALUES), torch.arange(120), mode="predict")
    assert found["prediction"].shape == (120, 2) and found["row"].tolist() == list(range(120))


@pytest.mark.parametrize("way, width", [("auto", 8), ("one_hot", 8), ("ordinal", 4)])
def test_categories_become_columns_or_numbers(way, width):
    model = SklearnModel(spec=REGRESSION, estimator="x.y", categories=way)
    assert model.features(ENCODED).shape == (120, width)


def test_the_seed_decides_the_forest():
    kwargs = {"n_estimators": 3}
    one = build_estimator("sklearn.ensemble.RandomForestRegressor", kwargs, seed=7)
    assert one.random_state == 7
    kwargs["random_state"] = 1
    assert build_estimator("sklearn.ensemble.RandomForestRegressor", kwargs, seed=7).random_state == 1


@pytest.mark.parametrize(
    "spec, estimator, target",
    [
        (REGRESSION, "sklearn.tree.DecisionTreeClassifier", VALUES),
        (CLASSES, "sklearn.tree.DecisionTreeRegressor", LABELS),  # would fit, and say nonsense
        (CLASSES, "sklearn.preprocessing.StandardScaler", LABELS),
        (CLASSES, "sklearn.cluster.KMeans", LABELS),  # numbers its own groups
        (REGRESSION, "sklearn.ensemble.IsolationForest", VALUES),
    ],
)
def test_an_estimator_of_the_other_kind_is_named(spec, estimator, target):
    model = SklearnModel(spec=spec, estimator=estimator)
    with pytest.raises(DataError, match=rf"{estimator} cannot be trained on the {spec.kind} of 't'"):
        model.fit_at_once(TableRows(ENCODED, target, np.arange(120)))


def test_several_targets_for_an_estimator_of_one_are_named_with_their_cure():
    model = SklearnModel(spec=REGRESSION, estimator="sklearn.ensemble.HistGradientBoostingRegressor")
    with pytest.raises(DataError, match="MultiOutputRegressor fits one for each target"):
        model.fit_at_once(TableRows(ENCODED, VALUES, np.arange(120)))


def test_what_an_estimator_refuses_is_named():
    tree = "sklearn.tree.DecisionTreeRegressor"
    model = SklearnModel(spec=REGRESSION, estimator=tree, kwargs={"max_depth": -1})
    with pytest.raises(DataError, match=r"DecisionTreeRegressor cannot be trained on this .*max_depth"):
        model.fit_at_once(TableRows(ENCODED, VALUES, np.arange(120)))


@pytest.mark.parametrize(
    "name, kwargs, error, said",
    [
        ("Ridge", {}, ConfigError, "a dotted name like"),
        ("sklearn.linear_modle.Ridge", {}, ConfigError, "no module 'sklearn.linear_modle'"),
        ("sklearn.linear_model.Rigde", {}, ConfigError, "did you mean 'Ridge'"),
        ("nowhere_at_all.Model", {}, DependencyError, "pip install nowhere_at_all"),
        ("sklearn.linear_model.Ridge", {"alhpa": 1}, ConfigError, "kwargs.alhpa.*did you mean 'alpha'"),
    ],
)
def test_a_wrong_name_or_argument_is_named(name, kwargs, error, said):
    with pytest.raises(error, match=said):
        build_estimator(name, kwargs, seed=0)


def test_foreign_types_are_neither_written_nor_read():
    from sklearn.preprocessing import FunctionTransformer
    from skops.io import dumps

    harmful = dumps(FunctionTransformer(torch.save))
    model = SklearnModel(spec=REGRESSION, estimator="sklearn.linear_model.Ridge")
    with pytest.raises(PackageError, match="could run code"):
        model.load_package_files({"estimator.skops": harmful})
    with pytest.raises(PackageError, match="could run code"):
        dump_estimator(FunctionTransformer(torch.save))
    with pytest.raises(PackageError, match="cannot be read"):
        model.load_package_files({"estimator.skops": b"no zip"})
    with pytest.raises(PackageError, match="lacks its estimator"):
        model.load_package_files({})


def test_building_a_model_imports_nothing_that_a_package_names(monkeypatch):
    monkeypatch.setattr("importlib.import_module", lambda name: pytest.fail(f"imported {name}"))
    SklearnModel(spec=REGRESSION, estimator="evil.module.Estimator")
    assert find_class
