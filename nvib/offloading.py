"""Modules that run on one device while their weights wait elsewhere, as accelerate offloads them to memory or disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


def runs_on(module: nn.Module) -> torch.device:
    """The device on which a module computes: its weights', or where they are brought to for the length of a forward.

    Of a model that is split the one that wants its inputs; the meta device where nothing brings the weights.
    """
    for part in module.modules():
        for hook in _hooks(part):
            if getattr(hook, "execution_device", None) is not None:
                return torch.device(hook.execution_device)
    return next((part.device for part in module.parameters()), torch.device("cpu"))


@contextmanager
def at_hand(module: nn.Module) -> Iterator[None]:
    """A module's own weights are there inside, on the device where it runs, and go again where they were offloaded."""
    waiting = any(part.is_meta for part in module.parameters(recurse=False))
    hooks = [hook for hook in _hooks(module) if waiting and getattr(hook, "offload", False)]
    for hook in hooks:
        hook.pre_forward(module)
    try:
        yield
    finally:
        for hook in hooks:
            hook.post_forward(module, None)


def _hooks(module: nn.Module) -> Sequence[Any]:
    """accelerate's hooks on a module itself."""
    hook: Any = vars(module).get("_hf_hook")
    found: Sequence[Any] = getattr(hook, "hooks", (hook,) if hook else ())
    return found


def own_forward(module: nn.Module) -> bool:
    """Whether a module's forward is its class's, but for the hook by which accelerate brings inputs and weights."""
    forward: Any = vars(module).get("forward")
    if forward is None:
        return True
    hooked = getattr(getattr(forward, "func", None), "__module__", "") == "accelerate.hooks"
    return hooked and getattr(module._old_forward, "__func__", None) is type(module).forward


def is_split(model: nn.Module) -> bool:
    """Whether a model's parts run on several devices, or some of their weights wait elsewhere."""
    return len(set(getattr(model, "hf_device_map", {}).values())) > 1
