"""A setting that is pinned beside the one of the controls: as a scenario's field holds it, and back."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import parse_qsl, urlencode

from nvib.errors import NVError
from nvib.lab.scenario import FIELDS, Scenario
from nvib.lab.share import link

# Model and setting; text and baseline are those of the view that it is pinned to.
HELD = (
    "model", "device", "dtype", *(f.name for f in FIELDS.values() if f.group == "setting" and f.name != "against"),
)  # fmt: skip


def pin(scenario: Scenario) -> str:
    """The model and the setting of a scenario, as its field `pinned` holds them: as a link would."""
    texts = link.texts(scenario.only(HELD))
    return urlencode({name: text for name, text in texts.items() if name in HELD})


def pinned(scenario: Scenario) -> Scenario:
    """The view of a scenario under the setting that is pinned to it, and on that one's model.

    Raises NVError, with one sentence, where what is pinned cannot be read.
    """
    given = dict(parse_qsl(scenario.pinned))
    strange = next((name for name in given if name not in HELD), None)
    if strange is not None or "model" not in given:
        what = f"it has {strange[:40]!r}" if strange is not None else "it names no model"
        raise NVError(f"The setting that is pinned cannot be read, {what}; unpin it.")
    held, _, ignored = link.decode({"v": link.VERSION} | given)
    if ignored:
        raise NVError(f"The setting that is pinned cannot be read: {ignored[0]}")
    return replace(scenario, pinned="", **{name: getattr(held, name) for name in HELD})
