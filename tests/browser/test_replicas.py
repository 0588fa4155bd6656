"""Two replicas behind nginx: a visitor keeps one, what one made opens on the other, and one may be killed."""

import asyncio
import random

from playwright.sync_api import expect

from nvib.lab import Scenario
from nvib.lab.share import link
from tests.browser.conftest import WAIT, Visit
from tools.visitors import Visitor

TEXT = "\n".join(["winter wonder nightingale", "treaty committee date", "letter year nobody"] * 40)
WORDS = ["nightingale", "treaty", "wonder", "letter", "capital", "bread", "river", "winter", "seven", "mile"]


def query(**fields):
    return link.encode(Scenario(**{"model": "g2p", "text": "nightingale", "cross_alpha": 1.0, **fields}))


async def opened(port, replica, asked, page=""):
    """A visitor who comes with the cookie of a replica, and what it is shown."""
    visitor = Visitor(port, nvib_replica=replica)
    seen = await visitor.open(asked, page)
    assert not seen.errors
    return visitor, seen


def test_a_replica_is_killed_and_comes_back(replicas):
    """Of ten visitors five lose theirs: they come back to the same view, and the others see nothing of it."""

    async def visits():
        places = ["one", "two"] * 5
        asked = [query(text=word) for word in WORDS]
        found = await asyncio.gather(*(opened(replicas.port, *each) for each in zip(places, asked, strict=True)))
        before = [seen.numbers for _, seen in found]
        assert len(set(before)) == len(WORDS)
        await asyncio.to_thread(replicas.kill, "one")  # the others answer their server meanwhile
        after = []
        for (visitor, _), place, view in zip(found, places, asked, strict=True):
            if place == "one":
                await visitor.leave()  # its socket has ended; a browser comes again by itself
            after.append(await visitor.open(view))
            assert visitor.cookies["nvib_replica"] == "two"
        assert [seen.numbers for seen in after] == before
        assert not any(seen.errors or seen.alerts for seen in after)
        replicas.start("one")
        await asyncio.to_thread(replicas.wait, "one")
        visitor, seen = await opened(replicas.port, "one", asked[0])
        assert (visitor.cookies["nvib_replica"], seen.numbers) == ("one", before[0])
        assert (await found[0][0].open(asked[0])).numbers == before[0]  # who went to the other stays there
        assert found[0][0].cookies["nvib_replica"] == "two"

    asyncio.run(visits())


def test_a_prior_and_a_sweep_of_one_replica_are_there_on_the_other(replicas):
    async def visits():
        visitor, _ = await opened(replicas.port, "one", query(), "Prior")
        there = await visitor.upload("Text or prior", "mine.txt", TEXT.encode())
        while not visitor.address.get("prior_id"):  # the prior is the scenario's with the run that follows
            there = await visitor.open(visitor.address, "Prior")
        _, other = await opened(replicas.port, "two", visitor.address, "Prior")
        assert other.numbers == there.numbers
        assert not other.alerts
        asked = query(examples=32, grid="cross_sigma=0,0.3")
        visitor, first = await opened(replicas.port, "one", asked, "Sweep")
        measured = await visitor.press("Run the sweep")
        _, other = await opened(replicas.port, "two", asked, "Sweep")
        assert measured.numbers == other.numbers != first.numbers

    asyncio.run(visits())


def test_a_browser_loses_its_replica_and_keeps_its_view(replicas, browser):
    """A view too long for a link, which one replica named, opens on the other, in the page that was open too."""
    text = " ".join(random.Random(0).choices("abcdefghijklmnopqrstuvwxyz", k=3000))
    context = Visit(browser, replicas.address, "Prior?v=2&model=g2p&text=nightingale&cross_alpha=1")
    page = context.page
    box = page.get_by_role("textbox", name="Another text to compare with")
    box.fill(text, timeout=WAIT)
    box.press("Control+Enter")
    page.wait_for_url("**view=**", timeout=WAIT)
    context.settled()
    (mine,) = [each["value"] for each in page.context.cookies() if each["name"] == "nvib_replica"]
    other = "two" if mine == "one" else "one"
    replicas.kill(mine)
    page.wait_for_function("() => document.visibilityState && fetch('/_stcore/health').then(a => a.ok)", timeout=WAIT)
    page.reload()
    expect(box).to_have_value(text, timeout=WAIT)
    (now,) = [each["value"] for each in page.context.cookies() if each["name"] == "nvib_replica"]
    assert now == other
    replicas.start(mine)
    replicas.wait(mine)
