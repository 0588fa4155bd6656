"""Where a model's weights go and in which precision: one device, several, memory and disk; whole, or quantised."""

from __future__ import annotations

import re
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn
from transformers import BitsAndBytesConfig

from nvib.characters import quoted
from nvib.errors import NVError
from nvib.machine import memory
from nvib.models.packaged import cache_folder
from nvib.offloading import is_split

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
PACKED = {"int8": 1.0, "int4": 0.5}  # bytes of a weight, by the package that transformers quantises with
PACKAGE = "bitsandbytes"
PRECISIONS = (*DTYPES, *PACKED)
DEVICES = ("cpu", "cuda", "mps", "auto", "split")
Room = Mapping[int | str, int]


@dataclass(frozen=True)
class Placing:
    """How a model is loaded. device, dtype: as `nvib.load` takes them; room: bytes by device that a split model gets.

    Raises ValueError for what is none of them, NVError for a device that is not there and a package that is missing.
    """

    device: str = "cpu"
    dtype: str = "float32"
    room: Room | None = None

    def __post_init__(self) -> None:
        if self.dtype not in PRECISIONS:
            raise ValueError(f"dtype={self.dtype!r} is not one of {', '.join(PRECISIONS)}.")
        if self.room is not None and not self.split:
            raise ValueError(f"max_memory is of device='split', not of device={self.device!r}.")
        if not self.split:
            _device(self.device)
        if self.packed and find_spec(PACKAGE) is None:
            raise NVError(
                f"Weights in {self.dtype} need the package {PACKAGE}; run pip install {PACKAGE}, "
                f"or choose {', '.join(DTYPES)}."
            )

    @property
    def split(self) -> bool:
        """Whether the model is laid over every device there is, then the machine's memory, then its disk."""
        return self.device == "split"

    @property
    def packed(self) -> bool:
        """Whether the weights of linear modules are quantised."""
        return self.dtype in PACKED

    @property
    def kind(self) -> torch.dtype:
        """What is computed in, and what is not quantised."""
        return torch.bfloat16 if self.packed else DTYPES[self.dtype]

    @property
    def where(self) -> torch.device:
        """The device, of a split model the first."""
        return _device("auto" if self.split else self.device)

    def options(self) -> dict[str, Any]:
        """What transformers' `from_pretrained` takes for it."""
        given: dict[str, Any] = {"dtype": self.kind}
        if self.packed:
            packing = {"load_in_8bit": True} if self.dtype == "int8" else {
                "load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": self.kind,
            }  # fmt: skip
            given |= {"quantization_config": BitsAndBytesConfig(**packing), "device_map": {"": str(self.where)}}
        if self.split:
            given |= {"device_map": "auto", "max_memory": self.room or _room(), "offload_folder": _folder()}
        return given

    def held(self, size: int) -> int:
        """The bytes of weights of this size that stay in memory: of a split model no more than it gets."""
        return min(size, sum((self.room or _room()).values())) if self.split else size

    def settle(self, model: Any, name: str, options: Mapping[str, Any]) -> None:
        """Bring a loaded model to its device, ready to run. Raises NVError where it does not fit."""
        if folder := options.get("offload_folder"):
            weakref.finalize(model, shutil.rmtree, folder, ignore_errors=True)
        try:
            if not (self.packed or hasattr(model, "hf_device_map")):
                model.to(self.where)
        except torch.OutOfMemoryError as error:
            raise NVError(
                f"The model {quoted(name)} does not fit into the memory of {self.device}; use cpu."
            ) from error
        model.eval().requires_grad_(False)


def device_of(model: nn.Module) -> str:
    """Where a loaded model is, as `nvib.load` takes it."""
    return "split" if is_split(model) else str(model.device)


def dtype_of(model: Any) -> str:
    """The precision of a loaded model, as `nvib.load` takes it."""
    packing = getattr(model, "quantization_method", None) and model.config.quantization_config
    if packing:
        return "int8" if packing.load_in_8bit else "int4"
    return str(model.dtype).removeprefix("torch.")


def _room() -> dict[int | str, int]:
    """What a split model gets: nine tenths of what each device has free, and of the machine's memory half at most."""
    gpus: dict[int | str, int] = {n: memory(f"cuda:{n}")[0] * 9 // 10 for n in range(torch.cuda.device_count())}
    free, total = memory()
    return {**gpus, "cpu": min(free * 9 // 10, total // 2)}


def _folder() -> str:
    """A folder for weights that no file holds as they are needed; it goes with the model."""
    above = cache_folder()
    above.mkdir(parents=True, exist_ok=True)
    return tempfile.mkdtemp(prefix="offloaded-", dir=above)


def _device(name: str) -> torch.device:
    if name == "auto":
        found = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device(found)
    if not re.fullmatch(r"cpu|mps|cuda(:[0-9]{1,2})?", name):
        raise ValueError(f"device={name!r} is not one of cpu, cuda, cuda:1, mps, auto, split.")
    if name.startswith("cuda") and int(name[5:] or 0) >= torch.cuda.device_count():
        raise NVError(f"device={name!r} was asked for, but this machine has no such CUDA device; use cpu.")
    if name == "mps" and not torch.backends.mps.is_available():
        raise NVError("device='mps' was asked for, but this machine has no MPS device; use cpu.")
    return torch.device(name)
