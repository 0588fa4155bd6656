"""What several tests of this folder share."""

import pytest

import nvib
from tests.support import tiny
from tests.support.folders import save


@pytest.fixture(scope="module", params=["minilm", "smollm2", "g2p"])
def embedded(request):
    return nvib.load(request.param)


@pytest.fixture
def bert(tmp_path):
    return save(tmp_path / "bert", tiny.bert())
