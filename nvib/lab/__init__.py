"""Scenario in, Observation out: what a view of a model under regularisation is, and its numbers."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
