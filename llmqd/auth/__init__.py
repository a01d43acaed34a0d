"""Who may call: client keys, the admin token, users of the unix socket, and what each of them may do."""
