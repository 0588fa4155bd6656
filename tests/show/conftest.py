"""What tests of the pages share."""

import plotly.graph_objects as go
import pytest

from nvib.show import draw, limits, resources


@pytest.fixture(autouse=True)
def looked_through(monkeypatch):
    """Plotly looks through every figure that a page draws; none may have a part that plotly does not know."""
    drawn = draw.Ready.to_dict

    def looked(figure):
        made = drawn(figure)
        go.Figure(made)
        return made

    monkeypatch.setattr(draw.Ready, "to_dict", looked)


@pytest.fixture
def public(monkeypatch):
    """A function: variables beside NVIB_PUBLIC=1 -> the limits of a public server, which this one is from then on."""

    def made(**variables):
        environment = {"NVIB_PUBLIC": "1", **variables}
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(resources, "LIMITS", limits.limits(environment))
        return resources.LIMITS

    return made
