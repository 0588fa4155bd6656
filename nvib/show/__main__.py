"""Serve the app: `nvib serve`, which is `python -m nvib.show`, with the options of `streamlit run`."""

from __future__ import annotations

import errno
import socket
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import closing
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from nvib import assets
from nvib.errors import NVError

SERVER = Path(__file__).parent / "server.py"
NEEDED = ("streamlit", "plotly")
HIGHEST = 65_535


def settings() -> dict[str, Any]:
    """The app's own options, wherever it is started from, by the names that `streamlit run` gives its parameters."""
    return dict(_flat(tomllib.loads(assets.shipped(".streamlit", "config.toml").read_text("utf-8"))))


def _flat(table: Mapping[str, Any], *above: str) -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, *above, name)
        else:
            yield "_".join((*above, name)), value


def check_port(address: str | None, port: int) -> None:
    """Raises NVError, saying what to do, where a server cannot listen on the port of this address."""
    try:
        _listen(address, port)
    except OverflowError:
        raise NVError(f"There is no port {port}; choose one up to {HIGHEST}: nvib serve --server.port 8501.") from None
    except OSError as error:
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            other = min(max(port + 1, 1024), HIGHEST)  # below 1024 not everyone may have one
            why = "is in use" if error.errno == errno.EADDRINUSE else "may not be opened"
            raise NVError(
                f"Port {port} {why}; choose another one: nvib serve --server.port {other}, or make run PORT={other}."
            ) from error
        if address:
            raise NVError(
                f"The address {address} is not one of this machine; "
                "choose another one: nvib serve --server.address 127.0.0.1."
            ) from error
        # Of no address of its own Streamlit tries several.


def _listen(address: str | None, port: int) -> None:
    """Take the port as Streamlit does, and let it go. Raises OSError, or OverflowError for a number that is no port."""
    both = not address and socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both or ":" in (address or "") else socket.AF_INET
    with closing(socket.create_server((address or "", port), family=family, dualstack_ipv6=both)):
        pass


def lan_address(given: str | None = None) -> str:
    """This machine's address in the local network; given: one that was chosen. Raises NVError where there is none."""
    from streamlit.net_util import get_internal_ip

    if given:
        raise NVError(f"Give --lan or --server.address {given}, not both: --lan finds this machine's address itself.")
    found = get_internal_ip()
    if not found or ip_address(found).is_loopback:
        raise NVError(
            "This machine has no address in a local network; connect it to one, or give its address: "
            "nvib serve --server.address 192.168.1.20."
        )
    return found


def serve(arguments: list[str]) -> int:
    """Serve until stopped; returns the exit status, 1 with one sentence where it cannot be."""
    if not all(map(find_spec, NEEDED)):
        print("The app needs streamlit and plotly; run pip install 'nvib-explorer[app]'.", file=sys.stderr)
        return 1
    import click
    from streamlit import config
    from streamlit.web import bootstrap, cli

    from nvib.show.limits import check_mode, limits

    run = cli.main_run.callback
    assert run is not None

    def start(lan: bool, **options: Any) -> None:
        """Start the server with what was given, in a variable or as an option, before what the app is shipped with."""
        given = limits()
        if lan:
            options["server_address"] = lan_address(options.get("server_address"))
        shipped = {**settings(), "server_maxUploadSize": int(given.upload_mb)}
        options = {**shipped, **{name: value for name, value in options.items() if value not in (None, ())}}
        bootstrap.load_config_options(options)
        address = config.get_option("server.address")
        check_mode(address)
        if not (address or "").startswith("unix:"):
            check_port(address, config.get_option("server.port"))
        if lan:
            at = config.get_option("server.baseUrlPath").strip("/")
            print(f"Others in this network open http://{address}:{config.get_option('server.port')}/{at}")
        run(target=str(SERVER), **options)

    parameters: list[click.Parameter] = [each for each in cli.main_run.params if isinstance(each, click.Option)]
    parameters.insert(
        0, click.Option(["--lan"], is_flag=True, help="For others in the local network, not this machine alone.")
    )
    command = click.Command("serve", callback=start, params=parameters, help=__doc__)
    try:
        command.main(arguments, prog_name="nvib serve")
    except NVError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1:]))
