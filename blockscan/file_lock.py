"""A file that one process at a time holds; the system lets go of it when the process ends in whatever way."""

import fcntl


def hold(descriptor: int) -> bool:
    """Take the lock of an open file, until it is closed; False where the file system has no locks.

    Raises:
        BlockingIOError: another process holds it.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # some network file systems: as if there were none
        return False
    return True
