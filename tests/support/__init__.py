"""What the kernel-facing test tiers share: drivers, the watchdog, tree snapshots, other users, raw syscalls.

Nothing in here imports pcvfs: the product is driven as a user drives it, through its command line and the kernel.
"""
