"""Request bodies, parsed strictly: from bytes to rows that match the signature."""
