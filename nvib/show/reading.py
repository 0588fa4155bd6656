"""How to read each figure, for those who meet it alone in a file: what its colours, bars and lines are."""

from __future__ import annotations

SIDES = "Grey: the baseline, the untouched model. Blue: NV."
BY_TOKEN = "Each component's log pseudo-count, in nats; amber: the prior."
TO_PRIOR = "By layer, in nats, of this text; the Gaussian part is weighted by E[π]."
PRIOR = "By layer, after the prior's scales."
FORCED = "The text forced through both models, token by token; a dashed line is where the generated part begins."
WORDS = {  # by how a figure's key begins
    "next-token": f"Probability of each next token. {SIDES}",
    "similarity": "Cosine of each pair of sentences; in the difference blue is more alike under NV, red less.",
    "head": SIDES,
    "slopes": "By layer: how the loss changes, in nats a token, for a unit of the temperature towards more "
    "regularisation. Blue, below 0: the text becomes likelier.",
    "ablation": "By layer: the setting in this layer alone, blue, and in all but it, grey; dashed: in all.",
    "lens-map": "What leaves each layer, through the model's own output head: how far apart both sides' next tokens "
    "are, in nats; a dot where the likeliest ones differ.",
    "lens-bars": f"What leaves each layer, through the model's own output head: the likeliest token and its "
    f"probability. {SIDES}",
    "path": "From the untouched model, 0, to the setting, 1.",
    "key-marginal": f"Attention that each key receives, mean over the queries shown. {SIDES}",
    "query-marginal": f"Attention that each query gives to the tokens shown. {SIDES}",
    "terms": "NV minus baseline of each term of one weight's logarithm, in nats: the bars add up to its change.",
    "pseudo-counts": BY_TOKEN,
    "alpha-map": f"{BY_TOKEN} Each step of 1 multiplies a pseudo-count by e.",
    "weights": "Bars: E[π], each component's share before any query is asked. Whiskers: exact central intervals.",
    "draws": "Bars: NV's attention, the mean of the mixture. Whiskers: central intervals of seeded draws, with their "
    "median.",
    "kl": TO_PRIOR,
    "prior-mass": "Percent of attention, mean over queries. Bars: mean of the heads; points: single heads.",
    "prior": PRIOR,
    "distance": "Root mean square distance of each token to the prior's mean, in the prior's standard deviations: 1 "
    "over the prior's own corpus.",
    "log-p": f"{FORCED} log p in nats. {SIDES}",
    "divergence": f"{FORCED} In nats. Blue: KL(baseline ‖ NV). Green: Jensen–Shannon.",
}


def words(key: str) -> str:
    """How to read the figure of this key, "" where nothing is known of it; the longest beginning counts."""
    fitting = [begin for begin in WORDS if key.startswith(begin)]
    return WORDS[max(fitting, key=len)] if fitting else ""
