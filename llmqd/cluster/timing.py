"""How long daemons believe each other, and themselves, without a word from Redis. All in seconds."""

BEAT = 0.4
"""Seconds between two signs of life."""
LEASE = 2.5
"""Seconds for which one of them holds."""
GONE = 1.0
"""Seconds without a sign of life after which a member whose connections are gone counts as dead."""
FORGOTTEN = 300.0
"""Seconds after which one is forgotten that is silent, but whose connections stand."""
ALONE = LEASE + 1.0
"""Seconds without Redis after which a daemon goes on by itself: later than the others know that it may."""
BACK = 3.0
"""Seconds that others have, once Redis is back, to come back as well before calls go on without them."""
GATHER = 1.0
"""Seconds that a new owner waits for what the others have to say."""
APART = 0.0003
"""Seconds by which the clocks of two daemons may differ, as well as each knows Redis's: calls that have to keep their
distance keep so much more."""
PACE = 0.002
"""Seconds from one round trip to the next where there is much to be said: what is said meanwhile goes with it."""
LATEST = 0.01
"""Seconds for which news wait for others to go with where nobody waits for a turn: so much later they are told."""
SPELL = 0.03
"""Seconds for which there must have been much, before that."""
