"""Tokenizers of all sorts: the same text is the same tokens on every path, and a row of a batch is the row alone."""

import contextlib
import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers

import nvib
from nvib import NVError
from nvib.lab import Bench, Scenario, observe
from nvib.lab.cli import main
from nvib.lab.share.script import script
from nvib.lab.sweep.measures import Example, embedded, likelihood
from nvib.lab.view.batch import entries, go_through
from nvib.lab.view.comparison import compare, reference_ids
from nvib.lab.view.distance import text_distance
from nvib.lab.view.identity import prove_identity
from tests.support import tiny
from tests.support.folders import save_without_invisible, save_words, sentence

LINES = ["the cat sat on the mat", "the mat", "cat on mat on the cat on the mat", "sat the cat"]
SORTS = {
    "no pad": {},
    "left": {"padding_side": "left", "pad_token": "[PAD]"},
    "no mask": {"model_input_names": ["input_ids"], "pad_token": "[PAD]"},
    "short": {"model_max_length": 3, "pad_token": "[PAD]"},
    "start and end": {"template": "[CLS] $A [SEP]"},
    "start": {"template": "[CLS] $A", "bos_token": "[CLS]", "eos_token": "[SEP]", "padding_side": "left"},
}
DECODERS = ("gpt2", "opt", "llama")
ENCODERS = ("bert", "roberta", "distilbert")
FAMILIES = (*DECODERS, *ENCODERS, "bart", "t5")
sorts = pytest.mark.parametrize("sort", SORTS)


@pytest.fixture
def bench(family, sort, tmp_path):
    made = Bench(save_words(tmp_path, tiny.model_of(family), **SORTS[sort]))
    yield made
    made.close()


def ids_by_hand(sort, text):
    words = [{"the": 2, "cat": 3, "sat": 4, "on": 5, "mat": 6}[word] for word in text.split()]
    front, back = [7] * sort.startswith("start"), [8] * (sort == "start and end")
    return [*front, *words, *back]


@contextlib.contextmanager
def watched(model):
    """What the model reads: each row's ids without padding, by the mask that it is given."""
    seen = []

    def note(_module, _args, kwargs):
        ids, mask = kwargs["input_ids"], kwargs.get("attention_mask")
        mask = torch.ones_like(ids) if mask is None else mask[:, -ids.shape[1] :]
        seen.extend(row[kept.bool()].tolist() for row, kept in zip(ids, mask, strict=True))

    handle = model.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield seen
    finally:
        handle.remove()


@sorts
@pytest.mark.parametrize("family", ["gpt2", "bert", "roberta", "llama"])
def test_a_text_is_the_same_tokens_on_every_path(bench, family, sort):
    text, expected = LINES[0], ids_by_hand(sort, LINES[0])
    scenario = Scenario(model=bench.shape.name, text=text, prior="text", prior_text="\n".join(LINES), length=2)
    paths = {
        "observe": lambda: observe(bench, scenario),
        "list": lambda: list(go_through(bench, scenario, bench.priors.of(scenario), entries(text))),
        "prior": lambda: bench.priors.estimate([text], "a text"),
        "distance": lambda: text_distance(bench, replace(scenario, prior="normal"), text + " ", bench.kinds[-1]),
        "proof": lambda: prove_identity(bench, text),
    }
    if bench.mode.writes:
        paths["compare"] = lambda: compare(bench, scenario, bench.priors.of(scenario))
        paths["sweep"] = lambda: likelihood(bench, [Example(text)])
    else:
        paths["sweep"] = lambda: embedded(bench, [text])
    bench.priors.of(scenario)
    for name, run in paths.items():
        with watched(bench.model) as seen:
            run()
        whole = [row for row in seen if len(row) > 1]  # a step of a generation reads one token
        assert expected in whole, name
        assert all(row[: len(expected)] == expected for row in whole), name


@sorts
@pytest.mark.parametrize("family", ["gpt2", "roberta", "bart"])
def test_code_and_command_line_have_the_same_tokens(bench, family, sort, capsys):
    scenario = Scenario(
        model=bench.shape.name, text=LINES[0], prior="text", prior_text="\n".join(LINES), length=2, mu=0.7
    )
    seen, names = observe(bench, scenario), {}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(script(scenario, bench.shape), "printed", "exec"), names)
    assert names["inputs"]["input_ids"].tolist() == [ids_by_hand(sort, LINES[0])]
    np.testing.assert_allclose(names["maps"]["NV"], seen.regularised, atol=1e-5)
    given = ["--model", scenario.model, "--text", scenario.text, "--prior", "text", "--prior-text", scenario.prior_text]
    assert main(["observe", "--json", "--length", "2", "--mu", "0.7", *given]) == 0
    told = json.loads(capsys.readouterr().out)["observation"]
    assert told["tokens"] == seen.tokens
    np.testing.assert_allclose(told["regularised"], seen.regularised, atol=1e-5)


def alone(model, ids, **more):
    """The model's own hidden states of one row, which has no padding at all."""
    return model(input_ids=torch.tensor([ids]), output_hidden_states=True, **more)


@sorts
@pytest.mark.parametrize("family", FAMILIES)
def test_a_prior_is_that_of_each_line_alone(bench, family, sort):
    """The layers' inputs of each line by itself, seen by a hook on the key projection, and their plain moments."""
    found = bench.priors.estimate(LINES, "lines")
    kind = bench.kinds[0]
    site = next(site for site in bench.nv.sites if (site.kind, site.layer) == (kind, 1))
    states, more = [], {"decoder_input_ids": torch.tensor([[1]])} if bench.mode.answers else {}
    handle = site.key.module.register_forward_pre_hook(lambda _m, args: states.append(args[0][0].double()))
    for line in LINES:
        alone(bench.model, ids_by_hand(sort, line), **more)
    handle.remove()
    x = torch.cat(states)
    torch.testing.assert_close(found.of(kind, 1).mean.double(), x.mean(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.of(kind, 1).var.double(), x.var(0), rtol=1e-4, atol=1e-5)


CLASSES = ("bart that classifies", "t5 that classifies")


@pytest.mark.parametrize("family", [*DECODERS, *ENCODERS, "bart", "mbart", "marian", "t5", "qwen2 sliding", *CLASSES])
def test_an_estimate_does_not_depend_on_the_side_of_the_padding(family):
    model = tiny.model_of(family)
    rows = [[5, 6, 7, 8, 9, 10, 11], [12, 13, 14], [15, 16, 17, 18, 19]]
    more = {}
    if family in CLASSES:  # these read their source once more, up to the end token
        rows = [[*row, model.config.eos_token_id] for row in rows]
    elif model.config.is_encoder_decoder:
        more = {"decoder_input_ids": torch.tensor([[1, 5, 9]])}

    def batch(side):
        pads = [[0] * (8 - len(row)) for row in rows]
        ids = [pad + row if side == "left" else row + pad for row, pad in zip(rows, pads, strict=True)]
        ids = torch.tensor(ids)
        decoder = {name: value.repeat(3, 1) for name, value in more.items()}
        return {"input_ids": ids, "attention_mask": (ids != 0).long()} | decoder

    apart = nvib.estimate_prior(model, [{"input_ids": torch.tensor([row])} | more for row in rows]).state_dict()
    for side in ("left", "right"):
        together = nvib.estimate_prior(model, [batch(side)]).state_dict()
        for name, value in apart.items():
            torch.testing.assert_close(together[name], value, rtol=1e-3, atol=1e-4)


@sorts
@pytest.mark.parametrize("family", ENCODERS)
def test_rows_of_a_list_and_of_a_sweep_are_what_they_are_alone(bench, family, sort):
    batch = bench.encode(LINES)
    together = bench.hidden_states(batch)[0]
    swept = embedded(bench, LINES)
    for n, line in enumerate(LINES):
        ids = ids_by_hand(sort, line)
        states = alone(bench.model, ids).hidden_states[-1][0]
        torch.testing.assert_close(together[n, : len(ids)], states, rtol=1e-4, atol=1e-4)
        mean = states.double().mean(0).numpy()
        np.testing.assert_allclose(swept[n], mean / np.linalg.norm(mean), atol=1e-5)


@sorts
@pytest.mark.parametrize("family", DECODERS)
def test_likelihoods_of_a_sweep_are_those_of_each_text_alone(bench, family, sort):
    found = likelihood(bench, [Example(line) for line in LINES])
    for n, line in enumerate(LINES):
        ids = ids_by_hand(sort, line)
        log_p = alone(bench.model, ids).logits[0].double().log_softmax(-1)
        assert found[n, 0] == pytest.approx(-sum(float(log_p[i, ids[i + 1]]) for i in range(len(ids) - 1)), rel=1e-4)
        assert found[n, 1] == len(ids) - 1
        assert found[n, 2] == len(line if sort.startswith("start") else line.partition(" ")[0] and line[3:])


# Tokens without an embedding


def test_a_tokenizer_of_more_tokens_than_embeddings_is_one_sentence(tmp_path):
    folder = save_words(tmp_path, tiny.model_of("llama", vocab_size=6))
    told = sentence(folder)
    assert "has 3 tokens beyond the 6 embeddings of its model, 'mat' among them; save the tokenizer that" in told


def test_a_padding_token_without_an_embedding_does_not_matter_unless_a_text_names_it(tmp_path):
    folder = save_words(tmp_path, tiny.model_of("gpt2", vocab_size=9), pad_token="[LATER]")
    assert len(transformers.AutoTokenizer.from_pretrained(folder)) == 10
    bench = Bench(folder)
    bench.priors.estimate(LINES, "lines")
    assert np.isfinite(observe(bench, Scenario(text=LINES[0], prior="normal")).regularised).all()
    with pytest.raises(NVError, match=r"The text has the token '\[LATER\]', for which the model has no embedding"):
        observe(bench, Scenario(text="the [LATER] cat", prior="normal"))


def test_texts_without_tokens_are_no_part_of_a_prior(tmp_path):
    bench, nothing = Bench(str(save_without_invisible(tmp_path, tiny.model_of("bart")))), "\u200b"
    assert bench.loaded.ids([nothing]) == [[]]
    wanted = bench.priors.estimate(LINES, "lines").state_dict()
    found = bench.priors.estimate([*LINES[:2], nothing, *LINES[2:], *[nothing] * 11], "lines").state_dict()
    assert all(torch.allclose(found[name], value, atol=1e-5) for name, value in wanted.items())
    with pytest.raises(NVError, match="A prior needs at least two tokens of text, and the batches hold 0"):
        bench.priors.estimate([nothing], "nothing")


# Two vocabularies


def pieces(folder, name, sentences):
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences), model_prefix=str(folder / name), vocab_size=24, hard_vocab_limit=False,
        minloglevel=2,
    )  # fmt: skip
    (folder / f"{name}.model").rename(folder / f"{name}.spm")
    processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / f"{name}.spm"))
    kept = [processor.id_to_piece(n) for n in range(processor.get_piece_size())]
    special = ["</s>", "<unk>", "<pad>"]
    return {piece: n for n, piece in enumerate(special + [piece for piece in kept if piece not in (*special, "<s>")])}


def test_source_and_target_have_vocabularies_of_their_own(tmp_path):
    source = pieces(tmp_path, "source", ["the cat sat on the mat"] * 9)
    target = pieces(tmp_path, "target", ["dix gros vélos bleus"] * 9)
    for name, vocabulary in (("vocab", source), ("target_vocab", target)):
        (tmp_path / f"{name}.json").write_text(json.dumps(vocabulary), "utf-8")
    tokenizer = transformers.MarianTokenizer(
        source_spm=str(tmp_path / "source.spm"), target_spm=str(tmp_path / "target.spm"),
        vocab=str(tmp_path / "vocab.json"), target_vocab_file=str(tmp_path / "target_vocab.json"), separate_vocabs=True,
    )  # fmt: skip
    folder = tmp_path / "model"
    sizes = {"vocab_size": len(source), "decoder_vocab_size": len(target), "share_encoder_decoder_embeddings": False}
    special = {"pad_token_id": 2, "eos_token_id": 0, "decoder_start_token_id": 2, "tie_word_embeddings": False}
    tiny.model_of("marian", **sizes, **special).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    bench = Bench(str(folder))
    text, reference = "the cat sat", "gros vélos"
    seen = observe(bench, Scenario(text=text, prior="normal", kind="encoder"))
    assert "".join(seen.tokens).replace("·", " ").removesuffix("</s>").strip() == text
    assert seen.output.sources == [text]
    named = {number: piece for piece, number in target.items()}
    said = [named[number] for number in reference_ids(bench, text, reference)]
    assert "".join(said).replace("▁", " ").strip() == f"{reference}</s>"
    ids = bench.encode([text])["input_ids"][0].tolist()
    assert ids == [*(source[piece] for piece in bench.loaded.tokenizer.spm_source.encode(text, out_type=str)), 0]
    assert np.isfinite(bench.priors.estimate(LINES, "lines").of("cross", 0).mean).all()
