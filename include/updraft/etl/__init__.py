"""ETLs: source → cleaned rows, held against a suite → stores, each row once."""
