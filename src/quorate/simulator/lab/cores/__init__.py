"""The cores that ship with the lab: two right ones, three classic wrong ones, and a skeleton."""
