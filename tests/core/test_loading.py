"""Models by name: the three embedded ones, local folders, hub ids; and one sentence for whatever cannot be loaded."""

import json
import threading

import pytest
import torch
import transformers

import nvib
from nvib.characters import quoted
from nvib.models.placing import DTYPES
from tests.support import tiny
from tests.support.folders import save, sentence


def test_a_loaded_model_is_in_evaluation_mode_and_takes_no_gradients(embedded):
    assert not embedded.model.training
    assert not any(parameter.requires_grad for parameter in embedded.model.parameters())
    assert (embedded.device, embedded.dtype) == ("cpu", "float32")


def test_similar_sentences_are_closer():
    loaded = nvib.load("minilm")
    batch = loaded.tokenizer(
        ["A man is playing a guitar.", "Someone plays an instrument.", "The stock market fell sharply."],
        return_tensors="pt", padding=True,
    )  # fmt: skip
    hidden = loaded.model(**batch).last_hidden_state  # [3, tokens, 384]
    mask = batch["attention_mask"].unsqueeze(-1)
    mean = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)
    near, far = float(mean[0] @ mean[1]), float(mean[0] @ mean[2])
    assert near > 0.5 > 0.2 > far


@pytest.mark.parametrize("make", [tiny.bert, tiny.llama, tiny.bart])
def test_a_folder_comes_back_as_it_was_saved(tmp_path, make):
    torch.manual_seed(0)
    model = make().eval()
    loaded = nvib.load(str(save(tmp_path / "model", model)))
    assert isinstance(loaded.model, type(model))
    before, after = model.state_dict(), loaded.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert loaded.tokenizer("the cat")["input_ids"] == [2, 3]
    assert loaded.target_tokenizer is loaded.tokenizer
    assert (loaded.prior, loaded.card) == (None, None)
    batch = loaded.tokenizer("the cat sat", return_tensors="pt", return_token_type_ids=False)
    torch.testing.assert_close(loaded.model(**batch)[0], model(**batch)[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_dtypes(bert, dtype):
    loaded = nvib.load(str(bert), dtype=dtype)
    assert loaded.dtype == dtype
    assert torch.get_default_dtype() == torch.float32


def test_threads_do_not_get_each_others_dtype(bert, tmp_path):
    llama = save(tmp_path / "llama", tiny.llama())
    wanted = [(str(path), dtype) for path in (bert, llama) for dtype in DTYPES] * 3
    got = [None] * len(wanted)

    def one(number):
        got[number] = nvib.load(wanted[number][0], dtype=wanted[number][1]).dtype

    threads = [threading.Thread(target=one, args=(number,)) for number in range(len(wanted))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [dtype for _, dtype in wanted]
    assert torch.get_default_dtype() == torch.float32


def test_loading_leaves_the_logging_of_transformers_as_it_was(bert):
    logging = transformers.utils.logging
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    nvib.load(str(bert))
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


WITHOUT = "comes without a tokenizer; save its tokenizer into the same folder."


@pytest.mark.parametrize("make", [tiny.bert, tiny.bart, tiny.llama, tiny.gpt2, tiny.t5, tiny.marian, tiny.opt])
def test_a_folder_without_a_tokenizer(tmp_path, make):
    make().save_pretrained(tmp_path)
    told = sentence(str(tmp_path))
    assert told == f"The model {quoted(str(tmp_path))} {WITHOUT}"


def test_a_tokenizer_that_cannot_be_read_is_one_sentence(bert):
    (bert / "tokenizer.json").write_text("{")
    assert sentence(str(bert)).startswith("The tokenizer of the model ")


def test_broken_weights(bert):
    content = (bert / "model.safetensors").read_bytes()
    (bert / "model.safetensors").write_bytes(content[:-100])
    text = sentence(str(bert))
    assert "weights" in text
    assert text.count(str(bert)) == 1


def test_missing_weights_are_not_made_up(bert):
    from safetensors.torch import load_file, save_file

    tensors = load_file(bert / "model.safetensors")
    del tensors["encoder.layer.0.attention.self.query.weight"]
    save_file(tensors, bert / "model.safetensors", metadata={"format": "pt"})
    told = sentence(str(bert))
    assert "lack 1 tensors of its architecture, encoder.layer.0.attention.self.query.weight among them; save" in told


@pytest.mark.parametrize("kind", ["BertForMaskedLM", "BertForSequenceClassification", "BertModel"])
def test_an_encoder_keeps_the_head_that_it_was_saved_with(kind, tmp_path):
    made = getattr(transformers, kind)(tiny.bert().config).eval()
    loaded = nvib.load(str(save(tmp_path, made)))
    assert type(loaded.model).__name__ == kind
    ids = torch.arange(1, 6)[None]
    with torch.inference_mode():
        torch.testing.assert_close(loaded.model(ids)[0], made(ids)[0])


def test_code_of_a_model_is_never_run(bert, tmp_path):
    settings = json.loads((bert / "config.json").read_text())
    settings |= {"model_type": "homemade", "auto_map": {"AutoConfig": "code.Config", "AutoModel": "code.Model"}}
    (bert / "config.json").write_text(json.dumps(settings))
    (bert / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    assert "needs code of its own, which is never run here; choose another model." in sentence(str(bert))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("family", "inputs"), [("vit", "images"), ("clip vision", "images"), ("whisper", "sound"), ("hubert", "sound")]
)
def test_a_model_that_reads_no_text_is_for_python(family, inputs, tmp_path):
    folder = str(save(tmp_path, tiny.FAMILIES[family]()))
    told = f"reads {inputs}, and what is loaded by name is given text; load it with transformers, and reinterpret it"
    assert told in sentence(folder)


@pytest.mark.parametrize("family", ["albert", "mistral", "gpt neox", "pegasus", "modernbert", "clip text"])
def test_families_that_read_text_are_loaded_by_name(family, tmp_path):
    torch.manual_seed(0)
    model = tiny.FAMILIES[family]()
    loaded = nvib.load(str(save(tmp_path, model)))
    assert isinstance(loaded.model, type(model))


def test_an_unknown_architecture(bert):
    (bert / "config.json").write_text('{"model_type": "homemade"}')
    told = sentence(str(bert))
    assert told.startswith("The configuration of the model ")
    assert told.endswith("); check its files.")
    (bert / "config.json").write_text("{")
    assert "configuration" in sentence(str(bert))


@pytest.mark.parametrize("device", ["tpu", "cuda:", "cpu:0", "", "cuda:x"])
def test_unknown_devices(device):
    with pytest.raises(ValueError, match=r"device='.*' is not one of cpu, cuda, cuda:1, mps, auto, split"):
        nvib.load("g2p", device)


def test_a_device_that_is_not_there():
    told = "was asked for, but this machine has no such CUDA device; use cpu."
    assert sentence("g2p", device="cuda:99") == f"device='cuda:99' {told}"


def test_a_mac_that_is_none(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    told = "device='mps' was asked for, but this machine has no MPS device; use cpu."
    assert sentence("g2p", device="mps") == told


def test_a_model_that_does_not_fit(bert, monkeypatch):
    def full(model, where):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(transformers.PreTrainedModel, "to", full)
    assert "does not fit into the memory of cpu; use cpu." in sentence(str(bert))


def test_an_unknown_dtype():
    with pytest.raises(ValueError, match="dtype='int3' is not one of float32, bfloat16, float16, int8, int4"):
        nvib.load("g2p", dtype="int3")


def test_auto_chooses_a_device():
    assert nvib.load("g2p", "auto").device.partition(":")[0] in ("cpu", "cuda", "mps")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_weights_will_take_is_told_before_they_are_read(tmp_path, dtype):
    """In shards or not, a number that is no fraction as it is: the bytes that what is loaded then has."""
    for shards in ("20kB", "1MB"):  # the whole file beside the pieces, in the end, as in some repositories
        folder = save(tmp_path, tiny.model_of("llama"))
        (folder / "model.safetensors").unlink()
        tiny.model_of("llama").save_pretrained(folder, max_shard_size=shards)
        told = []
        loaded = nvib.load(str(folder), dtype=dtype, ready=told.append)
        tensors = [*loaded.model.parameters(), *loaded.model.buffers()]
        assert told == [sum(each.numel() * each.element_size() for each in tensors)]
        assert (folder / "model.safetensors").exists() == (shards == "1MB")


@pytest.mark.parametrize("name", ["smollm2", "minilm", "g2p"])
def test_what_an_embedded_models_weights_take_is_told_too(name):
    told = []
    loaded = nvib.load(name, ready=told.append)
    assert told == [sum(each.numel() * each.element_size() for each in loaded.model.parameters())]


def test_what_is_raised_then_is_raised_and_nothing_is_read(tmp_path, monkeypatch):
    def refuses(size):
        raise nvib.NVError(f"{size} is too much.")

    folder = save(tmp_path, tiny.model_of("llama"))
    monkeypatch.setattr(transformers.LlamaForCausalLM, "from_pretrained", None)
    with pytest.raises(nvib.NVError, match=r"^\d+ is too much\.$"):
        nvib.load(str(folder), ready=refuses)


# A configuration that describes more than its files hold


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_hidden_layers", 10**9), ("num_attention_heads", 10**12), ("vocab_size", 10**15), ("hidden_size", 10**18),
        ("max_position_embeddings", 10**12), ("intermediate_size", 10**30),
    ],
)  # fmt: skip
def test_a_configuration_of_sizes_that_no_model_has(tmp_path, field, value):
    folder = save(tmp_path / "model", tiny.llama())
    change(folder, **{field: value})
    told = sentence(str(folder))
    assert told.startswith(f"The configuration of the model {quoted(str(folder))} says {field}=")
    assert ", and no model has more than " in told
    assert told.endswith("; check its config.json.")


def change(folder, **fields):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | fields), "utf-8")


@pytest.mark.parametrize("make", [tiny.llama, tiny.bert, tiny.bart])
def test_what_a_configuration_claims_is_told_before_it_is_made(tmp_path, make):
    """As much as a model takes that was saved whole; and of one that claims more, that."""
    folder = save(tmp_path / "model", make())
    exact, claimed = sum(parameter.numel() * 4 for parameter in make().parameters()), []
    nvib.load(str(folder), ready=claimed.append)
    assert exact <= claimed[0] <= 1.2 * exact
    change(folder, vocab_size=50_000_000)

    def stop(size):
        claimed.append(size)
        raise nvib.NVError("Too large.")

    with pytest.raises(nvib.NVError, match=r"^Too large"):
        nvib.load(str(folder), ready=stop)
    assert claimed[-1] >= 50_000_000 * 4 * 16


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a":' * 100_000, "1" * 10_000, "\0", " " * 10**7 + "{}"])
def test_a_configuration_that_is_none(tmp_path, content):
    folder = save(tmp_path / "model", tiny.llama())
    (folder / "config.json").write_text(content, "utf-8")
    told = sentence(str(folder))
    assert told.startswith(("The configuration of the model ", "The tokenizer of the model "))
    if len(content) > 10**6:
        assert told.endswith(" takes 10,000,002 bytes; check its config.json.")
