"""Where a prior comes from, as its file says: names and values are text, whatever they look like, and not too much."""

import re

import pytest

from nvib import Prior
from nvib.show import resources
from tests.support.pages import opened

MARKUP = {
    "image": "![x](http://example.org/x.png)",
    "link": "[press](http://example.org)",
    "formula": "$x^2$",
    "colour": ":red[alarm]",
    "html": "<img src=http://example.org/x.png>",
}


def shown(provenance):
    """What the page Prior says of a prior with this origin, and of Explore."""
    bench = resources.bench("g2p")
    known = bench.loaded.prior
    name = bench.priors.keep(Prior.from_bytes("a.safetensors", Prior(known.layers, provenance).to_bytes()))
    said = []
    for page in ("Prior", "Explore"):
        app = opened(page, v="2", model="g2p", text="treaty", prior="own", prior_id=name, encoder_alpha="1")
        assert not app.exception
        assert not app.error
        said += [each.value for each in (*app.caption, *app.markdown)]
    return said


@pytest.mark.parametrize("markup", MARKUP.values(), ids=MARKUP)
@pytest.mark.parametrize("where", ["name", "value", "known field"])
def test_markup_of_an_origin_is_text(markup, where):
    provenance = {"name": {markup: "x"}, "value": {"note": markup}, "known field": {"corpus": markup}}[where]
    said = shown(provenance)
    escaped = re.sub(r"([\\`*_\[\]$:!<>~#&|])", r"\\\1", markup)
    assert any(escaped in each for each in said)
    assert not any(markup in each for each in said)


def test_an_origin_without_end_is_cut():
    said = shown({f"field {n}" + "x" * 1000: "y" * 5000 for n in range(500)})
    (told,) = [each for each in said if "one Gaussian component" in each]
    assert "field" in told
    assert len(told) < 20 * (40 + 200 + 10) + 500
