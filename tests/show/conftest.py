"""What tests of the pages share."""

import pytest

from nvib.show import limits, resources


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
