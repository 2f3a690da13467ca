"""The commands: one table of what each is called, takes, does to the store and shows."""
