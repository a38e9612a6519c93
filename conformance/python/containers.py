"""A plugin of pytest for aio-pika and aiormq, whose fixtures ask Docker for a broker: a container is a Leveret process here.

It stands in for their module `tests.docker_client`, with the names that their fixtures and tests use.
"""
import os
import sys
from dataclasses import dataclass

import pytest
from server import Server, free_port
from yarl import URL


class DockerNotAvailableError(Exception):
    pass


@dataclass
class DockerHostInfo:
    binary: str


@dataclass
class ContainerInfo:
    id: str
    ports: dict
    host: str


def check_docker_available():
    binary = os.environ.get("LEVERET_BINARY", "")
    if not os.path.exists(binary):
        raise DockerNotAvailableError(f"LEVERET_BINARY is {binary!r}, which is not there")
    return DockerHostInfo(binary)


class DockerClient:
    # Of all clients: a test makes one of its own and restarts what a fixture has started.
    containers = {}

    def __init__(self, docker_host_info=None):
        pass

    def run(self, image, ports, environment=None):
        server = Server("container")
        server.start()
        container_id = str(server.amqp_port)
        self.containers[container_id] = server
        # Nobody listens where TLS would be.
        found = {port: server.amqp_port if port == "5672/tcp" else free_port() for port in ports}
        return ContainerInfo(container_id, found, "127.0.0.1")

    def inspect(self, container_id):
        return container_id

    def _parse_ports(self, container_id):
        return {"5672/tcp": self.containers[container_id].amqp_port}

    def _request(self, method, path, body=None):
        """`rabbitmqctl stop_app` and `start_app` in a container: made, begun, and asked for their end."""
        if body and "Cmd" in body:
            container_id = path.split("/")[2]
            {"stop_app": self.stop, "start_app": self.start}[body["Cmd"][1]](container_id)
            return {"Id": "rabbitmqctl"}
        return {"Running": False, "ExitCode": 0}

    def start(self, container_id):
        self.containers[container_id].start()

    def stop(self, container_id, timeout=10):
        server = self.containers[container_id]
        server.process.terminate()
        server.process.wait(timeout)

    def kill(self, container_id):
        self.containers[container_id].kill()

    def remove(self, container_id):
        self.containers.pop(container_id).__exit__(None)


# The tests import it by this name.
sys.modules["tests.docker_client"] = sys.modules[__name__]


# The package of aiormq lacks the file with these two; aio-pika has its own.
@pytest.fixture(scope="session")
def rabbitmq_container():
    client = DockerClient()
    container = client.run("rabbitmq", ["5672/tcp", "5671/tcp"])
    yield container
    client.remove(container.id)


@pytest.fixture(scope="session")
def amqp_direct_url(rabbitmq_container):
    container = rabbitmq_container
    return URL(f"amqp://guest:guest@{container.host}:{container.ports['5672/tcp']}//")
