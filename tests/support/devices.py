"""A device without float64, emulated on the CPU: as Apple's MPS, it refuses whatever would make a tensor of it."""

import torch
from torch.utils._pytree import tree_flatten, tree_map

LEAVING = {torch.Tensor.cpu, torch.Tensor.numpy, torch.Tensor.tolist, torch.Tensor.item}


class OnDevice(torch.Tensor):
    """A tensor that stays on the device through whatever is done with it, until it is sent to the CPU."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        """Run the function, and refuse a result in float64; a move and a conversion in one step make it here."""
        kwargs = kwargs or {}
        if function is torch.Tensor.numpy:
            raise TypeError("can't convert a device's tensor to numpy; send it to the CPU first.")
        given = {}  # what stands for a tensor of the device while the function runs

        def bare(value):
            if not isinstance(value, OnDevice):
                return value
            plain = value.as_subclass(torch.Tensor)
            given[id(plain)] = (plain, value)
            return plain

        def back(value):
            if not isinstance(value, torch.Tensor):
                return value
            return given[id(value)][1] if id(value) in given else value.as_subclass(OnDevice)

        with torch._C.DisableTorchFunctionSubclass():
            plain_args, plain_kwargs = tree_map(bare, (args, kwargs))
            out = function(*plain_args, **plain_kwargs)
        found = [x for x in tree_flatten(out)[0] if isinstance(x, torch.Tensor)]
        if any(x.dtype == torch.float64 for x in found):
            raise TypeError("Cannot convert a tensor of this device to float64: it has none.")
        moved = function is torch.Tensor.to and isinstance(args[0], OnDevice) and _named(args[1:], kwargs) == "cpu"
        return out if moved or function in LEAVING else tree_map(back, out)


def _named(args, kwargs):
    """The device that a call of `to` names."""
    named = [*args, *kwargs.values()]
    return next((str(x) for x in named if isinstance(x, torch.device | str)), "")


def put_on_device(model):
    """The model with every parameter and buffer on the device."""
    for module in model.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None:
                module._parameters[name] = torch.nn.Parameter(parameter.data.as_subclass(OnDevice), requires_grad=False)
        for name, buffer in list(module._buffers.items()):
            if buffer is not None:
                module._buffers[name] = buffer.as_subclass(OnDevice)
    return model
