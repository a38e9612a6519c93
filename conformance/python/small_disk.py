"""A server whose data directory has a small file system to itself. Mounting takes root."""
import contextlib
import os
import shutil
import subprocess

from server import Server


@contextlib.contextmanager
def small_disk(name, size, *flags):
    """It is not started yet."""
    server = Server(name, "--log-segment-bytes", str(1 << 20), *flags)
    os.makedirs(server.data)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "leveret-test", server.data], check=True)
    try:
        yield server
    except BaseException:
        if os.path.exists(server.log):
            print(open(server.log).read()[-4000:])
        raise
    finally:
        if server.process:
            server.process.kill()
            server.process.wait()
        subprocess.run(["umount", "-l", server.data], check=True)
        shutil.rmtree(server.directory, ignore_errors=True)
