"""The configuration: read from one TOML file, the environment and the command line, checked as a whole."""
