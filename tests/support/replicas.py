"""Two servers of the app behind Debian's nginx, as deploy/ has it, each of which can be killed and started again."""

import re
import shutil
import signal
import subprocess

from tests.support.folders import ROOT
from tools.serve import free_port, started, wait_for

DEPLOY = ROOT / "deploy"
MINUTES = 4  # two servers start at a time, beside other tests
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")  # where Debian puts it


class Replicas:
    """port: nginx's; ports: those of the replicas "one" and "two"."""

    def __init__(self, folder):
        self._environment = {"NVIB_CACHE": str(folder / "cache"), "NVIB_SHARED": "1"}
        self.port, self.ports = free_port(), {name: free_port() for name in ("one", "two")}
        self._folder, self._servers, self._nginx = folder, {}, None
        lines = "".join(f"{name} 127.0.0.1:{port}; " for name, port in self.ports.items())
        (folder / "replicas.conf").write_text(
            f"map $mine $address_of_mine {{ {lines} }}\nmap $other $address_of_other {{ {lines} }}\n"
        )
        said, count = re.subn(r"listen 8080;", f"listen 127.0.0.1:{self.port};", (DEPLOY / "nginx.conf").read_text())
        said, moved = re.subn(r"/tmp/nvib-nginx", f"{folder}/nginx", said)
        assert (count, moved) == (1, 6)
        (folder / "nginx.conf").write_text(said)

    def begin(self):
        for name in self.ports:
            self.start(name)
        command = [NGINX, "-p", str(self._folder), "-c", str(self._folder / "nginx.conf")]
        self._nginx = subprocess.Popen([*command, "-g", "daemon off; master_process off;"], stderr=subprocess.DEVNULL)
        for name in self.ports:
            self.wait(name)

    @property
    def address(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self, name):
        self._servers[name] = started(self.ports[name], **self._environment)

    def wait(self, name):
        wait_for(f"http://127.0.0.1:{self.ports[name]}/_stcore/health", MINUTES)

    def kill(self, name):
        """As a machine that goes: nothing is said."""
        self._servers[name].send_signal(signal.SIGKILL)
        self._servers[name].wait(20)

    def stop(self):
        for process in filter(None, (self._nginx, *self._servers.values())):
            process.terminate()
            process.wait(20)
