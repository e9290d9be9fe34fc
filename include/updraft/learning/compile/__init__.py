"""Compiles a fitted pipeline into the files of `model/compiled`, and certifies that they answer as it does."""
