"""Short texts to try on each embedded model, and the scenario that it opens with."""

from nvib.lab.scenario import Scenario

EXAMPLE_TEXTS: dict[str, dict[str, str]] = {
    "smollm2": {
        "The treaty": "The committee could not agree on a date, so the treaty",
        "Capital of France": "The capital of France is the city of",
        "In Spanish": "La capital de España es la ciudad de",
        "A recipe": "To bake bread, first mix the flour with warm water and",
        "Repetition": "one two three one two three one two three one two",
    },
    "minilm": {
        "Two topics": "A man is playing a guitar on stage.\nSomeone performs music for a crowd.\n"
        "The stock market fell sharply today.\nShares lost much of their value this morning.",
        "Negation": "The film was good.\nThe film was not good.\nThe film was bad.\nThe weather was bad.",
        "Bank": "She sat on the bank of the river.\nHe opened an account at the bank.\nThe loan has a low rate.",
    },
    "g2p": {
        "Words and names": "Versailles\nchamomile\nMississippi\ntransformer\nHenderson",
        "Proper names": "Nguyen\nKowalski\nEdinburgh\nSchwarzenegger\nReykjavik",
        "Silent letters": "knight\npsychology\nisland\ndebt\nwrist",
    },
}

# Of another domain than the model's prior, to compare distances with.
OTHER_TEXTS = {
    "smollm2": "La capital de España es la ciudad de Madrid, y en ella vive el rey.",
    "minilm": "La capital de España es la ciudad de Madrid.\nx = foo(bar[3]) ** 2",
    "g2p": "Schwarzenegger\nReykjavik\nxqzjv",
}

EXAMPLES: dict[str, Scenario] = {
    "smollm2": Scenario(
        model="smollm2",
        text=next(iter(EXAMPLE_TEXTS["smollm2"].values())),
        decoder_alpha=1.0,
        decoder_sigma=0.3,
        protected=1,
        kind="decoder",
        layer=22,
    ),
    "minilm": Scenario(
        model="minilm",
        text=next(iter(EXAMPLE_TEXTS["minilm"].values())),
        encoder_alpha=0.0,
        encoder_sigma=0.5,
        kind="encoder",
        layer=3,
    ),
    "g2p": Scenario(
        model="g2p",
        text=next(iter(EXAMPLE_TEXTS["g2p"].values())),
        encoder_alpha=1.0,
        encoder_sigma=0.3,
        cross_alpha=1.0,
        cross_sigma=0.3,
        decoder_alpha=1.0,
        decoder_sigma=0.5,
        kind="cross",
    ),
}
