"""A launcher that runs a sweep's jobs on the workers of a Ray cluster.

Hydra's own plugin needs cloudpickle below 3 and the clients of one cloud; this one needs Ray alone.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, configure_log, filter_overrides, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

_LOG = logging.getLogger("HYDRA")


class RaySpread(Launcher):
    """Runs jobs as Ray tasks, as many at once as the cluster has resources for.

    Args:
      address: of a running cluster, ``auto`` for the one of this machine; null starts one here.
      cpus: cores a job.
      gpus: GPUs a job, parts allowed.
      workers: cores that a cluster started here has, null for all of the machine.
      retries: times that the job of a lost worker is begun again; it goes on where it was.
    """

    def __init__(
        self,
        address: str | None = None,
        cpus: float = 1,
        gpus: float = 0,
        workers: int | None = None,
        retries: int = 3,
    ) -> None:
        self.address, self.cpus, self.gpus = address, cpus, gpus
        self.workers, self.retries = workers, retries

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs; return when all have ended, in their order.

        Raises:
          GeommError: Ray is not installed, or no cluster answers.
        """
        from geomm.inference.ray_cluster import connect

        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        Path(str(self.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        ray = connect(self.address, cpus=self.workers)
        run = ray.remote(_run).options(
            num_cpus=self.cpus, num_gpus=self.gpus, max_retries=self.retries, retry_exceptions=False
        )
        state, jobs = Singleton.get_state(), []
        for index, overrides in enumerate(job_overrides, start=initial_job_idx):
            _LOG.info("\t#%d : %s", index, " ".join(filter_overrides(overrides)))
            jobs.append(
                run.remote(self.hydra_context, self.config, self.task_function, overrides, index, state)
            )
        return list(ray.get(jobs))


def _run(
    context: HydraContext,
    config: DictConfig,
    task: TaskFunction,
    overrides: Sequence[str],
    index: int,
    state: Any,
) -> JobReturn:
    """Run one job in a worker's process."""
    setup_globals()
    Singleton.set_state(state)
    sweep_config = context.config_loader.load_sweep_config(config, list(overrides))
    with open_dict(sweep_config):
        sweep_config.hydra.job.id = f"{sweep_config.hydra.job.name}_{index}"
        sweep_config.hydra.job.num = index
    HydraConfig.instance().set_config(sweep_config)
    return run_job(
        hydra_context=context,
        task_function=task,
        config=sweep_config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )
