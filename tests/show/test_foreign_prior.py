"""A prior of another model of the same shape is told wherever it is used."""

import pytest

from nvib.show import resources
from tests.support import tiny
from tests.support.folders import save
from tests.support.pages import opened


@pytest.mark.parametrize("page", ["Explore", "Prior"])
def test_a_prior_of_another_model_is_told_on_the_page(page, tmp_path):
    one, other = (
        str(save(tmp_path / name, tiny.model_of("bert", seed))) for seed, name in enumerate(("first", "second"))
    )
    prior = resources.bench(one).priors.estimate(["the cat sat on", "the mat sat"], "two lines")
    for folder, told in ((one, False), (other, True)):
        known = resources.bench(folder).priors.keep(prior)
        app = opened(page, v="2", model=folder, text="the cat", prior="own", prior_id=known, encoder_sigma="0.2")
        assert not app.exception
        assert not app.error
        found = [each.value.replace("\\", "") for each in app.warning if "standard error" not in each.value]
        assert ["from another model, 'first, local" in each and "not from 'second'" in each for each in found] == [
            True
        ] * told
        said = " ".join(each.value for each in (*app.warning, *app.caption, *app.markdown)).replace("\\", "")
        assert str(tmp_path) not in said  # a machine's path is nobody's to read
