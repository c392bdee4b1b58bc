"""How fast pcvfs is on a real mount, beside others, on the same machine and in the same run. See bench/README.md.

Run it as ``tools/bench``. Rooms, bottom first: ``lines`` and ``scale`` (what is measured, how much of it), ``stats``,
``machine``, ``record`` (the result and its file); ``proc``, ``janitor``, ``place``, ``peers``, ``mounted`` (programs,
directories and mounts that never outlive the run); ``assets``, ``scenarios`` (the work); ``rounds`` (who works when);
``table``, ``compare``, ``plots``, ``report`` (what came of it).

The harness itself never touches a file behind a mountpoint: that is done by child processes under a time limit, so
that a filesystem which hangs fails its line and nothing else.
"""
