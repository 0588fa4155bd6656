"""Visitors at the same time, over Streamlit's own protocol: each gets the numbers that it gets alone."""

import asyncio
import urllib.request
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from nvib.lab import Scenario
from nvib.lab.share import link
from tests.support.waiting import moment
from tools.serve import serving
from tools.visitors import Visitor

TEXT = "\n".join(["winter wonder nightingale", "treaty committee date", "letter year nobody"] * 40)
OTHER = "\n".join(["capital city river", "bread butter knife", "seven hundred miles"] * 40)
G2P = {"model": "g2p", "text": "nightingale treaty"}


def query(**fields):
    return link.encode(Scenario(**{**G2P, **fields}))


# What each does: a page on a link, and what is pressed or uploaded there.
WORK = {
    "one prior": ("Prior", query(), ("Text or prior", "one.txt", TEXT)),
    "another prior": ("Prior", query(), ("Text or prior", "other.txt", OTHER)),
    "text": ("Compare", query(encoder_alpha=1.0, cross_sigma=0.4, length=64), ()),
    "a sweep": ("Sweep", query(examples=32, grid="cross_sigma=0,0.2,0.4"), ("Run the sweep",)),
}


@contextmanager
def fresh(tmp_path_factory):
    """The port of a server that has measured nothing."""
    with serving(NVIB_CACHE=str(tmp_path_factory.mktemp("cache"))) as address:
        yield urlsplit(address).port


async def does(port, work):
    """What a visitor is shown in the end."""
    page, asked, then = work
    visitor = Visitor(port)
    seen = await visitor.open(asked, page)
    if then:
        box, *file = then
        seen = await (visitor.upload(box, file[0], file[1].encode()) if file else visitor.press(box))
    await visitor.leave()
    assert not seen.errors
    return seen


def test_two_estimate_one_generates_and_one_sweeps(tmp_path_factory):
    with fresh(tmp_path_factory) as port:
        alone = {name: asyncio.run(does(port, work)) for name, work in WORK.items()}
    assert len({seen.numbers for seen in alone.values()}) == len(WORK)

    async def together(port):
        return await asyncio.gather(*(does(port, work) for work in WORK.values()))

    with fresh(tmp_path_factory) as port:
        found = dict(zip(WORK, asyncio.run(together(port)), strict=True))
    for name, seen in found.items():
        assert seen.alerts == alone[name].alerts
        assert seen.numbers == alone[name].numbers, name


def turns(port):
    """How many forwards the server has made so far."""
    told = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
    return float(told.partition('nvib_turns_total{gate="models"} ')[2].split("\n")[0])


LONG = {  # a list of a link is begun as it is opened
    "estimate": ("Prior", query(), ("Text or prior", "long.txt", TEXT * 20)),
    "sweep": ("Sweep", query(examples=200, grid="cross_sigma=0,0.1,0.3,0.5"), ("Run the sweep",)),
    "list": ("Compare", query(listing="\n".join(f"word{'x' * n}" for n in range(100))), ()),
}


@pytest.mark.parametrize("work", LONG.values(), ids=LONG)
def test_who_closes_the_tab_ends_the_work(shared, work):
    """Soon after, within a forward or so, the counters stand still."""
    page, asked, then = work
    port = urlsplit(shared).port

    async def leaves():
        visitor = Visitor(port)
        if then:
            await visitor.open(asked, page)
        before = turns(port)
        if not then:
            task = asyncio.create_task(visitor.open(asked, page))
        elif len(then) > 1:
            task = asyncio.create_task(visitor.upload(then[0], then[1], then[2].encode()))
        else:
            task = asyncio.create_task(visitor.press(then[0]))
        while turns(port) < before + 3 and not task.done():
            await asyncio.to_thread(moment, 0.02)
        assert not task.done()  # it is in the middle
        task.cancel()
        await visitor.leave()

    asyncio.run(leaves())
    still = 0
    last = turns(port)
    for _ in range(400):
        moment(0.05)
        now = turns(port)
        still = still + 1 if now == last else 0
        last = now
        if still >= 20:
            return
    raise AssertionError("its work goes on")
