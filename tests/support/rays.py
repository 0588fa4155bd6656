"""Ray without Ray: actors that are objects of this process, whose calls are made when they are waited for."""

import socket
from contextlib import contextmanager
from types import SimpleNamespace


class RayError(Exception):
    pass


class RayActorError(RayError):
    pass


class ObjectLostError(RayError):
    pass


class PretendedRay:
    """As much of the module ray as the engine asks for. lost: told each call, true where it is lost with its actor.

    head: its address, where it is to say nothing any more.
    """

    exceptions = SimpleNamespace(RayError=RayError, RayActorError=RayActorError, ObjectLostError=ObjectLostError)

    def __init__(self, cpus=2, gpus=0, lost=lambda method: False, head=""):
        self.resources = {"CPU": cpus} | ({"GPU": gpus} if gpus else {})
        self.lost, self.up, self.head = lost, False, head
        self.options, self.actors, self.killed, self.calls = {}, [], [], []

    def is_initialized(self):
        return self.up

    def init(self, **options):
        self.up = True

    def shutdown(self):
        self.up = False

    def cluster_resources(self):
        return self.resources

    def put(self, value):
        assert isinstance(value, str | bytes)  # only numbers and texts cross
        return value

    def kill(self, actor):
        self.killed.append(actor)

    def remote(self, **options):
        self.options = options

        def actor_class(made_of):
            return SimpleNamespace(remote=lambda *given: self._actor(made_of, given))

        return actor_class

    def _actor(self, made_of, given):
        held = made_of(*given)

        def method(name):
            def call(*values):
                assert all(isinstance(value, str | bytes | None) for value in values)
                self.calls.append((name, values))
                return Call(held, name, values)

            found = SimpleNamespace(remote=call)
            found.options = lambda **options: found
            return found

        self.actors.append(SimpleNamespace(hello=method("hello"), measure=method("measure")))
        return self.actors[-1]

    def get_runtime_context(self):
        return SimpleNamespace(gcs_address=self.head)

    def wait(self, refs, timeout):
        ready = 0 if self.head else 1
        return refs[:ready], refs[ready:]

    def get(self, ref):
        if self.lost(ref.name):
            raise RayActorError("its node died")
        return getattr(ref.held, ref.name)(*ref.values)


class Call:
    """A call that is under way."""

    def __init__(self, held, name, values):
        self.held, self.name, self.values = held, name, values


@contextmanager
def closed_port():
    """An address of this machine at which nobody listens, held meanwhile."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield "{}:{}".format(*held.getsockname())
