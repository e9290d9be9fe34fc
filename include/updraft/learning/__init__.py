"""Machine learning for the stages: splits, estimators, metrics, scores, the model card."""
