"""Looks at a running installation and says in words that help what is wrong with it; changes nothing."""
