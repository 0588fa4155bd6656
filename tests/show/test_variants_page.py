"""Edit and see: variants of the text on Explore, each with the numbers of its own view."""

from dataclasses import replace

import numpy as np
import pytest

from nvib.lab import observe
from nvib.lab.share import link
from nvib.lab.view import words
from nvib.show import session
from nvib.show.draw import verbatim
from tests.support.pages import arrays, keyed, opened
from tests.support.scenes import SHORT

LINES = ["cat", "nightingale", "a thought"]


def unfolded(app):
    app.session_state["variants"] = app.session_state["numbers-variants"] = True
    return app.run()


def page(name, **changes):
    return unfolded(opened("Explore", **link.encode(replace(SHORT[name], variants="\n".join(LINES), **changes))))


def table(app):
    return next(frame.value for frame in app.dataframe if "variant" in frame.value.columns)


@pytest.mark.parametrize("name", SHORT)
def test_each_variant_has_the_numbers_of_its_own_view(name, benches):
    app = page(name)
    assert not app.exception
    assert not app.error
    shown = app.session_state["scenario"]
    seen = [observe(benches(name), replace(shown, text=text, row=0, cell="", variants="")) for text in LINES]
    frame = table(app)
    assert list(frame["variant"]) == LINES
    assert list(frame["both models"]) == [words.answer(each.output) for each in seen]
    said = [f"Variant {n}: {words.answer(each.output)}" for n, each in enumerate(seen, 1)]
    assert [each.value for each in app.markdown if each.value.startswith("Variant")] == list(map(verbatim, said))
    layer = seen[0].layer
    np.testing.assert_allclose(frame.iloc[:, 2], [each.output.change for each in seen], atol=1e-5)
    np.testing.assert_allclose(frame.iloc[:, 3], [each.change[layer].mean() for each in seen], atol=1e-5)
    np.testing.assert_allclose(frame.iloc[:, 4], [each.prior_mass[layer].mean() for each in seen], atol=1e-5)
    (pairs,), (apart,) = keyed(app, "variants-maps"), keyed(app, "variants-difference")
    drawn = arrays(pairs["data"][0]["z"])
    total = sum(each.baseline.sum() + each.regularised[:, 1:].sum() for each in seen)
    assert np.nansum(drawn) == pytest.approx(total, abs=1e-4)
    assert np.isfinite(drawn).sum() == 2 * sum(each.baseline.size for each in seen)
    assert np.nansum(arrays(apart["data"][0]["z"])) == pytest.approx(sum(e.difference.sum() for e in seen), abs=1e-4)


def test_the_fold_starts_from_the_text_and_opens_a_variant():
    app = unfolded(opened("Explore", **link.encode(SHORT["minilm"])))
    assert not [frame for frame in app.dataframe if "variant" in frame.value.columns]
    for count in (1, 2):
        next(button for button in app.button if button.label == "Add the text as a line").click().run()
        assert app.session_state["scenario"].variants.count("⏎".join(SHORT["minilm"].text.split("\n"))) == count
    app.text_area(session.key("variants")).set_value("\n".join(LINES)).run()
    assert list(table(app)["variant"]) == LINES
    app.button("variant_2").click().run()
    assert app.session_state["scenario"] == replace(
        SHORT["minilm"], text=LINES[1], row=0, kind="encoder", variants="\n".join(LINES)
    )


def test_without_the_prior_or_of_a_long_text_it_says_so():
    app = page("minilm", encoder_alpha=float("inf"))
    assert len(keyed(app, "variants-maps")[0]["data"]) == 4  # no heatmap of the prior
    app.text_area(session.key("variants")).set_value("cat\n" + "cat " * 90).run()
    assert not keyed(app, "variants-maps")
    assert "A variant has more than 64 tokens: open one to see its maps." in [each.value for each in app.caption]


def test_what_cannot_be_run_is_one_sentence_with_its_number():
    app = page("minilm")
    app.text_area(session.key("variants")).set_value("cat\n" + "cat " * 2000).run()
    assert [error.value.replace("\\", "") for error in app.error] == [
        "Variant 2: “" + ("cat " * 6) + "…” is 2,002 tokens long; this page takes 512 at most: shorten it."
    ]
    app.text_area(session.key("variants")).set_value("a\n" * 7).run()
    assert [error.value for error in app.error] == ["There are 7 variants; give 6 at most, one a line."]
