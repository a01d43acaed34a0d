"""What is known about providers: a table of presets, and how each dialect reports usage."""
