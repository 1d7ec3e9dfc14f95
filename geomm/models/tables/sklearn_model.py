"""Any estimator of scikit-learn's kind as a model of tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.errors import DataError, PackageError
from geomm.models.tables.estimators import build_estimator, dump_estimator, load_estimator
from geomm.models.tables.model import TableModel
from geomm.registry import HEADS
from geomm.transforms.table import Encoded, TableSpec

_FILE = "estimator.skops"
#: Categories of at most so many values become a column a value; more are numbered.
ONE_HOT_UP_TO = 32


@HEADS.register_module()
class SklearnModel(TableModel):
    """An estimator or Pipeline, trained by one call to ``fit``; kept by skops, never as a pickle.

    Args:
      spec: what the rows are.
      estimator: dotted name, such as ``sklearn.ensemble.HistGradientBoostingRegressor``.
      kwargs: of its constructor; ``{estimator: …, kwargs: {…}}`` inside builds another.
      categories: ``auto`` (a column a value up to 32, numbers beyond), ``one_hot`` or ``ordinal``.
      seed: for estimators with a ``random_state`` that is not given.
    """

    def __init__(
        self,
        *,
        spec: TableSpec,
        estimator: str,
        kwargs: Mapping[str, Any] | None = None,
        categories: str = "auto",
        seed: int = 0,
    ) -> None:
        super().__init__(spec)
        self.name, self.kwargs, self.categories, self.seed = estimator, dict(kwargs or {}), categories, seed
        # Built by `fit_at_once`: loading a package must import nothing that the package names.
        self.estimator: Any = None

    def forward(
        self, numbers: Any, categories: Any, target: Any = None, row: Any = None, mode: str = "predict"
    ) -> Any:
        """Predict prepared rows; see ``TableNetwork.forward``. There are no losses."""
        if mode != "predict":
            raise NotImplementedError(f"an estimator has no mode {mode!r}")
        encoded = Encoded(numbers.cpu().numpy(), categories.cpu().numpy())
        return self.predicted(encoded, target, row.cpu().numpy())

    @property
    def gives_probabilities(self) -> bool:
        return bool(self.spec.classes) and hasattr(self.estimator, "predict_proba")

    def fit_at_once(self, rows: Any) -> None:
        """Fit to all training rows.

        Args:
          rows: dataset whose ``__getitems__`` gives prepared rows.

        Raises:
          DataError: the estimator refuses them.
        """
        batch = rows.__getitems__(range(len(rows)))
        self.estimator = build_estimator(self.name, self.kwargs, seed=self.seed)
        self._check_kind()
        features = self.features(Encoded(batch["numbers"], batch["categories"]))
        target = batch["target"]
        if target.ndim == 2 and target.shape[1] == 1:
            target = target[:, 0]
        try:
            self.estimator.fit(features, target)
        except (ValueError, TypeError) as error:
            reason = str(error).strip().splitlines()[0]
            cure = "give an estimator of that kind, or other head.kwargs"
            if len(self.spec.targets) > 1:
                cure += "; sklearn.multioutput.MultiOutputRegressor fits one for each target"
            raise DataError(
                f"{self.name} cannot be trained on this {self.spec.kind} ({reason}); {cure}"
            ) from error

    def _check_kind(self) -> None:
        """Check that a classifier is to learn classes, and a regressor quantities.

        Raises:
          DataError: it is of another kind, which an estimator itself need not notice.
        """
        from sklearn.base import is_classifier, is_clusterer, is_outlier_detector, is_regressor

        fits = is_classifier if self.spec.classes else is_regressor
        kinds = (is_classifier, is_regressor, is_clusterer, is_outlier_detector)
        # An estimator that says nothing of its kind is taken at its user's word.
        other = any(kind(self.estimator) for kind in kinds) and not fits(self.estimator)
        if other or not (hasattr(self.estimator, "fit") and hasattr(self.estimator, "predict")):
            wanted = "Classifier" if self.spec.classes else "Regressor"
            raise DataError(
                f"{self.name} cannot be trained on the {self.spec.kind} of {self.spec.targets[0].name!r}; "
                f"give a {wanted.lower()}, such as head.estimator=sklearn.ensemble.RandomForest{wanted}, or "
                "say what the target is with dataset.kind"
            )

    def features(self, encoded: Encoded) -> NDArray[np.float32]:
        """Return (n, F) numbers as the estimator takes them."""
        parts = [encoded.numbers]
        for position, column in enumerate(self.spec.category_columns):
            codes = encoded.categories[:, position]
            if self.categories == "one_hot" or (self.categories == "auto" and column.size <= ONE_HOT_UP_TO):
                parts.append(np.eye(column.size, dtype=np.float32)[codes])
            else:
                parts.append(codes[:, None].astype(np.float32))
        return np.concatenate(parts, axis=1)

    def predict_learnt(self, encoded: Encoded) -> NDArray[np.float32]:
        if not len(encoded):
            return np.empty((0, self.spec.outputs), np.float32)
        features = self.features(encoded)
        if not self.spec.classes:
            return np.asarray(self.estimator.predict(features), np.float32).reshape(len(features), -1)
        scores = np.zeros((len(features), len(self.spec.classes)), np.float32)
        if self.gives_probabilities:
            # A class without a training row is no column of the estimator's.
            scores[:, np.asarray(self.estimator.classes_, np.int64)] = self.estimator.predict_proba(features)
        else:
            scores[np.arange(len(features)), np.asarray(self.estimator.predict(features), np.int64)] = 1
        return scores

    def package_files(self) -> dict[str, bytes]:
        """Return the fitted estimator for a package."""
        return {_FILE: dump_estimator(self.estimator)}

    def load_package_files(self, files: Mapping[str, bytes]) -> None:
        """Take the estimator from a package.

        Raises:
          PackageError: it is not there, damaged, or holds types that are not known.
        """
        if _FILE not in files:
            raise PackageError(f"the package lacks its estimator (model/{_FILE}); copy it again")
        self.estimator = load_estimator(files[_FILE], f"the package's {_FILE}")
