"""The commands ``geomm-train``, ``geomm-infer`` and their siblings, and what ``tools/`` calls.

The command line is checked whole before Hydra runs it; a user's mistake is printed as plain lines,
without a traceback, and ends with exit status 2 (config) or 1 (data, package, machine).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from geomm.errors import ConfigError, GeommError, of_system

_PASS_THROUGH = ("--cfg", "-c", "--info", "-i", "--package", "-p", "--resolve")


def train(argv: Sequence[str] | None = None) -> int:
    """Run ``geomm-train``; return the exit status."""
    return _main("train", sys.argv[1:] if argv is None else argv)


def infer(argv: Sequence[str] | None = None) -> int:
    """Run ``geomm-infer``; return the exit status."""
    return _main("infer", sys.argv[1:] if argv is None else argv)


def package(argv: Sequence[str] | None = None) -> int:
    """Run ``geomm-package``; return the exit status."""
    return _main("package", _named_words(sys.argv[1:] if argv is None else argv))


def _named_words(argv: Sequence[str]) -> list[str]:
    """Return a command line whose first two bare words, a command and a package, have their names."""
    names = ["command", "model"]
    named = []
    after_flag = False
    for word in argv:
        bare = not word.startswith("-") and "=" not in word and not after_flag
        after_flag = word in _PASS_THROUGH and word != "--resolve"
        named.append(f"{names.pop(0)}={word}" if bare and names else word)
    return named


def export_chips(argv: Sequence[str] | None = None) -> int:
    """Run ``geomm-export-chips``; return the exit status."""
    return _main("export_chips", sys.argv[1:] if argv is None else argv)


def leaderboard(argv: Sequence[str] | None = None) -> int:
    """Run ``geomm-leaderboard``; return the exit status."""
    return _main("leaderboard", sys.argv[1:] if argv is None else argv)


def _main(root: str, argv: Sequence[str]) -> int:
    try:
        if any(flag in argv for flag in ("--help", "-h")):
            from geomm.config.help import help_text

            sys.stdout.write(help_text(root))
            return 0
        if "--version" in argv:
            from geomm import __version__

            sys.stdout.write(f"geomm {__version__}\n")
            return 0
        return _launch(root, argv)
    except ConfigError as error:
        _complain(str(error))
        return 2
    except GeommError as error:
        _complain(str(error))
        return 1
    except KeyboardInterrupt:
        _complain("interrupted")
        return 130
    except BrokenPipeError:
        return 141
    except OSError as error:
        if error.errno is None:
            raise
        _complain(str(of_system(error)))
        return 1


def _complain(message: str) -> None:
    rank = os.environ.get("RANK", "0")
    who = "error" if rank == "0" else f"error in process {rank}"
    for line in message.splitlines():
        sys.stderr.write(f"{who}: {line}\n")


def _launch(root: str, argv: Sequence[str]) -> int:
    if os.environ.get("WORLD_SIZE", "1") != "1":
        # torch's remark that every parameter was used after all; read when torch is loaded.
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    from geomm.config.check import check
    from geomm.plugins import load_plugins, named_plugins

    flags, overrides = _split(argv)
    plugins = named_plugins(overrides)
    load_plugins(plugins)
    if root == "infer":
        from geomm.config.options import with_task_options

        overrides = with_task_options(overrides)
    shows_only = any(flag in flags for flag in ("--cfg", "-c", "--info", "-i"))
    if shows_only and _sweeps(flags):
        raise ConfigError("--cfg and --info show one run and start none; leave out -m")
    checked = check(root, overrides, plugins)
    for note in checked.notes:
        sys.stderr.write(f"{note}\n")
    problems = [p for p in checked.problems if not (shows_only and "is required" in p.message)]
    if problems:
        raise ConfigError(problems)
    if _sweeps(flags) and not shows_only:
        from geomm.engine.sweep_folder import check_same_sweep

        check_same_sweep(checked.overrides)
    return _run_hydra(root, [*flags, *checked.overrides, *_of_other_processes()], plugins)


def _sweeps(flags: Sequence[str]) -> bool:
    return "-m" in flags or "--multirun" in flags


def _of_other_processes() -> list[str]:
    """Let the first of several processes (torchrun) alone make the folder of the run."""
    return [] if os.environ.get("RANK", "0") == "0" else ["hydra.run.dir=.", "hydra.output_subdir=null"]


def _split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split a command line into Hydra's flags (with their values) and overrides."""
    flags: list[str] = []
    overrides: list[str] = []
    takes_value = False
    for item in argv:
        if item.startswith("-") or takes_value:
            flags.append(item)
            takes_value = item in _PASS_THROUGH and item not in ("--resolve",)
        else:
            overrides.append(item)
    return flags, overrides


def _run_hydra(root: str, argv: Sequence[str], plugins: Sequence[str]) -> int:
    import hydra
    from omegaconf import DictConfig

    from geomm.config.compose import config_dir, plugin_config_dirs, register_resolvers

    register_resolvers()
    jobs: dict[str, Callable[[DictConfig], Any]] = {
        "train": train_job,
        "infer": infer_job,
        "leaderboard": leaderboard_job,
        "package": package_job,
        "export_chips": export_chips_job,
    }
    failures: list[GeommError | OSError | KeyboardInterrupt] = []

    def job(cfg: DictConfig) -> Any:
        """Run the job; Hydra would print a user's mistake as its own failure."""
        try:
            return jobs[root](cfg)
        except (GeommError, OSError, KeyboardInterrupt) as error:
            failures.append(error)
            return None

    paths = plugin_config_dirs(plugins)
    search = [f"hydra.searchpath=[{','.join(paths)}]"] if paths else []
    decorated = hydra.main(config_path=str(config_dir()), config_name=root, version_base="1.3")
    before = sys.argv
    sys.argv = [f"geomm-{root.replace('_', '-')}", *argv, *search]
    try:
        # A bug's traceback is shown whole, not cut by Hydra.
        os.environ["HYDRA_FULL_ERROR"] = "1"
        decorated(jobs[root] if _sweeps(argv) else job)()
    finally:
        sys.argv = before
    if failures:
        raise failures[0]
    return 0


def train_job(cfg: Any) -> float | None:
    """One training run of a composed config; in a sweep a failing run does not end the others."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import open_dict

    from geomm.config.compose import register_resolvers, resolve

    register_resolvers()
    hydra_cfg = HydraConfig.get()
    sweeping = hydra_cfg.mode == RunMode.MULTIRUN
    if sweeping:
        with open_dict(cfg):
            cfg.work_dir = hydra_cfg.runtime.output_dir
    config = resolve(cfg)
    from geomm.plugins import load_plugins

    load_plugins(config["plugins"])  # a sweep's worker is a new process
    if not sweeping:
        from geomm.engine.training import train as run

        run(config)
        return None
    from geomm.engine.sweep_folder import train_once

    return train_once(config)


def infer_job(cfg: Any) -> None:
    """Inference of a composed config."""
    from geomm.config.compose import resolve

    config = resolve(cfg)
    from geomm.api import infer as run

    report = run(config)
    if report.failed:
        rest = "; the others are done" if report.outputs else ""
        raise GeommError(f"{len(report.failed)} inputs could not be mapped, see above{rest}")


def leaderboard_job(cfg: Any) -> None:
    """The leaderboard of a folder of runs."""
    from pathlib import Path

    from geomm.config.compose import resolve
    from geomm.engine.leaderboard import build

    config = resolve(cfg)
    build(Path(config["runs"]), Path(config["output"]) if config["output"] else None)


def package_job(cfg: Any) -> None:
    """What ``geomm-package`` was asked to do with a package."""
    from geomm.api import package as run
    from geomm.config.compose import resolve

    sys.stdout.write(run(resolve(cfg)))


def export_chips_job(cfg: Any) -> None:
    """Export of chips of a composed config."""
    from geomm.api import export_chips as run
    from geomm.config.compose import resolve

    run(resolve(cfg))
