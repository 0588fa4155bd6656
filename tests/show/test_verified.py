"""The badge under Explore's title, and the whole check behind it."""

from dataclasses import replace

import pytest

from nvib.lab import IdentityProof
from nvib.lab.view.check import LINES
from nvib.projections import Projection
from nvib.show import resources
from nvib.show.sections.verified import badge
from nvib.show.sections.verified import numbers as numbers_of
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


def numbers(app):
    """What stands behind a click on "Is this really my model?"; nothing of it stands on the page before."""
    assert "lines of the check" not in " ".join(each.value for each in (*app.markdown, *app.caption))
    app.session_state["check"] = True
    app.run()
    return next(each.value.replace("\\", "") for each in app.caption if "lines of the check" in each.value)


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
    assert "green-badge[✓ identity verified: at identity this is exactly your model]" in told
    assert "red-badge[✗ projections are what is read: 4 projections, at most " in told


def test_the_whole_check_is_made_on_the_page_once_for_all(folder):
    app = view(folder)
    assert "4 of 4 lines of the check hold so far; the button below checks the others." in numbers(app)
    assert not app.table
    (button,) = (each for each in app.button if each.label == "Check this model")
    button.click().run()
    (table,) = app.table
    assert list(table.value.index) == list(LINES)
    assert set(table.value["verdict"]) == {"✓ holds"}
    assert "identity verified" in verdict(app)
    assert any("10 of 10 lines of the check hold." in each.value for each in app.caption)
    assert "10 of 10 lines of the check hold." in numbers(view(folder))  # another visitor's


def test_a_line_that_a_model_has_nothing_for_is_not_counted(tmp_path):
    folder = str(save(tmp_path, tiny.model_of("bert")))
    resources.check(resources.bench(folder), lambda _line: None)
    assert "8 of 8 lines of the check hold." in numbers(view(folder))


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
    assert "orange-badge[prior of another model]" in badge(proof, [], foreign=True)
    assert "orange" not in badge(proof, [])


def test_the_verdict_is_in_words_and_its_numbers_are_the_proofs():
    right = IdentityProof(2e-6, 3e-7, 1.0, True, 0.0)
    assert badge(right, []) == ":green-badge[✓ identity verified: at identity this is exactly your model]"
    assert numbers_of(right, [], "logit") == (
        "At identity, against the untouched model on this text: max |Δ logit| 2e-06, 3e-07 of its range, top-1 "
        "agreement 100 %, greedy text equal, prior mass 0; 0 of 0 lines of the check hold so far; the button below "
        "checks the others."
    )
    for wrong in (replace(right, relative=0.1), replace(right, top1=0.5), replace(right, same_text=False)):
        assert badge(wrong, []) == ":red-badge[✗ identity does not hold: at identity this is not your model]"
