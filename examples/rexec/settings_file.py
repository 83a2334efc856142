"""Files that say what may be done, or where to connect, and the paths of files as people write them."""

import errno
import os
import stat

SIZE_MAX = 1024 * 1024


def expanded(path: str) -> str:
    """The path with ``~`` expanded. Raises `OSError` when there is no home folder."""
    file = os.path.expanduser(path)
    if file.startswith("~"):  # it would be a folder of that name, wherever we are
        raise OSError(errno.EINVAL, "there is no such home folder; set HOME, or write the whole path", path)
    return file


def read_settings(path: str) -> str:
    """The text of such a file; never waits. Raises `OSError`, or `ValueError` in words for people.

    It has to be a regular file, since it is read again, and one that not everybody may write.
    """
    file = expanded(path)
    with open(file, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", file)
        if status.st_mode & stat.S_IWOTH:
            raise OSError(errno.EPERM, f"everybody can write it; run: chmod o-w {file}", file)
        data = stream.read(SIZE_MAX + 1)
    if len(data) > SIZE_MAX:
        raise ValueError(f"it is larger than {SIZE_MAX} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError as exc:
        raise ValueError(f"line {data[: exc.start].count(10) + 1}: not UTF-8") from None
