"""Guards: finds sessions that run away, and holds them back as the settings say."""
