"""Alignments of tilt series in the files of other programs, read and written in their own conventions."""
