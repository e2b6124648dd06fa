"""Compiled (numba) replacements of kernels on numpy arrays, imported only when ``fast_path`` chooses them.

They are single-threaded and release the interpreter lock, so that workers may run several at a time, and the same
input always gives the same bits.
"""
