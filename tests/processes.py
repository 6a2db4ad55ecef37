"""What a program has started, for tests that wait for a stage or kill it."""

import psutil


def started_by(pid: int, words: str = "") -> list[int]:
    """Processes that `pid` started, and these in turn, in whose command line these words are; it is read as one string, since
    a fork has its title in one piece. A process that ends meanwhile is left out."""
    found = []
    for process in psutil.Process(pid).children(recursive=True):
        try:
            if words in " ".join(process.cmdline()):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def stage_of(pid: int, name: str) -> list[int]:
    """Processes below `pid` that make a stage."""
    return started_by(pid, f"-m tasks.{name}")
