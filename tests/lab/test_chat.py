"""A text as a chat turn: the tokenizer's own template, the same tokens on every page, one sentence where it fails."""

import contextlib
import io
import json
from dataclasses import replace

import pytest
import torch
import transformers

import nvib
from nvib import NVError
from nvib.lab import EXAMPLES, Bench, Scenario, observe
from nvib.lab.cli import main
from nvib.lab.share.script import script
from nvib.lab.view.batch import entries, go_through
from nvib.lab.view.comparison import compare, force_reference, reference_ids
from nvib.lab.view.distance import text_distance
from nvib.lab.view.generation import generate
from nvib.lab.view.identity import prove_identity
from nvib.lab.view.walk import follow
from tests.support import tiny
from tests.support.folders import save_words

TEMPLATE = (
    "{% for m in messages %}[CLS] {{ '[ROLE]' if m.role == 'user' else m.role }} {{ m.content }} [SEP] {% endfor %}"
    "{% if add_generation_prompt %}[CLS] mat{% endif %}"
)
TURN = [7, 9, 2, 3, 4, 8, 7, 6]  # [CLS] [ROLE] the cat sat [SEP] [CLS] mat
TEXT = "the cat sat"


def folder_with(folder, template, family="llama", **changes):
    """A tiny model whose tokenizer adds start and end to a text by itself, and has a special token without a role."""
    made = save_words(folder, tiny.model_of(family, **changes), "[CLS] $A [SEP]")
    tokenizer = transformers.AutoTokenizer.from_pretrained(made)
    tokenizer.add_tokens([transformers.AddedToken("[ROLE]", special=True)], special_tokens=False)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(made)
    return made


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return Bench(folder_with(tmp_path_factory.mktemp("chat"), TEMPLATE))


def of(bench, **changes):
    return Scenario(**{"model": bench.shape.name, "text": TEXT, "chat": True, "prior": "normal", "mu": 0.8, "length": 3}
                    | changes)  # fmt: skip


@contextlib.contextmanager
def read(model):
    """What the model reads, row by row."""
    seen = []
    handle = model.register_forward_pre_hook(
        lambda _m, _a, given: seen.extend(given["input_ids"].tolist()), with_kwargs=True
    )
    try:
        yield seen
    finally:
        handle.remove()


def test_a_turn_is_what_the_tokenizer_makes_of_it(bench):
    (ids,) = bench.loaded.ids([TEXT], chat=True)
    turn = [{"role": "user", "content": TEXT}]
    own = bench.loaded.tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_dict=False)
    assert ids == own == TURN  # no second start, no end behind it
    assert bench.shape.chat
    assert bench.encode([TEXT])["input_ids"].tolist() == [[7, 2, 3, 4, 8]]


@pytest.mark.parametrize(
    "path",
    {
        "observe": observe,
        "generate": lambda bench, at: generate(bench, replace(at, length=1), None),
        "compare": lambda bench, at: compare(bench, at, bench.priors.of(at)),
        "list": lambda bench, at: list(go_through(bench, at, bench.priors.of(at), entries(TEXT))),
        "distance": lambda bench, at: text_distance(bench, replace(at, text="x"), TEXT, "decoder"),
        "proof": lambda bench, at: prove_identity(bench, TEXT, chat=True),
        "walk": follow,
    }.items(),
    ids=lambda item: item[0],
)
def test_the_tokens_are_the_same_on_every_page(path, bench):
    bench.sides.clear()
    bench.results.clear()
    with read(bench.model) as seen:
        path[1](bench, of(bench))
    whole = [row for row in seen if len(row) > 1]
    assert TURN in whole
    assert all(row[: len(TURN)] == TURN for row in whole)


def test_code_and_command_line_have_them_too(bench, capsys):
    scenario, names = of(bench), {}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(script(scenario, bench.shape), "printed", "exec"), names)
    assert names["inputs"]["input_ids"].tolist() == [TURN]
    given = ["--model", scenario.model, "--text", TEXT, "--chat", "True", "--prior", "normal", "--length", "2"]
    assert main(["observe", "--json", *given]) == 0
    tokens = json.loads(capsys.readouterr().out)["observation"]["tokens"]
    assert tokens == ["[CLS]", "[ROLE]", "the", "cat", "sat", "[SEP]", "[CLS]", "mat"]


def test_special_tokens_of_a_template_are_special(bench):
    seen = observe(bench, of(bench, special=False))
    assert seen.keys == ["the", "cat", "sat", "mat"]
    assert observe(bench, of(bench, merge=True)).keys[1] == "[ROLE]"


def test_protected_counts_tokens_of_the_template(bench):
    for protected in (0, 1, 3):
        seen = observe(bench, of(bench, decoder_alpha=0.0, protected=protected))
        assert [bool(mass) for mass in seen.regularised[:, 0]] == [n >= protected for n in range(len(TURN))]


def test_a_reference_answers_the_turn(bench):
    assert reference_ids(bench, TEXT, "on the mat", chat=True) == [5, 2, 6]
    at = of(bench, mu=1.0)
    found = force_reference(bench, at, bench.priors.of(at), TEXT, "on the mat")
    with torch.inference_mode():
        logits = bench.model(torch.tensor([[*TURN, 5, 2, 6]])).logits[0].double().log_softmax(-1)
    wanted = sum(float(logits[len(TURN) - 1 + n, token]) for n, token in enumerate((5, 2, 6)))
    assert found.totals[0] == pytest.approx(wanted, rel=1e-5)


def test_smollm2_is_fed_its_own_template(benches):
    bench = benches("smollm2")
    assert bench.shape.chat
    assert not benches("minilm").shape.chat
    assert not benches("g2p").shape.chat
    said = bench.loaded.tokenizer.decode(bench.encode(["Say hello."], chat=True)["input_ids"][0])
    assert said.startswith("<|im_start|>system\nYou are a helpful AI assistant")
    assert said.endswith("<|im_start|>user\nSay hello.<|im_end|>\n<|im_start|>assistant\n")
    seen = observe(bench, replace(EXAMPLES["smollm2"], chat=True, text="Say hello.", special=False))
    assert "<|im_start|>" in seen.tokens
    assert "<|im_start|>" not in seen.keys


FAILING = {
    "raises": "{{ raise_exception('Roles must alternate. Always.') }}",
    "no template at all": "{% for",
    "leaves the sandbox": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "divides": "{{ 1 // 0 }}",
}


@pytest.mark.parametrize("name", FAILING)
def test_a_template_that_fails_is_one_sentence(name, tmp_path):
    bench = Bench(folder_with(tmp_path, FAILING[name]))
    with pytest.raises(NVError, match=r"^The model's chat template failed \(.+\); turn chat off\.$") as told:
        observe(bench, of(bench))
    assert "\n" not in str(told.value)
    assert observe(bench, of(bench, chat=False)).tokens == ["[CLS]", "the", "cat", "sat", "[SEP]"]


def test_what_has_no_template_or_no_room_is_one_sentence(bench, tmp_path, benches):
    with pytest.raises(NVError, match=r"^minilm takes no chat turn; leave chat off, or choose an instruct model\.$"):
        observe(benches("minilm"), replace(EXAMPLES["minilm"], chat=True))
    with pytest.raises(NVError, match="The model has no chat template, so the text cannot be a chat turn; turn chat"):
        nvib.load("g2p").ids(["cat"], chat=True)
    with pytest.raises(NVError, match="A text is 8 tokens long as a chat turn, and 7 fit: shorten it"):
        bench.loaded.encode([TEXT], 7, chat=True)
    short = Bench(folder_with(tmp_path, TEMPLATE, max_position_embeddings=7))
    with pytest.raises(NVError, match="is 8 tokens long; this page takes 7 at most: shorten it"):
        observe(short, of(short))
