"""A request's body, read strictly: bytes → rows that fit the signature."""
