"""What a person sees of the calls: the store of records, and what is served of it."""
