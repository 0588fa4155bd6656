"""How many tokens fit into a model: the one place that knows what each family counts its positions by."""

from __future__ import annotations

import re

from torch import nn

TABLE = re.compile(r"(^|\.)(embed_positions|position_embeddings|wpe)$")  # in the path of a table of positions


def source_positions(model: nn.Module) -> int | None:
    """The most tokens that a text may have, special tokens included; None where the model sets no limit."""
    return _positions(model, target=False)


def target_positions(model: nn.Module) -> int | None:
    """The most inputs of the decoder: an encoder-decoder's own, else as the text's; None where there is no limit."""
    return _positions(model, target=True)


def _positions(model: nn.Module, target: bool) -> int | None:
    config = model.config
    both = bool(getattr(config, "is_encoder_decoder", False))
    tables = [
        module
        for path, module in model.named_modules()
        if isinstance(module, nn.Embedding) and TABLE.search(path) and (not both or ("decoder." in path) == target)
    ]
    if tables:
        return min(_usable(table) for table in tables)
    limit = getattr(config, "max_position_embeddings", None)  # of rotary models: what they were made for
    return None if limit is None else int(limit)


def _usable(table: nn.Embedding) -> int:
    """The rows for tokens: BART and OPT leave out the first two, RoBERTa those up to the padding's."""
    first = int(getattr(table, "offset", 0)) or (0 if table.padding_idx is None else table.padding_idx + 1)
    return table.num_embeddings - first
