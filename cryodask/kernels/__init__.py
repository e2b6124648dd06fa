"""Pure functions on concrete arrays: the physics, the image formation and the mathematics of cryodask.

Each kernel has one portable path in the array API standard, which runs on numpy, cupy and torch alike, and may have a
compiled fast path in ``cryodask.kernels.fast`` that tests hold equal to it. Kernels read no files, build no task
graphs and keep no state; a random generator, where one is needed, is passed in.
"""
