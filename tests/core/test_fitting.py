"""Temperatures by gradient: the gradient against differences in float64; fits that go down, stop and go on."""

import itertools
import math
import threading
from contextlib import contextmanager

import pytest
import torch
from safetensors.torch import save as serialize
from torch.overrides import TorchFunctionMode

import nvib
from nvib import fitting, peers
from nvib.fit_state import Step, history_of, is_over
from nvib.settings import LayerTemperature
from tests.support import textbook
from tests.support.forwards import output
from tests.support.tiny import FAMILIES, inputs_of, model_of, prior_of


class Doubled(TorchFunctionMode):
    """Whatever asks for float32 gets float64, so that nothing of a float64 model is rounded on the way."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        def wide(value):
            return torch.float64 if value is torch.float32 else value

        if func is torch.Tensor.float:
            func = torch.Tensor.double
        return func(*map(wide, args), **{name: wide(value) for name, value in (kwargs or {}).items()})


def doubled(prior):
    return nvib.Prior.from_state_dict({name: tensor.double() for name, tensor in prior.state_dict().items()})


def wide_prior(prior):
    """A prior in float64: what reads one rounds it to float32, so its layers are made by hand."""
    layers = {name: nvib.LayerPrior(*(getattr(layer, part).double() for part in
                                      ("mean", "var", "log_alpha", "log_alpha_std")))
              for name, layer in prior.layers.items()}  # fmt: skip
    return nvib.Prior(layers)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_gradient_is_that_of_differences(family):
    """Of a fixed mixture of the outputs, for the three temperatures of every layer of every kind."""
    model = model_of(family)
    prior, inputs = wide_prior(prior_of(model)), inputs_of(model, rows=2, length=5)
    model = textbook.double(model).requires_grad_(False)
    inputs = {name: x.double() if x.is_floating_point() else x for name, x in inputs.items()}
    places = list(dict.fromkeys(site.place for site in nvib.families.sites(model)))
    chosen = torch.Generator().manual_seed(4)
    alpha, sigma, mu = (low + (high - low) * torch.rand(len(places), generator=chosen, dtype=torch.float64)
                        for low, high in ((-1.0, 2.0), (0.1, 0.6), (0.7, 0.95)))  # fmt: skip
    with nvib.reinterpret(model, prior) as nv:

        def said(*temperatures):
            at = {place: LayerTemperature(*(values[n] for values in temperatures)) for n, place in enumerate(places)}
            with Doubled(), nv.learning(at, nvib.Regularisation(protected=1)):
                out = output(model(**inputs))
            weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
            return (out * weights).sum()

        given = tuple(values.requires_grad_() for values in (alpha, sigma, mu))
        assert torch.autograd.gradcheck(said, given, eps=1e-5, atol=1e-6, rtol=1e-4, fast_mode=True)
        found = torch.autograd.grad(said(*given), given)
    for gradient in found:
        assert gradient.abs().max() > 1e-4
        assert (gradient != 0).all()


def batches_of(model, count=4):
    found = []
    for seed in range(count):
        batch = inputs_of(model, rows=2, length=8, seed=seed)
        if "decoder_input_ids" in batch:
            batch["labels"] = batch["decoder_input_ids"].clone()
        found.append(batch)
    return found


def loss_of(model, batches):
    total, count = 0.0, 0
    with torch.no_grad():
        for batch in batches:
            rows, counts = fitting.likelihood(model, batch)
            total, count = total + float(rows.sum()), count + int(counts.sum())
    return total / count


@pytest.mark.parametrize("family", ["llama", "gpt2", "bart", "t5", "gpt oss"])
@pytest.mark.parametrize("start", [None, peers.AttentionTemperature(1.2)], ids=["NV", "temperature"])
def test_a_fit_makes_its_text_likelier_and_leaves_the_model_alone(family, start):
    model = model_of(family)
    prior, batches = prior_of(model), batches_of(model)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with nvib.reinterpret(model, prior) as nv:
        plain = loss_of(model, batches)
        found = nvib.fit(nv, batches, start, steps=24, seed=1)
        inside = nv.instead if start else nv.regularised
        with inside(start or fitting.START):
            before = loss_of(model, batches)
        with inside(found.regularisation):
            after = loss_of(model, batches)
        assert loss_of(model, batches) == plain
    assert after < before
    assert len(found.history) == found.best == 24
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())


def test_the_loss_of_the_first_step_is_that_of_the_setting_it_begins_with():
    model = model_of("llama")
    (batch,) = batches_of(model, 1)
    setting = nvib.Regularisation(decoder=nvib.Temperature(1.0, 0.3, 0.9), protected=1)
    with nvib.reinterpret(model, prior_of(model)) as nv:
        found = nvib.fit(nv, [batch], setting, steps=1)
        with nv.regularised(setting):
            logits = model(**batch).logits.double().log_softmax(-1)
    mask = batch["attention_mask"]
    total = sum(-float(logits[row, n, batch["input_ids"][row, n + 1]])
                for row, n in itertools.product(range(2), range(7)) if mask[row, n + 1])  # fmt: skip
    assert found.history[0].loss == pytest.approx(total / int(mask[:, 1:].sum()), rel=1e-5)


@pytest.mark.parametrize(("by", "differ"), [("layer", 3), ("group", 3), ("all", 1)])
def test_layers_share_what_they_are_asked_to(by, differ):
    model = model_of("bart")
    with nvib.reinterpret(model, prior_of(model)) as nv:
        found = nvib.fit(nv, batches_of(model), by=by, steps=3).regularisation
    values = found.decoder.alpha if isinstance(found.decoder.alpha, tuple) else (found.decoder.alpha,)
    assert len(set(values)) == differ
    assert all(float(f"{value:.4g}") == value for value in values)


def test_thirds_of_six_layers_are_two_each():
    model = model_of("llama", num_hidden_layers=6)
    with nvib.reinterpret(model, prior_of(model)) as nv:
        alpha = nvib.fit(nv, batches_of(model), by="group", steps=3).regularisation.decoder.alpha
    assert alpha[0] == alpha[1] != alpha[2] == alpha[3] != alpha[4] == alpha[5]


def test_layers_that_are_not_chosen_stay_at_identity_and_the_rest_of_a_setting_holds():
    model = model_of("llama")
    start = nvib.Regularisation(decoder=nvib.Temperature(1.0, 0.3), layers={"decoder": {1}}, protected=1,
                                pseudo_count_shift=-2.0)  # fmt: skip
    with nvib.reinterpret(model, prior_of(model)) as nv:
        found = nvib.fit(nv, batches_of(model), start, steps=3).regularisation
    assert (found.protected, found.pseudo_count_shift, found.layers) == (1, -2.0, {"decoder": frozenset({1})})
    assert found.decoder.at(0) == LayerTemperature()
    assert found.decoder.at(1) != LayerTemperature()


def test_a_penalty_pulls_towards_identity():
    model = model_of("llama")
    with nvib.reinterpret(model, prior_of(model)) as nv:
        free, held = (nvib.fit(nv, batches_of(model), steps=12, penalty=penalty).regularisation.decoder
                      for penalty in (0.0, 100.0))  # fmt: skip
    for layer in (0, 1):
        one, other = held.at(layer), free.at(layer)
        assert one.sigma < other.sigma
        assert one.mu > other.mu
        assert one.alpha > other.alpha


class Killed(Exception):
    pass


@pytest.mark.parametrize("start", [None, peers.AttentionTemperature(1.2)], ids=["NV", "temperature"])
@pytest.mark.parametrize("stops", [(1,), (3, 4, 9)])
def test_a_fit_that_was_stopped_goes_on_to_the_same_numbers(tmp_path, start, stops):
    model = model_of("bart")
    batches = batches_of(model)
    held_out = [inputs | {"labels": inputs["decoder_input_ids"]} for inputs in [inputs_of(model, rows=2, seed=9)]]
    with nvib.reinterpret(model, prior_of(model)) as nv:
        whole = nvib.fit(nv, batches, start, steps=12, seed=3, held_out=held_out)
        for stop in stops:

            def kill(made, _steps, _loss, stop=stop):
                if made == stop:
                    raise Killed

            with pytest.raises(Killed):
                nvib.fit(nv, batches, start, steps=12, seed=3, held_out=held_out, progress=kill, state=tmp_path / "f")
        assert nvib.fit(nv, batches, start, steps=12, seed=3, held_out=held_out, state=tmp_path / "f") == whole


def test_a_row_without_a_finite_loss_is_left_out_and_counted():
    model = model_of("llama")
    good, bad = batches_of(model, 2)
    both = {name: torch.cat((good[name], bad[name])) for name in good}

    def loss(model, batch):
        rows, counts = fitting.likelihood(model, batch)
        marked = (batch["input_ids"][:, None] == bad["input_ids"][None]).all(-1).any(-1)
        rows = rows.clone()
        rows[marked] = math.nan
        return rows, counts

    with nvib.reinterpret(model, prior_of(model)) as nv:
        alone = nvib.fit(nv, [good], steps=4, loss=loss)
        found = nvib.fit(nv, [both], steps=4, loss=loss)
        assert (alone.skipped, found.skipped) == (0, 8)
        ends = (found.regularisation.decoder, alone.regularisation.decoder)
        for one, other in zip(*((t.alpha, t.sigma, t.mu) for t in ends), strict=True):
            assert one == pytest.approx(other, rel=1e-2)
        with pytest.raises(nvib.NVError, match=r"^No row of a step's batches has a finite loss"):
            nvib.fit(nv, [bad], steps=4, loss=loss)


def test_the_best_on_what_is_held_out_is_returned_and_a_tired_fit_stops():
    """Held out is what the fitted text is not: the more it is fitted, the worse that becomes."""
    model = model_of("llama")
    first, other = batches_of(model, 2)
    with nvib.reinterpret(model, prior_of(model)) as nv:

        def measured(regularisation):
            with nv.regularised(regularisation):
                return loss_of(model, [other])

        found = nvib.fit(nv, [first], steps=200, rate=0.5, held_out=[other])
        looks = {n: step.held_out for n, step in enumerate(found.history, 1) if step.held_out is not None}
        assert found.best == min(looks, key=looks.get) < len(found.history) < 200
        assert measured(found.regularisation) == pytest.approx(looks[found.best], rel=1e-3)
        again = nvib.fit(nv, [first], steps=found.best, rate=0.5)
        assert again.regularisation == found.regularisation


def test_two_fits_at_the_same_time_and_a_visitor_between_them():
    model = model_of("llama")
    batches, ids = batches_of(model), inputs_of(model)
    with nvib.reinterpret(model, prior_of(model)) as nv:
        plain = output(model(**ids))
        alone = [nvib.fit(nv, batches, steps=6, seed=seed) for seed in (1, 2)]
        found = [None, None]

        def one(n):
            found[n] = nvib.fit(nv, batches, steps=6, seed=n + 1)

        threads = [threading.Thread(target=one, args=(n,)) for n in (0, 1)]
        [thread.start() for thread in threads]
        while any(thread.is_alive() for thread in threads):
            with torch.no_grad():
                assert torch.equal(output(model(**ids)), plain)
        [thread.join() for thread in threads]
    assert found == alone


@pytest.mark.parametrize(
    ("given", "error", "sentence"),
    [
        ({"by": "head"}, ValueError, "by='head' is none of layer, group, all."),
        ({"steps": 0}, ValueError, "A fit needs at least one step and one batch, and was given 0 and 1."),
        (
            {"start": nvib.Regularisation(layers={})},
            nvib.NVError,
            "No layer is chosen, so that there is nothing to fit",
        ),
    ],
)
def test_what_cannot_be_fitted(given, error, sentence):
    model = model_of("llama")
    with nvib.reinterpret(model, prior_of(model)) as nv, pytest.raises(error, match=f"^{sentence}"):
        nvib.fit(nv, batches_of(model, 1), **given)


def test_an_encoder_needs_labels_or_a_loss():
    model = model_of("bert")
    with nvib.reinterpret(model, prior_of(model)) as nv:
        with pytest.raises(
            nvib.NVError, match=r"^The batches for BertModel hold no labels; add some, or pass a loss\."
        ):
            nvib.fit(nv, [inputs_of(model)])

        def spread(model, batch):
            states = model(**batch).last_hidden_state
            return -states.square().sum((1, 2)), torch.full((len(states),), states.shape[1])

        found = nvib.fit(nv, [inputs_of(model)], steps=5, loss=spread)
    assert found.history[-1].loss < found.history[0].loss


def test_a_prior_of_inference_mode_is_fitted_with_and_a_model_of_it_is_told():
    model = model_of("llama")
    batches = batches_of(model)
    with torch.inference_mode():
        prior, other = prior_of(model), model_of("llama")
    with nvib.reinterpret(model, prior) as nv:
        found = nvib.fit(nv, batches, steps=2)
        with torch.inference_mode():
            assert nvib.fit(nv, batches, steps=2) == found
            slopes = fitting.slopes(nv, batches[0])
        assert torch.isfinite(slopes["decoder"]).all()
    told = r"^This LlamaForCausalLM was loaded in torch\.inference_mode, where nothing has a gradient; load it"
    with nvib.reinterpret(other, prior) as nv, pytest.raises(nvib.NVError, match=told):
        nvib.fit(nv, batches, steps=2)


def test_a_state_of_another_fit_or_none_is_refused(tmp_path):
    model = model_of("llama")
    with nvib.reinterpret(model, prior_of(model)) as nv:
        nvib.fit(nv, batches_of(model), steps=1, state=tmp_path / "state")
        told = r"^The file of the fit's state is of another model, text, start or seed; name another one\.$"
        with pytest.raises(nvib.NVError, match=told):
            nvib.fit(nv, batches_of(model), steps=1, seed=1, state=tmp_path / "state")
        (tmp_path / "none").write_bytes(b"nothing")
        unread = r"^The file of the fit's state cannot be read; name another one\.$"
        with pytest.raises(nvib.NVError, match=unread):
            nvib.fit(nv, batches_of(model), steps=1, state=tmp_path / "none")
    cut = (tmp_path / "state").read_bytes()[:-1]
    for data in (b"nothing", cut, serialize({}, {"fit": "x", "told": "[]"})):
        with pytest.raises(nvib.NVError, match=unread):
            history_of(data)


def test_a_state_that_cannot_be_written_is_one_sentence(tmp_path):
    model, file = model_of("llama"), tmp_path / "no folder" / "state"
    told = rf"^The fit's steps cannot be kept in '{file}' \(No such file or directory\); name another file\.$"
    with nvib.reinterpret(model, prior_of(model)) as nv, pytest.raises(nvib.NVError, match=told):
        nvib.fit(nv, batches_of(model), steps=1, state=file)


def test_every_forward_and_its_backward_are_made_in_a_turn(monkeypatch):
    model = model_of("llama")
    batches, inside, seen = batches_of(model, 2), [], []
    gradient = torch.autograd.grad

    @contextmanager
    def turn(batch):
        inside.append(batch)
        yield
        inside.pop()

    def loss(model, batch):
        seen.append(len(inside))
        return fitting.likelihood(model, batch)

    def grad(*given, **options):
        seen.append(len(inside))
        return gradient(*given, **options)

    monkeypatch.setattr(torch.autograd, "grad", grad)
    with nvib.reinterpret(model, prior_of(model)) as nv:
        nvib.fit(nv, batches, steps=4, held_out=batches, loss=loss, turn=turn)
        fitting.slopes(nv, batches[0], loss=loss, turn=turn)
    steps, looks, rows = [1, 1, 0] * 4, [1] * 2, [1, 1] * 2  # 0: the penalty's, which asks no model
    assert seen == steps + looks + rows


def test_a_file_of_a_fit_tells_its_steps(tmp_path):
    model = model_of("llama")
    with nvib.reinterpret(model, prior_of(model)) as nv:
        found = nvib.fit(nv, batches_of(model), steps=4, state=tmp_path / "state", held_out=batches_of(model, 1))
    told = history_of((tmp_path / "state").read_bytes())
    assert told == found.history
    assert [step.held_out is None for step in told] == [True, True, True, False]


def test_the_modules_of_a_model_are_walked_once(monkeypatch):
    walked = []
    monkeypatch.setattr(fitting, "kinds", lambda model: walked.append(model) or ("decoder",))
    model = model_of("llama")
    for _ in range(3):
        fitting.likelihood(model, inputs_of(model))
    assert walked == [model]


@pytest.mark.parametrize(
    ("looks", "steps", "over"),
    [
        ([], 0, True), ([], 1, False), ([3.0, 2.0, 2.5, 2.5, 2.5], 9, False), ([3.0, 2.0, 2.5, 2.5, 2.5, 2.5], 9, True),
        ([3.0, 2.0, 2.5, 2.5, 2.5, 1.9], 9, False), ([1.0, 2.0], 2, True),
    ],
)  # fmt: skip
def test_a_fit_is_over_after_its_steps_or_four_looks_without_a_better_one(looks, steps, over):
    assert is_over([Step(1.0, look) for look in looks], steps) == over


def test_the_gradient_of_smollm2_is_that_of_differences():
    """Of one sentence's loss, for twenty of its ninety temperatures, in float64."""
    loaded = nvib.load("smollm2")
    model = textbook.double(loaded.model).requires_grad_(False)
    batch = dict(loaded.encode(["The cat sat on the"]))
    places = [("decoder", layer) for layer in range(30)]
    values = torch.tensor([[2.0, 0.2, 0.97]], dtype=torch.float64).repeat(30, 1)
    with nvib.reinterpret(model, wide_prior(loaded.prior)) as nv:

        def loss(values):
            at = {place: LayerTemperature(*values[n]) for n, place in enumerate(places)}
            with Doubled(), nv.learning(at, nvib.Regularisation(protected=1)):
                return fitting.likelihood(model, batch)[0].sum()

        at = values.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(at), at)
        picked = torch.randperm(90, generator=torch.Generator().manual_seed(6))[:20]
        with torch.no_grad():
            for layer, name in zip((picked // 3).tolist(), (picked % 3).tolist(), strict=True):
                step = torch.zeros_like(values)
                step[layer, name] = 1e-4
                slope = float(loss(values + step) - loss(values - step)) / 2e-4
                assert float(gradient[layer, name]) == pytest.approx(slope, rel=1e-3, abs=1e-7)


@pytest.mark.parametrize("family", ["llama", "bart", "gpt oss"])
def test_slopes_are_those_of_differences_row_by_row(family):
    """Of a row alone, between two settings that differ in one layer's temperature; float32, so to some digits."""
    model = model_of(family)
    (batch,) = batches_of(model, 1)
    kind, layer = "decoder", 1
    count = len({s.layer for s in nvib.families.sites(model) if s.kind == kind})
    before = {"alpha": 1.0, "sigma": 0.3, "mu": 0.9}
    with nvib.reinterpret(model, prior_of(model)) as nv:
        setting = nvib.Regularisation(decoder=nvib.Temperature(**before), layers={kind: {layer}}, protected=1)
        found = nvib.fitting.slopes(nv, batch, setting)
        assert torch.isnan(found[kind][:, 0]).all()
        for n, (name, value) in enumerate(before.items()):
            losses = []
            for step in (0.02, -0.02):
                moved = before | {name: [value] * layer + [value + step] + [value] * (count - layer - 1)}
                at = nvib.Regularisation(decoder=nvib.Temperature(**moved), layers={kind: {layer}}, protected=1)
                with nv.regularised(at), torch.no_grad():
                    rows, tokens = fitting.likelihood(model, batch)
                losses.append(rows.double() / tokens)
            wanted = (losses[0] - losses[1]) / 0.04
            torch.testing.assert_close(found[kind][:, layer, n], wanted, rtol=0.02, atol=2e-4)


def test_slopes_at_identity_are_taken_beside_it():
    model = model_of("llama")
    (batch,) = batches_of(model, 1)
    beside = fitting.BESIDE
    with nvib.reinterpret(model, prior_of(model)) as nv:
        told = []
        found = nvib.fitting.slopes(nv, batch, progress=lambda done, count: told.append((done, count)))
        wanted = nvib.fitting.slopes(
            nv, batch, nvib.Regularisation(decoder=nvib.Temperature(beside.alpha, beside.sigma, beside.mu))
        )
    assert told == [(1, 2), (2, 2)]
    assert list(found) == ["decoder"]
    assert torch.equal(found["decoder"], wanted["decoder"])
