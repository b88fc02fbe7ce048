"""Who is asking, and how many of them there may be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from getpatter.server.limits import Place, Refusal, SocketCensus, SocketLimits, TrustedProxies

CLOUD = "cf-connecting-ip"


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "client"),
    [
        ([], "203.0.113.9", "", "203.0.113.9"),
        ([], "203.0.113.9", "198.51.100.1", "203.0.113.9"),
        ([], "127.0.0.1", "198.51.100.1", "127.0.0.1"),
        (["10.0.0.1"], "10.0.0.1", "", "10.0.0.1"),
        (["10.0.0.1"], "10.0.0.1", "198.51.100.1", "198.51.100.1"),
        (["10.0.0.1"], "10.0.0.2", "198.51.100.1", "10.0.0.2"),
        (["10.0.0.1"], "10.0.0.1", "6.6.6.6, 198.51.100.1", "198.51.100.1"),
        (["10.0.0.0/8"], "10.0.0.1", "6.6.6.6, 198.51.100.1, 10.2.3.4", "198.51.100.1"),
        (["10.0.0.0/8"], "10.0.0.1", "10.9.9.9, 10.2.3.4", "10.9.9.9"),
        (["10.0.0.1"], "10.0.0.1", "198.51.100.1:4711", "198.51.100.1"),
        (["10.0.0.1"], "10.0.0.1", "[2001:db8::1]:4711", "2001:db8::1"),
        (["10.0.0.1"], "10.0.0.1", "2001:DB8:0:0::1", "2001:db8::1"),
        (["10.0.0.1"], "10.0.0.1", "6.6.6.6, unknown", "10.0.0.1"),
        (["10.0.0.1"], "10.0.0.1", "6.6.6.6,", "10.0.0.1"),
        (["10.0.0.0/8"], "10.0.0.1", "6.6.6.6, junk, 10.2.3.4", "10.2.3.4"),
        (["10.0.0.1"], "::ffff:10.0.0.1", "::ffff:198.51.100.1", "198.51.100.1"),
        (["::1"], "::1", "198.51.100.1", "198.51.100.1"),
        (["fe80::/10"], "fe80::1%eth0", "198.51.100.1", "198.51.100.1"),
        (["10.0.0.1"], "", "198.51.100.1", ""),
        (["10.0.0.1"], "unix:/run/x", "198.51.100.1", "unix:/run/x"),
    ],
)
def test_the_address_of_the_client(
    trusted: list[str], peer: str, forwarded: str, client: str
) -> None:
    headers = {"x-forwarded-for": forwarded} if forwarded else {}
    assert TrustedProxies.of(trusted).client(peer, headers) == client


@pytest.mark.parametrize(
    ("peer", "headers", "client"),
    [
        ("127.0.0.1", {CLOUD: "198.51.100.1"}, "198.51.100.1"),
        ("::1", {CLOUD: "2001:db8::1"}, "2001:db8::1"),
        ("127.0.0.1", {}, "127.0.0.1"),
        ("127.0.0.1", {CLOUD: "nonsense"}, "127.0.0.1"),
        ("127.0.0.1", {"x-forwarded-for": "198.51.100.1"}, "127.0.0.1"),
        ("203.0.113.9", {CLOUD: "198.51.100.1"}, "203.0.113.9"),
    ],
)
def test_the_header_of_our_own_tunnel_counts_from_this_machine_only(
    peer: str, headers: dict[str, str], client: str
) -> None:
    assert TrustedProxies.of([], tunnel_header="CF-Connecting-IP").client(peer, headers) == client


@given(st.text(), st.text())
def test_no_header_can_break_us(peer: str, forwarded: str) -> None:
    proxies = TrustedProxies.of(["10.0.0.0/8", "::/0"], tunnel_header=CLOUD)
    for trusted in (peer, "10.0.0.1", "127.0.0.1"):
        assert isinstance(
            proxies.client(trusted, {"x-forwarded-for": forwarded, CLOUD: forwarded}), str
        )


def test_a_proxy_that_is_no_address_is_an_error_at_the_start() -> None:
    with pytest.raises(ValueError, match=r"trusted_proxies: 'proxy\.local'"):
        TrustedProxies.of(["10.0.0.1", "proxy.local"])


def entered(census: SocketCensus, address: str, *, is_proven: bool = False) -> Place:
    place = census.enter(address, is_proven=is_proven)
    assert isinstance(place, Place)
    return place


def test_strangers_are_counted_per_address() -> None:
    census = SocketCensus(SocketLimits(strangers_per_address=2))
    entered(census, "a")
    entered(census, "a")
    refusal = census.enter("a", is_proven=False)
    assert refusal == Refusal(429, "Too Many Requests", {"retry-after": "1"})
    entered(census, "b")
    entered(census, "a", is_proven=True)
    assert (census.strangers("a"), census.total) == (2, 4)


def test_proof_and_leaving_make_room_once() -> None:
    census = SocketCensus(SocketLimits(strangers_per_address=2))
    first, second = entered(census, "a"), entered(census, "a")
    first.prove()
    first.prove()
    assert census.strangers("a") == 1
    first.leave()
    first.leave()
    first.prove()
    second.leave()
    assert (census.strangers("a"), census.total) == (0, 0)
    assert not census._strangers


def test_the_total_holds_for_friends_too() -> None:
    census = SocketCensus(SocketLimits(total=1))
    place = entered(census, "a", is_proven=True)
    refusal = census.enter("b", is_proven=True)
    assert isinstance(refusal, Refusal)
    assert refusal.status == 503
    place.leave()
    entered(census, "b")
