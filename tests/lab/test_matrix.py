"""Families by quirks: whatever real checkpoints bring along, a text model's numbers are its own, or one sentence.

Each cell saves a checkpoint with one quirk, opens it as the app does, and compares it with the very model that was
saved, which transformers runs by itself: eager attention, no cache, no padding, one row at a time.
"""

import inspect
import json
import re
import sys
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest
import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors.torch import load_file
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING

import nvib
from nvib.lab import Bench, Scenario, observe
from nvib.lab.view import check
from nvib.lab.view.comparison import compare
from tests.support import textbook, tiny
from tests.support.adapters import Adapted, replaced
from tests.support.docs import DOCS
from tests.support.folders import MARKS, WORDS, save_words, sentence
from tests.support.forwards import SETTINGS, output, regularisation

UNREAD = (*tiny.UNWRITTEN, "whisper")  # images and sound
FAMILIES = [family for family in tiny.FAMILIES if family not in UNREAD]
LONG, SHORT = "cat sat on the mat the cat on sat", "mat the cat"  # longer than a window, and shorter
LINES = [LONG, SHORT, "on the mat"]
TARGET = torch.tensor([[1, 5, 9, 7]])
STEPS = 5
IDS = {word: number for number, word in enumerate(WORDS)} | MARKS


@dataclass
class Cell:
    """A checkpoint with a quirk. model: what was saved; front: the tokens that its tokenizer puts before a text."""

    folder: str
    model: Any
    front: list[int] = field(default_factory=list)

    def ids(self, text):
        return torch.tensor([[*self.front, *(IDS[word] for word in text.split())]])


def alike(cell):
    """Whether the attention is that of another family but for its name: a setting adds nothing there but time."""
    return any(type(cell.model) is type(model_of(family)) for family in tiny.ALIKE if family in FAMILIES)


@cache
def model_of(family):
    """The family's tiny model with its eager attention, which is only read."""
    return changed(family)


def changed(family, headed=False, **changes):
    """The same with another configuration; headed: an encoder with its language head."""
    model = tiny.model_of(family, **changes)
    if headed and not model.can_generate():
        torch.manual_seed(1)
        model = transformers.AutoModelForMaskedLM.from_config(model.config).eval().requires_grad_(False)
    model.set_attn_implementation("eager")
    return model


def saved(model, folder, template="", **tokenizer):
    return Cell(save_words(folder, model, template, **{"pad_token": "[PAD]"} | tokenizer), model)


def edited(folder, name, **changes):
    path = folder / name
    known = json.loads(path.read_text("utf-8")) if path.exists() else {}
    path.write_text(json.dumps(known | changes), "utf-8")


# What must hold


def said(model, ids):
    """The model's own words on one row: logits, or last hidden states [1, N, ...], float64."""
    more = {"decoder_input_ids": TARGET} if model.config.is_encoder_decoder else {}
    with torch.no_grad():
        out = model(input_ids=ids, output_hidden_states=True, **more)
    bare = getattr(out, "last_hidden_state", None)
    return (out.logits if model.can_generate() else out.hidden_states[-1] if bare is None else bare).double()


def near(found, expected, what):
    worst = float((found.double() - expected).abs().max() / (expected.max() - expected.min()))
    assert worst < 1e-4, f"{what}: {worst:.1g} of the range apart"


def tokens_hold(cell, bench):
    """Every path's tokens are the tokenizer's own, and padding is no token."""
    batch = bench.encode([LONG, SHORT])
    for text, ids, mask in zip((LONG, SHORT), batch["input_ids"], batch["attention_mask"], strict=True):
        assert ids[mask.bool()].tolist() == cell.ids(text)[0].tolist()


def numbers_hold(cell, bench):
    """A row of a batch, untouched and at identity, says what the model by itself says of it alone."""
    batch = bench.encode([LONG, SHORT])
    if bench.mode.answers:
        batch |= {"decoder_input_ids": TARGET.repeat(2, 1)}
    with torch.no_grad():
        untouched = bench.output(batch)
        with bench.nv.regularised(nvib.Regularisation()):
            identity = bench.output(batch)
    for row, text in enumerate((LONG, SHORT)):
        expected = said(cell.model, cell.ids(text))
        for found, what in ((untouched, "untouched"), (identity, "at identity")):
            near(found[row : row + 1, : expected.shape[1]], expected, what)


def prior_holds(cell, bench):
    """A prior is that of the rows alone, whatever their batch is padded with."""
    if not bench.mode.answers:
        alone = nvib.estimate_prior(bench.model, [{"input_ids": cell.ids(text)} for text in LINES]).state_dict()
        for name, value in bench.priors.estimate(LINES, "lines").state_dict().items():
            torch.testing.assert_close(value, alone[name], rtol=1e-3, atol=1e-4)
    else:
        assert all(bool(value.isfinite().all()) for value in bench.priors.estimate(LINES, "x").state_dict().values())


def text_holds(cell, bench, start=None):
    """Greedy text is the likeliest of plain forwards over all before it, of the model by itself and of a setting."""
    batch = bench.encode([LONG])
    sides = {"untouched": cell.model} | ({} if alike(cell) else {"regularised": bench.model})
    for name, model in sides.items():
        setting = regularisation(SETTINGS["both"])
        with nullcontext() if name == "untouched" else bench.nv.regularised(setting), torch.no_grad():
            ids = bench.generate(batch, STEPS)
            first = 1 if bench.mode.answers else batch["input_ids"].shape[1]
            given = (
                {"input_ids": cell.ids(LONG), "decoder_input_ids": ids} if bench.mode.answers else {"input_ids": ids}
            )
            logits = model(**given, use_cache=False).logits[0, first - 1 : -1]
        assert start is None or int(ids[0, 0]) == start
        assert ids[0, first:].tolist() == logits.argmax(-1).tolist(), name
        assert ids.shape[1] > first


def regularised_holds(cell, bench, anyway=False):
    """Under a setting the numbers are those of the float64 textbook on the model that was saved."""
    if alike(cell) and not anyway:
        return
    prior = bench.priors.estimate(LINES, "lines")
    inputs = {"input_ids": cell.ids(LONG)} | ({"decoder_input_ids": TARGET} if bench.mode.answers else {})
    expected = textbook.run(cell.model, inputs | {"attention_mask": torch.ones_like(inputs["input_ids"])},
                            prior.state_dict(), SETTINGS["both"])  # fmt: skip
    expected = expected.last_hidden_state if expected.logits is None else expected.logits
    with torch.no_grad(), bench.nv.regularised(regularisation(SETTINGS["both"]), prior):
        near(output(bench.model(**inputs)), expected, "regularised")


# The quirks: each yields the checkpoint, and is given the bench that opened it


def no_pad_token(family, folder):
    bench = yield (cell := saved(model_of(family), folder, pad_token=None))
    assert bench.loaded.tokenizer.pad_token_id is None
    tokens_hold(cell, bench)
    numbers_hold(cell, bench)
    prior_holds(cell, bench)


def left_padding(family, folder):
    bench = yield (cell := saved(model_of(family), folder, padding_side="left"))
    assert bench.loaded.tokenizer.padding_side == "left"
    tokens_hold(cell, bench)
    numbers_hold(cell, bench)
    prior_holds(cell, bench)


def no_cache(family, folder):
    cell = saved(model_of(family), folder)
    for name in ("config.json", "generation_config.json"):
        edited(folder, name, use_cache=False)
    bench = yield cell
    assert bench.model.generation_config.use_cache is False
    text_holds(cell, bench)


def penalties(family, folder):
    cell = saved(model_of(family), folder)
    asked = {"repetition_penalty": 5.0, "no_repeat_ngram_size": 1, "num_beams": 2, "min_new_tokens": 9}
    edited(folder, "generation_config.json", **asked)
    bench = yield cell
    assert bench.model.generation_config.repetition_penalty == 5.0
    text_holds(cell, bench)


def start_token(family, folder):
    """Of the tokenizer, and of an encoder-decoder another one than its family's."""
    cell = saved(model_of(family), folder, "[CLS] $A", bos_token="[CLS]")
    cell.front = [IDS["[CLS]"]]
    if cell.model.config.is_encoder_decoder:
        edited(folder, "generation_config.json", decoder_start_token_id=7)
    bench = yield cell
    tokens_hold(cell, bench)
    numbers_hold(cell, bench)
    if bench.mode.writes:
        text_holds(cell, bench, start=7 if bench.mode.answers else None)


def padded_vocabulary(family, folder):
    """Most of what such a random model writes has no name in the tokenizer."""
    cell = saved(changed(family, vocab_size=64), folder)
    bench = yield cell
    assert max(IDS.values()) + 1 < len(bench.model.get_input_embeddings().weight)
    numbers_hold(cell, bench)
    scenario = Scenario(model=cell.folder, text=LONG, prior="normal", length=2, **{f"{bench.kinds[-1]}_alpha": 1.0})
    assert all(observe(bench, scenario).tokens)
    if bench.mode.writes:
        compared = compare(bench, scenario, bench.priors.of(scenario))
        assert all(all(side) for side in compared.tokens.values())
        text_holds(cell, bench)


def added_tokens(family, folder):
    yield saved(changed(family, vocab_size=6), folder)


def embeddings(together):
    def quirk(family, folder):
        model = changed(family, headed=True, tie_word_embeddings=together)
        if not together and family in ("t5", "mt5"):  # a T5 of version 1.1: its files alone say that it is untied
            model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.flip(0), requires_grad=False)
        cell = saved(model, folder)
        bench = yield cell
        for model in (cell.model, bench.model):
            same = torch.equal(model.get_input_embeddings().weight, model.get_output_embeddings().weight)
            assert same is together
        numbers_hold(cell, bench)
        batch = bench.encode([LONG]) | ({"decoder_input_ids": TARGET} if bench.mode.answers else {})
        with torch.no_grad(), bench.nv.regularised(nvib.Regularisation()):
            near(bench.model(**batch).logits, cell.model(**batch).logits.double(), "logits")

    return quirk


def sharded_files(family, folder):
    cell = saved(model_of(family), folder)
    (folder / "model.safetensors").unlink()
    cell.model.save_pretrained(folder, max_shard_size="8KB")
    assert len(list(folder.glob("*.safetensors"))) > 2
    bench = yield cell
    numbers_hold(cell, bench)


def bfloat16_files(family, folder):
    cell = saved(model_of(family), folder)
    halves = {name: x.bfloat16() for name, x in cell.model.state_dict().items() if x.is_floating_point()}
    cell.model.save_pretrained(folder, state_dict=cell.model.state_dict() | halves)
    edited(folder, "config.json", dtype="bfloat16")
    kept = load_file(folder / "model.safetensors").values()
    assert {x.dtype for x in kept if x.is_floating_point()} == {torch.bfloat16}
    kind = type(cell.model)
    cell.model = kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").requires_grad_(False)
    bench = yield cell
    assert bench.loaded.dtype == "float32"
    numbers_hold(cell, bench)
    regularised_holds(cell, bench)


def scaled(**scaling):
    def quirk(family, folder):
        config = model_of(family).config
        known, more = config.rope_parameters, {"head_dim": 6} if getattr(config, "head_dim", 6) is None else {}
        ways = LONGROPE if family == "phi3" else scaling  # whose configuration takes no other
        rope = known | ways if "rope_type" in known else {kind: each | ways for kind, each in known.items()}
        cell = saved(changed(family, rope_parameters=rope, **more), folder)
        bench = yield cell
        away = said(cell.model, cell.ids(LONG)) - said(model_of(family), cell.ids(LONG))
        assert float(away.abs().max()) > 1e-3
        numbers_hold(cell, bench)
        regularised_holds(cell, bench, anyway=family == "phi3")
        if bench.mode.writes:
            text_holds(cell, bench)

    return quirk


def sliding_windows(family, folder):
    """Of 4 tokens, in a text of 9."""
    config, changes = model_of(family).config, {}
    if not config.sliding_window:
        changes = {"sliding_window": 4}
        if hasattr(config, "use_sliding_window"):
            changes |= {"use_sliding_window": True}
        if hasattr(config, "layer_types"):
            changes |= {"layer_types": ["full_attention", "sliding_attention"]}
    cell = saved(changed(family, **changes), folder)
    bench = yield cell
    assert 0 < min(site.window or 99 for site in bench.nv.sites) <= 4
    numbers_hold(cell, bench)
    regularised_holds(cell, bench)
    if bench.mode.writes:
        text_holds(cell, bench)


def lora(family, folder):
    """In memory, as a model that peft wraps: what the app loads has a folder, where an adapter is refused, below."""
    merged = replaced(replaced(model_of(family), Adapted), lambda layer: layer.merged())
    cell = saved(merged, folder)
    bench = yield cell
    numbers_hold(cell, bench)
    inputs = {"input_ids": cell.ids(LONG)} | ({"decoder_input_ids": TARGET} if bench.mode.answers else {})
    prior, setting = bench.priors.of(Scenario(prior="normal")), regularisation(SETTINGS["both"])
    adapted = replaced(model_of(family), Adapted)
    adapted.set_attn_implementation("sdpa" if adapted._supports_sdpa else "eager")
    with torch.no_grad(), bench.nv.regularised(setting, prior):
        expected = output(bench.model(**inputs)).double()
    with torch.no_grad(), nvib.reinterpret(adapted, prior) as nv, nv.regularised(setting):
        near(output(adapted(**inputs)), expected, "adapted")


LONGROPE = {
    "rope_type": "longrope", "factor": 4.0, "original_max_position_embeddings": 64, "short_factor": [1.0, 1.5, 2.0],
    "long_factor": [1.0, 4.0, 16.0],
}  # fmt: skip
QUIRKS = {
    "no pad token": no_pad_token,
    "left padding": left_padding,
    "use_cache: false": no_cache,
    "penalties": penalties,
    "start token": start_token,
    "padded vocabulary": padded_vocabulary,
    "added tokens": added_tokens,
    "tied embeddings": embeddings(together=True),
    "untied embeddings": embeddings(together=False),
    "sharded files": sharded_files,
    "bfloat16 files": bfloat16_files,
    "scaled rotary": scaled(rope_type="linear", factor=4.0),
    "YaRN rotary": scaled(rope_type="yarn", factor=4.0, original_max_position_embeddings=64),
    "sliding windows": sliding_windows,
    "LoRA": lora,
}
REFUSED = {"added tokens": "has 3 tokens beyond the 6 embeddings of its model, 'mat' among them"}


def speaks_of(word):
    """Whether transformers' own code of a family does not know a thing."""
    return lambda model: word not in inspect.getsource(sys.modules[type(model).__module__])


def takes_no_yarn(config):
    """Whether a configuration has no such setting, or refuses it."""
    if not hasattr(config, "rope_parameters"):
        return True
    try:
        known = config.to_dict()
        type(config)(**known | {"rope_parameters": {"rope_type": "yarn", "rope_theta": 100.0, "factor": 4.0}})
    except (StrictDataclassError, KeyError):
        return True
    return False


def heads(model):
    return model.can_generate() or type(model.config) in MODEL_FOR_MASKED_LM_MAPPING


# Why a quirk cannot be met in a family, and what is true of every family that it is left out for, and of no other.
REASONS = {
    "use_cache: false": ("an encoder writes no text", lambda model: not model.can_generate()),
    "penalties": ("an encoder writes no text", lambda model: not model.can_generate()),
    "tied embeddings": ("the family has no language head", lambda model: not heads(model)),
    "untied embeddings": ("the family has no language head", lambda model: not heads(model)),
    "scaled rotary": ("the family has no rotary positions", speaks_of("RotaryEmbedding")),
    "YaRN rotary": ("the family has no rotary positions, or LongRoPE alone", lambda model: takes_no_yarn(model.config)),
    "sliding windows": ("the family has no windows", speaks_of("sliding_window")),
}


CELLS = [(quirk, family) for quirk in QUIRKS for family in FAMILIES]


@pytest.mark.parametrize(("quirk", "family"), CELLS)
def test_a_quirk_of_a_family_is_right_or_refused_in_one_sentence(quirk, family, tmp_path):
    reason, cannot = REASONS.get(quirk, ("", lambda model: False))
    if cannot(model_of(family)):
        assert reason  # for which there is nothing to save; it is true, for it was asked of transformers' own code
        return
    steps = QUIRKS[quirk](family, tmp_path)
    cell = next(steps)
    if quirk in REFUSED:
        assert REFUSED[quirk] in sentence(cell.folder)
        return
    bench = Bench(cell.folder)
    with pytest.raises(StopIteration):
        steps.send(bench)
    bench.close()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_of_every_family_is_verified(family, tmp_path):
    """What `nvib check` finds."""
    found = list(check.check(saved(model_of(family), tmp_path).folder, text=LONG))
    assert [line.name for line in found] == ["loads whole", *check.LINES]
    assert [line for line in found if line.holds is False] == []


@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_with_an_adapter_beside_the_model_is_refused(family, tmp_path):
    """transformers leaves it out without a word where peft is not installed."""
    cell = saved(model_of(family), tmp_path)
    edited(tmp_path, "adapter_config.json", peft_type="LORA")
    assert "holds an adapter (adapter_config.json)" in sentence(cell.folder)


def test_an_adapter_alone_is_refused_for_what_it_is(tmp_path):
    edited(tmp_path, "adapter_config.json", peft_type="LORA")
    assert "merge it into its model" in sentence(str(tmp_path))


@pytest.mark.parametrize("family", UNREAD)
def test_what_reads_no_text_is_refused_in_one_sentence(family, tmp_path):
    assert "and what is loaded by name is given text" in sentence(saved(tiny.model_of(family), tmp_path).folder)


def test_every_reason_is_of_some_families_and_not_of_all():
    for quirk, (reason, holds) in REASONS.items():
        assert reason
        assert 0 < sum(holds(model_of(family)) for family in FAMILIES) < len(FAMILIES), quirk


def test_the_docs_name_every_quirk():
    part = (DOCS / "families.md").read_text("utf-8").partition("\n## Quirks\n")[2].partition("\n## ")[0]
    assert re.findall(r"^\| ([^|]+?) \|", part, re.MULTILINE)[1:] == list(QUIRKS)
