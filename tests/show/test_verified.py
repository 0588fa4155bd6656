"""The badge under Explore's title, and the whole check behind it."""

import pytest

from nvib.lab.view.check import LINES
from nvib.projections import Projection
from nvib.show import resources
from nvib.show.sections.verified import badge
from tests.support import tiny
from tests.support.folders import save
from tests.support.pages import opened


def view(folder):
    app = opened("Explore", v="2", model=folder, text="the cat sat", prior="normal")
    assert not app.exception
    assert not app.error
    return app


def verdict(app):
    return next(each.value.replace("\\", "") for each in app.markdown if "badge[" in each.value)


@pytest.fixture
def folder(tmp_path):
    return str(save(tmp_path, tiny.model_of("llama")))


def test_the_badge_tells_what_identity_cannot(folder, monkeypatch):
    """A projection that is not what was read of it leaves identity exact: the quick lines find it."""
    module = resources.bench(folder).model.model.layers[1].self_attn.k_proj
    forward = module.forward
    module.forward = lambda x: forward(x) + 0.1 * x[..., : module.out_features]
    monkeypatch.setattr(Projection, "_plain", property(lambda self: True))
    told = verdict(view(folder))
    assert "green-badge[✓ identity verified]" in told
    assert "red-badge[✗ projections are what is read: 4 projections, at most " in told


def test_the_whole_check_is_made_on_the_page_once_for_all(folder):
    app = view(folder)
    assert "4 of 4 lines of the check hold so far, the others below]" in verdict(app)
    app.session_state["check"] = True
    app.run()
    assert not app.table
    (button,) = (each for each in app.button if each.label == "Check this model")
    button.click().run()
    (table,) = app.table
    assert list(table.value.index) == list(LINES)
    assert set(table.value["verdict"]) == {"✓ holds"}
    assert "identity verified" in verdict(app)
    assert "10 of 10 lines of the check hold]" in verdict(app)
    assert "10 of 10 lines of the check hold]" in verdict(view(folder))  # another visitor's


def test_a_line_that_a_model_has_nothing_for_is_not_counted(tmp_path):
    folder = str(save(tmp_path, tiny.model_of("bert")))
    resources.check(resources.bench(folder), lambda _line: None)
    assert "8 of 8 lines of the check hold]" in verdict(view(folder))


def test_a_check_that_is_cancelled_is_made_anew(folder):
    class Cancelled(BaseException):
        pass

    told = []

    def cancel(line):
        told.append(line)
        if len(told) == 2:
            raise Cancelled

    bench = resources.bench(folder)
    with pytest.raises(Cancelled):
        resources.check(bench, cancel)
    assert resources.checked(bench) == []
    assert len(resources.check(bench, told.append)) == len(LINES) == len(told) - 2


def test_a_prior_of_another_model_stands_in_the_badge(benches):
    proof = resources.proof(benches("minilm"), "the cat")
    assert "orange-badge[prior of another model]" in badge(proof, [], "hidden state", foreign=True)
    assert "orange" not in badge(proof, [], "hidden state")
