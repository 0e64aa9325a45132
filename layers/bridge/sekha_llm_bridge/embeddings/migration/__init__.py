"""Collections from before v2 get the name of their dimension: planned, renamed or merged, by one migrator at a time."""
