"""`updraft new`: look at a file of rows and write the YAML and the suite of a use case, with what was guessed."""
