"""Where shards are worked on: one protocol, processes of this machine or a Ray cluster behind it."""
