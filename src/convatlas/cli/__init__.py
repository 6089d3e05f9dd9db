"""The command line: parse, call one function, render; one file per command."""
