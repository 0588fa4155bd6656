"""What ships of the embedded models' heads: texts, and their numbers under the setting that a model opens with."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from nvib import assets
from nvib.lab.fields import written
from nvib.lab.scenario import FIELDS, RUN, Scenario
from nvib.lab.view.heads import Heads
from nvib.models.catalogue import CATALOGUE
from nvib.prior import Prior

FOLDER = assets.shipped("assets", "heads")
SETTING = tuple(name for name in RUN if name != "text")  # what numbers depend on, beside each text


@dataclass(frozen=True)
class Shipped:
    """Heads over texts that ship, the setting and the prior's fingerprint that they are of, and the texts' source."""

    heads: Heads
    setting: Scenario
    prior: str
    source: str

    def is_of(self, scenario: Scenario, prior: Prior) -> bool:
        """Whether the numbers are those of this setting and prior."""
        kinds = CATALOGUE[self.setting.model].kinds
        same: bool = self.setting.key(SETTING, kinds) == scenario.key(SETTING, kinds)
        return same and self.prior == prior.fingerprint


@lru_cache(len(CATALOGUE) * 3)
def shipped_heads(model: str, kind: str) -> Shipped | None:
    """What ships of a model's heads of one kind of attention; None where nothing does."""
    path = FOLDER / f"{model}-{kind}.npz"
    if model not in CATALOGUE or not path.exists():
        return None
    with np.load(path, allow_pickle=False) as file:
        about: dict[str, Any] = json.loads(file["about"].tobytes())
        heads = Heads(kind, about["texts"], file["values"].astype(np.float32))
    setting: dict[str, Any] = {name: FIELDS[name].parse(text) for name, text in about["setting"].items()}
    return Shipped(heads, Scenario(**setting), about["prior"], about["source"])


def packed(shipped: Shipped) -> bytes:
    """The file of what ships."""
    values: Mapping[str, Any] = shipped.setting.only(SETTING).changed() | {"model": shipped.setting.model}
    about = {
        "texts": shipped.heads.texts,
        "setting": {name: written(value) for name, value in values.items()},
        "prior": shipped.prior,
        "source": shipped.source,
    }
    file = io.BytesIO()
    said = np.frombuffer(json.dumps(about, ensure_ascii=False).encode(), np.uint8)
    np.savez_compressed(file, values=shipped.heads.values.astype(np.float16), about=said)
    return file.getvalue()
