"""A link as a QR code, made on the server, for those who hold a phone up to a screen."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import segno
import streamlit as st

HERE = re.compile(r"localhost|.+\.localhost|127(\.\d+){3}|0\.0\.0\.0|::1?|::ffff:127(\.\d+){3}|::ffff:7f\w\w:\w+")
ALONE = (
    "Only this machine can open this address, so it has no code here. Serve with NVIB_PUBLIC=1 nvib serve --lan, and "
    "open the page by the address that it prints."
)
LONG = "The view is too long for a link, so there is no code of it: Export saves it as a .json scenario."


def popover(query: str) -> None:
    """The code of the page's link behind a button; query: the link's parameters, "" where no link holds the view."""
    with st.popover("QR code", key="qr", on_change="rerun") as opened:
        if not opened.open:
            return
        if not query:
            st.info(LONG)
            return
        address = f"{st.context.url}?{query}"
        if of_this_machine(address):
            st.warning(ALONE)
        else:
            st.markdown(
                f'<img alt="QR code of the address below" src="{picture(address)}" style="width: min(100%, 20rem)">',
                unsafe_allow_html=True,
            )
        st.code(address, language=None, wrap_lines=True)


def picture(address: str) -> str:
    """The code as a data URL: dark on white in every theme, with its quiet zone."""
    code = segno.make(address, error="l", boost_error=False, micro=False)
    uri: str = code.svg_data_uri(border=4, dark="#000", light="#fff", omitsize=True)
    return uri.replace('"', "%22")


def of_this_machine(address: str) -> bool:
    """Whether an address leads every machine to itself."""
    return bool(HERE.fullmatch(urlsplit(address).hostname or ""))
