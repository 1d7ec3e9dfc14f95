"""A sweeper that looks for the best values with Optuna, and goes on from the runs that it finds.

Hydra's own plugin needs Optuna below 3. This one keeps no database: the runs in the sweep's folder are its
memory, so that a killed search goes on, and one can be prolonged by a larger ``n_trials``.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep, Transformer
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from geomm.engine.run_folder import read_failure, read_metrics
from geomm.engine.sweep_folder import SWEEP_FILE
from geomm.errors import ConfigError, GeommError, Problem, did_you_mean

_LOG = logging.getLogger("HYDRA")
#: The values of a trial, kept in its run's folder.
TRIAL_FILE = "trial.json"
#: Names of samplers and the classes of Optuna behind them.
_SAMPLERS = {"tpe": "TPESampler", "random": "RandomSampler", "gp": "GPSampler", "qmc": "QMCSampler"}


class OptunaSearch(Sweeper):
    """Trains ``n_trials`` runs with values that Optuna chooses, ``n_jobs`` at once.

    Values are given as Hydra's sweeps: ``a,b,c`` or ``choice(…)``, ``range(1,9)``, ``interval(0.1,0.9)``, and
    ``tag(log,interval(1e-5,1e-2))`` for a logarithmic scale.

    Args:
      n_trials: runs in all, those of earlier calls in the same folder included.
      n_jobs: runs that the launcher is given at once.
      sampler: ``tpe``, ``random``, ``gp`` or ``qmc``.
      seed: of the sampler.
      direction: ``maximize``, ``minimize``, or ``auto`` for what the task's ``monitor_rule`` says.
      params: further values to look for, as on the command line.
    """

    config: DictConfig
    hydra_context: HydraContext

    def __init__(
        self,
        n_trials: int = 20,
        n_jobs: int = 1,
        sampler: str = "tpe",
        seed: int = 0,
        direction: str = "auto",
        params: Mapping[str, Any] | None = None,
    ) -> None:
        self.n_trials, self.n_jobs, self.sampler, self.seed = n_trials, n_jobs, sampler, seed
        self.direction, self.params = direction, dict(params or {})

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config, self.hydra_context = config, hydra_context
        self.launcher: Any = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Run the search to its end.

        Raises:
          GeommError: Optuna is not installed.
          ConfigError: nothing to look for, or an unknown sampler.
        """
        optuna = _optuna()
        folder = Path(str(self.config.hydra.sweep.dir))
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, folder / SWEEP_FILE)
        fixed, space = self._read([*(f"{key}={value}" for key, value in self.params.items()), *arguments])
        done: list[Any] = []
        while len(done) < self.n_trials:
            batch = range(len(done), min(len(done) + self.n_jobs, self.n_trials))
            study = self._study(optuna, done)
            values = []
            for trial in batch:
                study.sampler = self._sampler(optuna, trial)
                asked = self._ask(study, space)  # in any case: the trial is then known to be running
                values.append(self._known(folder, trial, space) or asked)
            for trial, chosen in zip(batch, values, strict=True):
                _keep(folder / self._subdir(trial), chosen)
            waiting = [trial for trial in batch if _outcome(folder / self._subdir(trial)) is None]
            if waiting:
                self._launch(fixed, [(trial, values[trial - batch.start]) for trial in waiting])
            done += [
                self._trial(optuna, space, chosen, folder / self._subdir(trial))
                for trial, chosen in zip(batch, values, strict=True)
            ]
        self._finish(self._study(optuna, done), folder)
        return None

    def _study(self, optuna: Any, done: Sequence[Any]) -> Any:
        """Return a study of the trials that are done, so that an interrupted search proposes the same."""
        study = optuna.create_study(direction=self._direction(), sampler=self._sampler(optuna, len(done)))
        study.add_trials(done)
        return study

    def _launch(self, fixed: Sequence[str], trials: Sequence[tuple[int, Mapping[str, Any]]]) -> None:
        """Run trials under their own numbers, neighbours together."""
        groups: list[list[tuple[int, Mapping[str, Any]]]] = []
        for number, chosen in trials:
            if groups and groups[-1][-1][0] + 1 == number:
                groups[-1].append((number, chosen))
            else:
                groups.append([(number, chosen)])
        for group in groups:
            jobs = [[*fixed, *(f"{key}={value}" for key, value in chosen.items())] for _, chosen in group]
            self.validate_batch_is_legal(jobs)
            for done in self.launcher.launch(jobs, initial_job_idx=group[0][0]):
                _ = done.return_value  # raises what ended the run

    def _direction(self) -> str:
        if self.direction != "auto":
            return self.direction
        rule = OmegaConf.select(self.config, "task.monitor_rule", default="greater")
        return "minimize" if rule == "less" else "maximize"

    def _sampler(self, optuna: Any, number: int) -> Any:
        if self.sampler not in _SAMPLERS:
            hint = did_you_mean(self.sampler, _SAMPLERS)
            raise ConfigError([Problem("hydra.sweeper.sampler", f"unknown {self.sampler!r}; {hint}")])
        options: dict[str, Any] = {"seed": self.seed if self.sampler == "qmc" else self.seed + number}
        if self.sampler == "tpe" and self.n_jobs > 1:
            options["constant_liar"] = True
        return getattr(optuna.samplers, _SAMPLERS[self.sampler])(**options)

    def _read(self, arguments: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
        """Return the overrides that all runs share, and a distribution a value to look for."""
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        fixed: dict[str, str] = {}
        space: dict[str, Any] = {}
        for override in parser.parse_overrides(list(arguments)):
            key = str(override.get_key_element())
            if override.is_sweep_override():
                space[key] = _distribution(override)
            else:
                fixed[key] = f"{key}={override.get_value_element_as_str()}"
        if not space:
            raise ConfigError(
                "hydra/sweeper=optuna: nothing to look for; give values such as head=unet,pspnet or "
                "schedule.lr='tag(log,interval(1e-4,1e-2))'"
            )
        return list(fixed.values()), space

    def _ask(self, study: Any, space: Mapping[str, Any]) -> dict[str, Any]:
        return dict(study.ask(dict(space)).params)

    def _known(self, folder: Path, number: int, space: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the values of a trial that was begun before."""
        try:
            found = json.loads((folder / self._subdir(number) / TRIAL_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) and set(found) == set(space) else None

    def _subdir(self, number: int) -> str:
        """Return the folder of a trial's run, below the sweep's, as Hydra will name it."""
        config = self.config.copy()
        OmegaConf.set_struct(config, False)
        config.hydra.job.num = number
        return str(config.hydra.sweep.subdir)

    def _trial(self, optuna: Any, space: Mapping[str, Any], chosen: dict[str, Any], folder: Path) -> Any:
        """Return a trial as Optuna remembers it, from what its run came to."""
        state, values = optuna.trial.TrialState.FAIL, None
        score = _outcome(folder)
        if score is not None and math.isfinite(score):
            state, values = optuna.trial.TrialState.COMPLETE, [score]
        return optuna.trial.create_trial(state=state, params=chosen, distributions=dict(space), values=values)

    def _finish(self, study: Any, folder: Path) -> None:
        """Say what was best, and keep it."""
        done = [trial for trial in study.get_trials(deepcopy=False) if trial.value is not None]
        if not done:
            _LOG.warning("no run of the search came to a score")
            return
        best = study.best_trial
        chosen = ", ".join(f"{key}={value}" for key, value in best.params.items())
        _LOG.info("best of %d runs: %.6g with %s", len(done), best.value, chosen)
        result = {"name": "optuna", "best_value": best.value, "best_params": dict(best.params)}
        (folder / "optimization_results.yaml").write_text(
            OmegaConf.to_yaml(OmegaConf.create(result)), encoding="utf-8"
        )


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise GeommError("hydra/sweeper=optuna needs Optuna: pip install 'geomm[sweeps]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _keep(folder: Path, chosen: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TRIAL_FILE).write_text(json.dumps(dict(chosen)), encoding="utf-8")


def _outcome(folder: Path) -> float | None:
    """Return the score of a run that is done, NaN where it has none, None where it is to be trained."""
    metrics = read_metrics(folder)
    if metrics is not None and not metrics.get("interrupted"):
        value = metrics["monitor"]["value"]
        return math.nan if value is None else float(value)
    return math.nan if read_failure(folder) is not None else None


def _distribution(override: Override) -> Any:
    """Return Optuna's distribution of a sweep in Hydra's syntax."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value = override.value()
    if isinstance(value, ChoiceSweep) or (isinstance(value, RangeSweep) and value.shuffle):
        choices: list[Any] = list(override.sweep_iterator(transformer=Transformer.encode))
        return CategoricalDistribution(choices)
    if isinstance(value, RangeSweep):
        assert value.start is not None and value.stop is not None
        points = list(_points(value))
        if all(isinstance(point, int) for point in points):
            return IntDistribution(int(points[0]), int(points[-1]), step=int(value.step))
        return FloatDistribution(float(points[0]), float(points[-1]), step=float(value.step))
    assert isinstance(value, IntervalSweep) and value.start is not None and value.end is not None
    log = "log" in value.tags
    if isinstance(value.start, int) and isinstance(value.end, int):
        return IntDistribution(value.start, value.end, log=log)
    return FloatDistribution(float(value.start), float(value.end), log=log)


def _points(value: RangeSweep) -> Iterator[int | float]:
    assert value.start is not None and value.stop is not None
    count = max(math.ceil((value.stop - value.start) / value.step), 1)
    for index in range(count):
        yield value.start + index * value.step
