"""Private servers and how their program is found."""

import os

import pytest

import leveret


def test_the_fixture_is_a_server_of_both_protocols(leveret_server):
    client = leveret_server.redis()
    assert client.ping() and client.dbsize() == 0
    client.set("key", 1)
    leveret_server.kill()
    leveret_server.start()
    assert leveret_server.redis().dbsize() == 1


def test_nothing_is_left():
    with leveret.Server() as server:
        process = server.process
        assert os.path.isdir(server.data)
    assert process.poll() is not None and not os.path.exists(server.directory)


def test_a_server_that_cannot_start_says_why():
    with pytest.raises(RuntimeError, match="no-such-flag"):
        leveret.Server("--no-such-flag", "1").start()


def test_the_program_is_found(monkeypatch, tmp_path):
    monkeypatch.setenv("LEVERET_BINARY", "/named")
    assert leveret.find_binary() == "/named"
    monkeypatch.delenv("LEVERET_BINARY")
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path / "scripts"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError):
        leveret.find_binary()
    program = tmp_path / "leveret"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert leveret.find_binary() == str(program)
