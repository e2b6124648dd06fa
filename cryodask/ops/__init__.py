"""Dask graphs made from kernels. Building one computes nothing; blocks come from picklable sources."""
