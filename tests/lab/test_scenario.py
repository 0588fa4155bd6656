"""A scenario and its fields."""

from nvib.lab import Scenario


def test_a_share_of_a_setting_without_prior_has_no_shift():
    half = Scenario(decoder_sigma=0.4, mu=0.8).at_share(0.5)
    assert half == Scenario(decoder_sigma=0.2, mu=0.9)
