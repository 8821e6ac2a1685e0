"""The command line, as a person at a terminal and a script in a pipe meet it."""
