"""Short texts to try on each embedded model."""

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
