"""A device without float64, emulated on the CPU: as Apple's MPS, it refuses whatever would make a tensor of it."""

import torch

LEAVING = {torch.Tensor.cpu, torch.Tensor.numpy, torch.Tensor.tolist, torch.Tensor.item}


def mapped(change, value):
    """What a torch function takes or gives, with its tensors changed; torch's own tree_map takes thrice as long."""
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, tuple | list) and not isinstance(value, torch.Size):
        return type(value)([mapped(change, each) for each in value])
    if isinstance(value, dict):
        return {name: mapped(change, each) for name, each in value.items()}
    return value


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

        wide = False

        def back(value):
            nonlocal wide
            wide |= value.dtype == torch.float64
            return given[id(value)][1] if id(value) in given else value.as_subclass(OnDevice)

        with torch._C.DisableTorchFunctionSubclass():
            out = function(*mapped(bare, args), **mapped(bare, kwargs))
        on = mapped(back, out)
        if wide:
            raise TypeError("Cannot convert a tensor of this device to float64: it has none.")
        moved = function is torch.Tensor.to and isinstance(args[0], OnDevice) and _named(args[1:], kwargs) == "cpu"
        return out if moved or function in LEAVING else on


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
