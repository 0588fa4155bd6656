"""Entering and leaving a reinterpretation: nothing is left behind, and threads do not disturb each other."""

import asyncio
import contextvars
import copy
import functools
import gc
import os
import subprocess
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import transformers

import nvib
from nvib import context, hooks
from tests.support.folders import ROOT
from tests.support.forwards import IMPLEMENTED, NORMED, SETTINGS, output, regularisation
from tests.support.tiny import FAMILIES, inputs_of, model_of, prior_of  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_only_key_norms_are_experimental(family):
    model = model_of(family)
    with nvib.reinterpret(model, nvib.standard_normal_prior(model)) as nv:
        assert bool(nv.experimental) == (family in NORMED)


@pytest.mark.parametrize(("family", "implementation"), IMPLEMENTED)
def test_leaving_restores_the_model_bit_for_bit(family, implementation):
    model = model_of(family)
    model.set_attn_implementation(implementation)
    prior, inputs = prior_of(model), inputs_of(model)
    before = output(model(**inputs))
    with nvib.reinterpret(model, prior) as nv:
        inside = output(model(**inputs))
        with nv.regularised(regularisation(SETTINGS["both"])):
            changed = output(model(**inputs))
    assert torch.equal(before, inside)
    assert not torch.allclose(before, changed, atol=1e-3)
    assert torch.equal(before, output(model(**inputs)))
    assert model.config._attn_implementation == implementation
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


def test_eight_threads_with_settings_of_their_own_get_what_each_gets_alone():
    model = model_of("llama")
    ids = torch.arange(3, 15)[None]
    settings = [regularisation({"alpha": a, "sigma": s, "mu": 1.0}) for a in (0.0, 2.0) for s in (0.1, 0.3, 0.5, 0.6)]
    with nvib.reinterpret(model, prior_of(model)) as nv:

        def once(setting):
            with nv.regularised(setting):
                return model(input_ids=ids).logits

        alone = [once(setting) for setting in settings]
        with ThreadPoolExecutor(8) as pool:
            together = list(pool.map(once, settings * 60))
    for number, logits in enumerate(together):
        assert torch.equal(logits, alone[number % len(settings)])


THREADS = {
    "submitted": lambda pool, nv, given: pool.submit(nv.generate, **given),
    "bound to its arguments": lambda pool, nv, given: pool.submit(functools.partial(nv.generate, **given)),
    "in a copy of the context": lambda pool, nv, given: pool.submit(
        contextvars.copy_context().run, lambda: nv.generate(**given)
    ),
    "the model in a copy of the context": lambda pool, nv, given: pool.submit(
        contextvars.copy_context().run, functools.partial(nv.model.generate, use_cache=False), **given
    ),
}


@pytest.mark.parametrize("way", THREADS)
def test_a_thread_that_is_handed_generate_runs_under_the_setting_it_was_taken_in(way):
    model, setting = model_of("llama"), regularisation(SETTINGS["both"])
    given = {"input_ids": torch.arange(3, 12)[None], "max_new_tokens": 8}
    with nvib.reinterpret(model, prior_of(model)) as nv, ThreadPoolExecutor(1) as pool:
        untouched = nv.generate(**given)
        with nv.regularised(setting):
            wanted = nv.generate(**given)
            started = THREADS[way](pool, nv, given)
        assert torch.equal(started.result(), wanted)  # though the context has ended here
        assert not torch.equal(wanted, untouched)
        with nv.regularised(setting):  # another visitor's thread, which was handed nothing of it
            assert torch.equal(pool.submit(model.generate, **given).result(), untouched)
        assert torch.equal(pool.submit(nv.generate, **given).result(), untouched)
        assert torch.equal(nv.generate(**given), untouched)


def test_the_streamers_recipe_writes_the_regularised_text():
    """As transformers documents it: a thread generates, and its text is read as it comes."""
    model, setting = model_of("llama"), regularisation(SETTINGS["both"])
    given = {"input_ids": torch.arange(3, 12)[None], "max_new_tokens": 8}

    class Words:
        def decode(self, ids, **options):
            return "".join(f"{int(n)} " for n in ids)

    with nvib.reinterpret(model, prior_of(model)) as nv, nv.regularised(setting):
        streamer = transformers.TextIteratorStreamer(Words(), skip_prompt=True, timeout=60)
        thread = threading.Thread(target=nv.generate, kwargs=given | {"streamer": streamer})
        thread.start()
        said = "".join(streamer).split()
        thread.join()
        assert said == [str(n) for n in nv.generate(**given)[0, 9:].tolist()]


def test_what_a_context_says_of_a_model_comes_before_what_generate_was_taken_in():
    model, one, two = model_of("llama"), *(regularisation(SETTINGS[name]) for name in ("both", "mean"))
    given = {"input_ids": torch.arange(3, 12)[None], "max_new_tokens": 8}
    other = model_of("bert")
    with nvib.reinterpret(model, prior_of(model)) as nv, nvib.reinterpret(other, prior_of(other)) as others:
        untouched = nv.generate(**given)
        with nv.regularised(one):
            first, taken = nv.generate(**given), nv.generate
            with context.untouched():
                assert torch.equal(taken(**given), untouched)
            with nv.regularised(two):
                second = nv.generate(**given)
                assert torch.equal(taken(**given), second)
        with others.regularised(two):
            assert torch.equal(taken(**given), first)
        assert torch.equal(taken(**given), first)
        assert not torch.equal(first, second)


def test_a_task_has_the_setting_of_where_it_was_made():
    model, setting = model_of("llama"), regularisation(SETTINGS["both"])
    given = {"input_ids": torch.arange(3, 12)[None], "max_new_tokens": 4}

    async def written(nv):
        async def task():
            return nv.generate(**given)

        with nv.regularised(setting):
            made = asyncio.create_task(task())
        return [await made]

    async def written_in_a_thread(nv):
        with nv.regularised(setting):
            return [nv.generate(**given), await asyncio.to_thread(lambda: nv.generate(**given))]

    with nvib.reinterpret(model, prior_of(model)) as nv:
        untouched = nv.generate(**given)
        found = [*asyncio.run(written(nv)), *asyncio.run(written_in_a_thread(nv))]
    assert all(torch.equal(found[0], ids) for ids in found)
    assert not torch.equal(found[0], untouched)


def test_a_copy_of_a_reinterpreted_model_is_refused():
    model = model_of("llama")
    with nvib.reinterpret(model, prior_of(model)):
        copied = copy.deepcopy(model)
        with pytest.raises(nvib.NVError, match="A copy of a reinterpreted model runs on its own here, as DataParallel"):
            copied(input_ids=torch.arange(3, 9)[None])


def test_entering_and_leaving_three_hundred_times_leaves_nothing_behind():
    model = model_of("bert")
    prior, inputs, setting = prior_of(model), inputs_of(model), regularisation(SETTINGS["both"])
    before = output(model(**inputs))

    def once():
        with nvib.reinterpret(model, prior) as nv, nv.regularised(setting):
            model(**inputs)
        return weakref.ref(nv)

    left = [once() for _ in range(300)]
    gc.collect()
    assert not [nv for nv in left if nv() is not None]
    assert not set(model.modules()) & set(hooks._OWNERS)
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())
    assert torch.equal(before, output(model(**inputs)))


def test_a_model_is_reinterpreted_once_at_a_time():
    model = model_of("bert")
    prior = prior_of(model)
    with (
        nvib.reinterpret(model, prior),
        pytest.raises(nvib.NVError, match="This BertModel is reinterpreted already; use the nv of that context"),
        nvib.reinterpret(model, prior),
    ):
        pass
    with nvib.reinterpret(model, prior):  # and again when the first has left
        pass


def test_a_setting_on_a_model_without_its_hooks_is_an_error():
    """Never the untouched model's numbers in silence: before, after, and for work that another thread cuts off."""
    model = model_of("llama")
    ids, setting = torch.arange(3, 15)[None], regularisation(SETTINGS["both"])
    nv = nvib.reinterpret(model, prior_of(model))

    refusal = r"^NV attention was taken out of this LlamaForCausalLM, so that no setting holds"

    def under(cut_off=lambda: None):
        with nv.regularised(setting):
            cut_off()
            return model(input_ids=ids)

    def elsewhere():
        other = threading.Thread(target=nv.__exit__)
        other.start()
        other.join()

    with pytest.raises(nvib.NVError, match=refusal):
        under()
    with nv:
        under()
        with nv.regularised(setting):
            generate = nv.generate
        with pytest.raises(nvib.NVError, match=refusal):
            under(elsewhere)
        with pytest.raises(nvib.NVError, match=refusal):
            generate(input_ids=ids, max_new_tokens=2)
    with pytest.raises(nvib.NVError, match=refusal):
        under()


def test_an_attention_implementation_without_hooks_is_refused():
    model = model_of("bert")
    prior = prior_of(model)
    model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(nvib.NVError, match="'flash_attention_2' is not supported; load with 'sdpa' or 'eager'"):
        nvib.reinterpret(model, prior).__enter__()
    assert not set(model.modules()) & set(hooks._OWNERS)


def test_what_is_no_setting_is_refused_before_anything_runs():
    model = model_of("bart")
    with nvib.reinterpret(model, prior_of(model)) as nv:
        with pytest.raises(nvib.NVError, match=r"regularised\(\) needs an nvib.Regularisation, not Temperature"):
            nv.regularised(nvib.Temperature(alpha=1.0))
        with pytest.raises(nvib.NVError, match="Layer 3 of 'decoder' does not exist: this model has 3 there"):
            nv.regularised(nvib.Regularisation(layers={"decoder": {0, 3}}))
        with pytest.raises(nvib.NVError, match=r"The prior has no entry 'encoder\.0'"):
            nv.regularised(nvib.Regularisation(), prior_of(model_of("llama")))
    bert = model_of("bert")
    with nvib.reinterpret(bert, prior_of(bert)) as nv:
        nv.regularised(nvib.Regularisation(layers={"decoder": {99}}))  # a kind that it lacks is no concern of it


def test_assisted_generation_is_refused():
    model = model_of("llama")
    with nvib.reinterpret(model, prior_of(model)) as nv, pytest.raises(nvib.NVError, match="leave out assistant_model"):
        nv.generate(input_ids=torch.arange(3, 9)[None], assistant_model=model)


OPEN = """
import contextlib, os, nvib
from tests.support.tiny import inputs_of, model_of
model = model_of("llama")
nv = nvib.reinterpret(model, nvib.standard_normal_prior(model))
setting = nvib.Regularisation(decoder=nvib.Temperature(alpha=1.0))
"""
WAYS = {
    "alone": "nv.__enter__()",
    "with a setting": "nv.__enter__(); inside = nv.regularised(setting); inside.__enter__()",
    "on a stack": "stack = contextlib.ExitStack(); [stack.enter_context(c) for c in (nv, nv.regularised(setting))]",
    "with a capture": "nv.__enter__(); seen = nvib.capture(); seen.__enter__(); model(**inputs_of(model))",
    "in a generator": "def g():\n  with nv, nv.regularised(setting), nvib.capture():\n    yield\nk = g(); next(k)",
}


ENDED = """
for way, code in ways.items():
    if not os.fork():
        exec(code)
        break  # this program ends here, with what the way left open
    print(way, os.wait()[1], flush=True)
"""


def test_a_program_that_ends_inside_prints_nothing():
    program = f"ways = {WAYS!r}{OPEN}{ENDED}"
    alone = os.environ | {"OMP_NUM_THREADS": "1"}  # a program with threads is not copied whole
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=alone, capture_output=True, text=True, check=True
    )
    assert (ended.stdout, ended.stderr) == ("".join(f"{way} 0\n" for way in WAYS), "")
