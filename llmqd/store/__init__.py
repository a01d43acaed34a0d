"""The ledger: an append-only journal that the call path writes, and the database that follows it."""
