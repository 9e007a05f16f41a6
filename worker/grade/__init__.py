"""Grading of generated code: out of process, in a sandbox, with the expected outputs kept here."""
