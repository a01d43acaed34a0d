"""Several daemons as one: lanes that share limits, pauses, what was learned and the order of waiting, by Redis."""
