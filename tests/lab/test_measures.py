"""Measures against other libraries and by brute force."""

import math
import random

import numpy as np
import pytest
import torch
from torchmetrics.functional.text import bleu_score, char_error_rate, rouge_score

from nvib.lab import Scenario
from nvib.lab.sweep import measures
from nvib.lab.sweep.measures import BITS, BLEU_SPACES, BLEU_WORDS, ERRORS, NEAREST, PERPLEXITY, RANK, Example
from nvib.lab.sweep.space import space
from nvib.lab.sweep.tasks import task


def settings(model, spec):
    found = space(Scenario(model=model), spec)
    return Scenario(model=model), found.at({axis.name: axis.values[0] for axis in found.axes})


@pytest.mark.parametrize("start", [False, True])
def test_likelihood_is_transformers_own_loss(benches, start):
    bench = benches("smollm2")
    tokenizer = bench.loaded.tokenizer
    examples = [Example(text) for text in ("The cat sat on the mat.", "It rained.", "x", "The cat sat on the mat.")]
    examples += task("language", 4).sets["Spanish"][:1]
    for setting in settings("smollm2", "decoder_sigma=0.4 protected=1"):
        with bench.under(setting, bench.priors.of(setting)):
            found = measures.likelihood(bench, examples, start)
            for example, (total, tokens, size) in zip(examples, found, strict=True):
                ids = tokenizer(example.text)["input_ids"][: measures.TOKENS]
                foretold = tokenizer.decode(ids[0 if start else 1 :])
                ids = torch.tensor([[tokenizer.bos_token_id, *ids] if start else ids])
                assert tokens == ids.shape[1] - 1
                assert size == len(foretold.encode())
                if tokens:
                    with torch.inference_mode():
                        loss = float(bench.model(input_ids=ids, labels=ids).loss)
                    assert total == pytest.approx(loss * tokens, rel=1e-4)  # batches round otherwise
    nats, tokens, size = found.sum(0)
    assert PERPLEXITY.of(found.sum(0)) == pytest.approx(math.exp(nats / tokens))
    assert BITS.of(found.sum(0)) == pytest.approx(nats / math.log(2) / size)
    assert 0.3 < BITS.of(found.sum(0)) < 4


def test_phoneme_error_rate_is_another_librarys(benches):
    bench = benches("g2p")
    examples = task("phonemes", 30).sets["proper names"]
    found = measures.phoneme_edits(bench, examples)
    said = []
    for example in examples:
        ids = bench.model.generate(**bench.encode([example.text]), do_sample=False, num_beams=1, max_new_tokens=60)
        said.append(bench.loaded.target_tokenizer.decode(ids[0], skip_special_tokens=True))
    wanted = 100 * float(char_error_rate(said, [example.target for example in examples]))
    assert ERRORS.of(found.sum(0)) == pytest.approx(wanted, rel=1e-5)
    assert 0 < wanted < 40


def test_retrieval_by_brute_force(benches):
    bench = benches("minilm")
    examples = task("retrieval", 12).sets["French"]
    found = measures.retrieved(bench, examples)

    def embed(text):
        batch = bench.loaded.tokenizer(text, return_tensors="pt", truncation=True, max_length=measures.EMBEDDED)
        with torch.inference_mode():
            mean = bench.model(**batch).last_hidden_state[0].mean(0).numpy()
        return mean / np.linalg.norm(mean)

    targets = [embed(example.target) for example in examples]
    for n, example in enumerate(examples):
        scores = [float(embed(example.text) @ target) for target in targets]
        place = 1 + sum(score > scores[n] for score in scores)
        assert found[n].tolist() == [float(place == 1), 1 / place, 1.0]
    assert NEAREST.of(found.sum(0)) == pytest.approx(100 * found[:, 0].mean())
    assert RANK.of(found.sum(0)) == pytest.approx(100 * found[:, 1].mean())


def cases(seed):
    """Random sentences and references that share words, with punctuation that one tokenizer splits off."""
    draw = random.Random(seed)
    words = ["the", "a", "cat", "dog", "sat", "ran", "on", "under", "mat", "tree,", "house.", "and", "then", "it"]
    said = [" ".join(draw.choices(words, k=draw.randint(4, 14))) for _ in range(30)]
    wanted = [" ".join(draw.choices(words, k=3) + text.split()[draw.randint(0, 2) :]) for text in said]
    return said, wanted


@pytest.mark.parametrize("seed", range(5))
def test_bleu_and_rouge_are_the_libraries_own(seed):
    import sacrebleu

    said, wanted = cases(seed)
    sums = np.array([measures.bleus(a, b) for a, b in zip(said, wanted, strict=True)]).sum(0)
    sums = np.concatenate((np.zeros(4), sums))
    theirs = 100 * float(bleu_score(said, [[text] for text in wanted]))
    assert BLEU_SPACES.of(sums) == pytest.approx(theirs, rel=1e-5)
    assert BLEU_WORDS.of(sums) == pytest.approx(sacrebleu.corpus_bleu(said, [wanted]).score, rel=1e-9)
    rouge = rouge_score(said, wanted, rouge_keys=("rouge1", "rouge2", "rougeL"))
    ours = np.mean([measures.rouges(a, b) for a, b in zip(said, wanted, strict=True)], 0)
    theirs = [float(rouge[f"rouge{key}_fmeasure"]) for key in ("1", "2", "L")]
    assert ours == pytest.approx(theirs, rel=1e-5)


def test_bleu_without_a_common_word_is_zero():
    sums = np.concatenate((np.zeros(4), measures.bleus("a b c d e", "v w x y z")))
    assert BLEU_SPACES.of(sums) == 0
    assert BLEU_SPACES.of(np.stack((sums, sums))).tolist() == [0, 0]
