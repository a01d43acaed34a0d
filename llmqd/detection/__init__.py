"""Which session a call belongs to that names none: by what was said, above all by what the models said themselves."""
