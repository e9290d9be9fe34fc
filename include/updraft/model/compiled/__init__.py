"""A compiled model: look-ups, arithmetic and trees out of a version's files, without scikit-learn, pandas or scipy."""
