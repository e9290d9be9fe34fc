"""What the stages know of learning: splits, estimators, metrics, scores, the model card."""
