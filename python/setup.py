"""The rest is in pyproject.toml. With `bin/leveret` beside it, the wheel carries the server and is one of a platform."""

import os

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel

BINARY = "bin/leveret"
CARRIES = os.path.exists(os.path.join(os.path.dirname(os.path.abspath(__file__)), BINARY))


class Wheel(bdist_wheel):
    """A program does not care which Python starts it."""

    def finalize_options(self):
        super().finalize_options()
        self.root_is_pure = not CARRIES

    def get_tag(self):
        python, abi, platform = super().get_tag()
        return ("py3", "none", platform) if CARRIES else (python, abi, platform)


setup(cmdclass={"bdist_wheel": Wheel}, data_files=[("bin", [BINARY])] if CARRIES else [])
