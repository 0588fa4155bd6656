"""What is active where: settings nest, come back, and stay in their own context."""

import contextvars
import threading

import pytest

from nvib import Regularisation, Temperature
from nvib.context import Setting, active, any_active, setting_of, untouched

ONE, OTHER = (Setting(Regularisation(decoder=Temperature(alpha=alpha)), None) for alpha in (1.0, 2.0))


def test_settings_nest_and_come_back():
    assert not any_active()
    with active("model", ONE):
        assert setting_of("model") is ONE
        with active("model", OTHER), active("another", ONE):
            assert (setting_of("model"), setting_of("another")) == (OTHER, ONE)
        assert (setting_of("model"), setting_of("another")) == (ONE, None)
        with untouched():
            assert not any_active()
            with active("another", OTHER):
                assert (setting_of("model"), setting_of("another")) == (None, OTHER)
        assert setting_of("model") is ONE
    assert not any_active()


def test_an_error_leaves_nothing_active():
    with pytest.raises(KeyboardInterrupt), active("model", ONE):
        raise KeyboardInterrupt
    assert not any_active()


def test_another_thread_or_context_sees_nothing_of_it():
    seen = []
    with active("model", ONE):
        thread = threading.Thread(target=lambda: seen.append(any_active()))
        thread.start()
        thread.join()
        taken = contextvars.copy_context()
    assert seen == [False]
    assert taken.run(setting_of, "model") is ONE  # who copies a context takes its setting along
    assert not any_active()
