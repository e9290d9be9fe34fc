"""Names of the files of a model's version."""

MODEL, SIGNATURE = "model.joblib", "signature.json"
EVALUATION, CARD = "evaluation.json", "card.html"
