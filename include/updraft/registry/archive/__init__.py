"""A registry as one file: a plain tar, signed as a whole, so that no move can be left out of it, and no hold."""
