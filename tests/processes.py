"""What a program has started, for tests that wait for a stage or kill it."""

import psutil


def started_by(pid: int) -> dict[int, str]:
    """Command line by process of all that `pid` started and these in turn; one string, since a fork has its title in one
    piece. A process that ends meanwhile is left out."""
    found = {}
    for process in psutil.Process(pid).children(recursive=True):
        try:
            found[process.pid] = " ".join(process.cmdline())
        except psutil.Error:
            continue
    return found


def stage_of(pid: int, name: str) -> list[int]:
    """Processes below `pid` that make a stage."""
    return [process for process, command in started_by(pid).items() if f"-m tasks.{name}" in command]
