"""The cases of CPython's own `test.test_queue`, as they are installed, on these classes.

Debian has them in `libpython3.11-testsuite`; Python 3.13 adds those of `shutdown`. What the class in C promises beyond the
one in Python is left out: that a finalizer which puts something in cannot come between a call of `put` and its effect.
"""

import inspect
import types
import unittest

import pytest

import leveret

cases = pytest.importorskip("test.test_queue")

# The module that the cases see in the place of the standard library's.
ours = types.ModuleType("queue")
for name in ("Empty", "Full", "ShutDown", "LifoQueue", "PriorityQueue", "Queue", "SimpleQueue"):
    setattr(ours, name, getattr(leveret, name))
ours._PySimpleQueue = leveret.SimpleQueue


class Weakly:
    """What `test_references` puts in is local to it, so it cannot be pickled: it is kept as nothing but its kind."""

    @staticmethod
    def dumps(item):
        return b""

    @staticmethod
    def loads(_):
        return Weakly()


@pytest.fixture(autouse=True)
def server(client):
    yield


def on_ours(case):
    """The same case with our classes. Once: those of the C module differ in nothing else."""
    replaced = type(case.__name__, (case,), {"queue": ours, "__module__": __name__})
    if hasattr(case, "test_references"):

        def test_references(self):
            self.q.serializer = Weakly
            super(replaced, self).test_references()

        replaced.test_references = test_references
    return replaced


for name, case in inspect.getmembers(cases, inspect.isclass):
    if issubclass(case, unittest.TestCase) and name.startswith("Py"):
        globals()[name] = on_ours(case)


del case, name
