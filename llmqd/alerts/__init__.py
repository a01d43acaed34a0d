"""Tells people that they should look: finds trouble in what happens, logs it, and posts it to a webhook."""
