"""The command line: one table of actions, commands that wire the pieces, front ends that print."""
