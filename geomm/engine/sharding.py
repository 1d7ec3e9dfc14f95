"""Training with weights, gradients and optimizer state divided over the processes (FSDP), not copied to each.

Zhao et al., "PyTorch FSDP: Experiences on Scaling Fully Sharded Data Parallel", VLDB 2023; here its second
form, ``torch.distributed.fsdp.fully_shard``. State dicts are whole, so that checkpoints know no processes.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import chain
from typing import Any

import torch
import torch.distributed as dist
from mmengine.dist import get_dist_info, is_main_process
from mmengine.optim import OptimWrapper
from mmengine.registry import MODEL_WRAPPERS
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Replicate, distribute_tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from geomm.engine.distributed import MeansOverProcesses, SharedStatistics
from geomm.errors import GeommError

#: What models call the network that every step runs, whatever is in the batch.
_TRUNKS = ("backbone", "generator", "encoder")
#: A unit has at least this share of the model's parameters: one smaller is not worth a message.
_LEAST_SHARE = 1 / 200


def find_units(model: nn.Module) -> list[nn.Module]:
    """Return the blocks that are gathered one at a time, inner ones first.

    A block is a module with parts that stands in a row of modules (``Sequential``, ``ModuleList``, a plain
    ``ModuleDict``) of the model's backbone, generator or encoder, so that it is run by being called, and has
    at least 1/200 of the model's parameters besides those of the blocks in it. What remains of the model is
    gathered for a whole step.
    """
    times = Counter(id(value) for _, value in model.named_parameters(remove_duplicate=False))
    least = max(sum(value.numel() for value in model.parameters()) * _LEAST_SHARE, 1)
    taken: set[int] = set()
    units: list[nn.Module] = []

    def visit(module: nn.Module, *, in_row: bool) -> None:
        row = isinstance(module, nn.Sequential | nn.ModuleList) or type(module) is nn.ModuleDict
        for child in module.children():
            visit(child, in_row=row)
        own = {id(value): value for value in module.parameters() if id(value) not in taken}
        block = in_row and not row and any(True for _ in module.children())
        # Weights that stand in two places would part if one of them were divided.
        alone = all(times[key] == 1 for key in own)
        if block and alone and module not in units and sum(v.numel() for v in own.values()) >= least:
            taken.update(own)
            units.append(module)

    for trunk in _trunks(model):
        visit(trunk, in_row=False)
    return units


def _trunks(module: nn.Module) -> Iterator[nn.Module]:
    for name, child in module.named_children():
        if name in _TRUNKS:
            yield child
        else:
            yield from _trunks(child)


def divide(module: nn.Module, mesh: DeviceMesh, dtype: torch.dtype | None = None) -> None:
    """Divide a module's parameters over a mesh, in place; it goes to the mesh's device block by block.

    Args:
      module: run by calling it from then on, in all processes at once.
      mesh: of one dimension.
      dtype: of mixed precision: blocks are gathered in it and gradients added in float32. Blocks with batch
        normalisation, whose statistics are float32, and what stands in no block are left to autocast.
    """
    _widen_scalars(module)
    for unit in find_units(module):
        plain = dtype is None or any(isinstance(part, _BatchNorm) for part in unit.modules())
        # Inputs are left to autocast, as without sharding.
        policy = MixedPrecisionPolicy(
            param_dtype=None if plain else dtype,
            reduce_dtype=None if plain else torch.float32,
            cast_forward_inputs=False,
        )
        fully_shard(unit, mesh=mesh, mp_policy=policy)
    # Named, not left to be found out: whatever was gathered for the step stays until its backward pass.
    fully_shard(
        module,
        mesh=mesh,
        reshard_after_forward=False,
        mp_policy=MixedPrecisionPolicy(cast_forward_inputs=False),
    )
    # What it else does at the first step, when a part may be frozen for a while: that part's precision would
    # then stay unknown.
    FSDPModule._get_fsdp_state(module)._lazy_init()  # type: ignore[arg-type]


def _widen_scalars(module: nn.Module) -> None:
    """Give parameters without a dimension one, along which they can be divided; they broadcast alike."""
    wide: dict[int, nn.Parameter] = {}
    for part in module.modules():
        for name, value in part._parameters.items():
            if value is not None and value.ndim == 0:
                new = nn.Parameter(value.detach().reshape(1), requires_grad=value.requires_grad)
                part._parameters[name] = wide.setdefault(id(value), new)


@MODEL_WRAPPERS.register_module(name="geomm.ShardedModel")
class ShardedModel(nn.Module):
    """A model whose training step is that of the whole batch and of which each process holds a part.

    In evaluation it is the whole model that runs, so that processes may have different numbers of batches.
    Its weights are those of the divided one as they were when ``eval()`` was called, by all processes.

    Args:
      model: whole, an mmengine BaseModel; kept on the CPU while the divided one trains.
      device: where it trains.
      dtype: of mixed precision, None for float32.

    Attributes:
      module: the divided model. Its state dict, taken by all processes, is whole and complete in the first.
      whole: the whole model.
    """

    def __init__(self, model: Any, device: torch.device, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.device = device
        self.means = MeansOverProcesses()
        self._whole = [model.cpu()]  # in a list, so that its parameters are not taken for this one's
        self._shapes = {name: value.shape for name, value in model.state_dict().items()}
        module = copy.deepcopy(model)
        divide(module, init_device_mesh(device.type, (get_dist_info()[1],)), dtype)
        self.module: Any = module.to(device)  # buffers, and what a model does when it is moved
        self.module.register_state_dict_post_hook(partial(self._gather_state))  # takes no bound method
        self.module.register_load_state_dict_pre_hook(self._divide_state)

    @property
    def whole(self) -> Any:
        return self._whole[0]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the divided model."""
        return self.module(*args, **kwargs)

    def train(self, mode: bool = True) -> ShardedModel:
        """Go on training, or gather the weights to evaluate; all processes must do so."""
        evaluates = self.training and not mode
        super().train(mode)
        self.whole.train(mode)
        if evaluates:
            self._gather()
        elif mode:
            self.whole.cpu()
        return self

    @torch.no_grad()
    def _gather(self) -> None:
        own = self.whole.to(self.device).state_dict()
        self.module.reshard()
        for name, value in chain(self.module.named_parameters(), self.module.named_buffers()):
            if name in own:
                own[name].copy_(_gathered(value).reshape(own[name].shape))

    def train_step(self, data: Any, optim_wrapper: OptimWrapper) -> dict[str, Tensor]:
        """Do a step; return the losses as means over the processes, the same in each."""
        with optim_wrapper.optim_context(self.module):
            total, found = self.loss(data)
        optim_wrapper.update_params(total)
        return self.means(found, self.device)

    def loss(self, data: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of this process's part of a batch, ready for its backward pass, and its terms."""
        with SharedStatistics():
            losses = self.module(**self.module.data_preprocessor(data, True), mode="loss")
        total, found = self.module.parse_losses(losses)
        return self._with_others(total), found

    def _with_others(self, total: Tensor) -> Tensor:
        """Let a loss reach what another process's loss reaches, if only with gradients of zero.

        Some heads leave a part alone where a batch has nothing for it; but a gradient is averaged by all.

        Raises:
          GeommError: that holds for a part of the backbone, which is divided again by now.
        """
        reached = _reached(total)
        # Other parameters are divided between steps, and those of blocks right after they were used.
        gathered = [value for value in self.module.parameters() if not isinstance(value, DTensor)]
        deep = len(reached - {id(value) for value in gathered})
        said = [*(int(id(value) in reached) for value in gathered), deep, -deep]
        most = torch.tensor(said, device=self.device)
        dist.all_reduce(most, dist.ReduceOp.MAX)
        *found, deepest, least = most.tolist()
        if deepest != -least:
            raise GeommError(
                f"runtime.shard: a step's loss reached {-least} of the backbone's parameters in one process "
                f"and {deepest} in another, expected the same in all; use runtime.shard=false"
            )
        missing = [v for v, mine, any_ in zip(gathered, said, found, strict=False) if any_ > mine]
        return total + 0.0 * sum(value.sum() for value in missing) if missing else total

    def val_step(self, data: Any) -> Any:
        """Return the whole model's predictions of a batch."""
        return self.whole.val_step(data)

    def test_step(self, data: Any) -> Any:
        """Return the whole model's predictions of a batch."""
        return self.whole.test_step(data)

    def follow(self, optimizer: Optimizer) -> None:
        """Let an optimizer of this model give and take whole states, in one of the processes' order."""

        def gather(optimizer: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
            parameters = _by_number(optimizer, state)
            shapes = {id(v): self._shapes[name] for name, v in self.module.named_parameters()}
            for number, values in state["state"].items():
                shape = shapes[id(parameters[number])]
                state["state"][number] = {
                    key: _kept(value, shape if value.shape == parameters[number].shape else value.shape)
                    if isinstance(value, DTensor)
                    else value
                    for key, value in values.items()
                }
            return state

        def divide_again(optimizer: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
            parameters = _by_number(optimizer, state)
            divided = {
                number: {
                    key: value if key == "step" else self._like(parameters[number], value)
                    for key, value in values.items()
                }
                for number, values in state["state"].items()
            }
            return {**state, "state": divided}

        optimizer.register_state_dict_post_hook(gather)
        optimizer.register_load_state_dict_pre_hook(divide_again)

    def _gather_state(self, module: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
        for name, value in state.items():
            if isinstance(value, DTensor):
                state[name] = _kept(value, self._shapes[name.removeprefix(prefix)])

    def _divide_state(self, module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
        own = {f"{prefix}{name}": value for name, value in module.named_parameters(remove_duplicate=False)}
        for name, value in own.items():
            if name in state:
                state[name] = self._like(value, state[name])

    def _like(self, parameter: Tensor, value: Any) -> Any:
        """Divide a tensor as a parameter is divided; one of another shape goes to each process whole."""
        if not isinstance(value, Tensor) or not isinstance(parameter, DTensor) or isinstance(value, DTensor):
            return value
        if value.numel() == 1 and parameter.numel() == 1:
            value = value.reshape(parameter.shape)
        placed = parameter.placements if value.shape == parameter.shape else (Replicate(),)
        # Each process has the whole one and takes its part.
        return distribute_tensor(value.to(self.device), parameter.device_mesh, placed, src_data_rank=None)


def _by_number(optimizer: Optimizer, state: dict[str, Any]) -> dict[int, Tensor]:
    """Return an optimizer's parameters by the numbers that they have in a state dict."""
    groups = zip(optimizer.param_groups, state["param_groups"], strict=True)
    return {
        number: value
        for own, saved in groups
        for number, value in zip(saved["params"], own["params"], strict=True)
    }


def _gathered(value: Tensor) -> Tensor:
    return value.full_tensor() if isinstance(value, DTensor) else value


def _kept(value: Tensor, shape: torch.Size) -> Tensor:
    """Gather a tensor, by all processes, and keep it in the memory of the first one's machine."""
    whole = _gathered(value.detach())
    return whole.reshape(shape).cpu() if is_main_process() else value


def _reached(loss: Tensor) -> set[int]:
    """Return the ids of the parameters that a loss's gradient will reach."""
    found: set[int] = set()
    nodes = [loss.grad_fn]
    seen = set(nodes)
    while nodes:
        node = nodes.pop()
        for following, _ in node.next_functions if node is not None else ():
            if following is None or following in seen:
                continue
            seen.add(following)
            nodes.append(following)
            if type(following).__name__ == "AccumulateGrad":
                found.add(id(following.variable))  # type: ignore[attr-defined]
    return found
