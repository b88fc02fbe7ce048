"""Where requests may go: public addresses, however they are written or looked up."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

import pytest

from getpatter.net.addresses import (
    WEBSOCKET,
    AddressRefusedError,
    checked_addresses,
    is_public,
    judge_url,
)

PUBLIC = ["8.8.8.8", "1.1.1.1", "172.15.255.255", "100.128.0.1", "2606:4700::1111", "2a00:1450::8a"]
PRIVATE = [
    "0.0.0.0", "10.1.2.3", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254",
    "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1",
    "192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1",
    "255.255.255.255", "168.63.129.16",
    "::", "::1", "::ffff:8.8.8.8", "::ffff:127.0.0.1", "::7f00:1", "64:ff9b::808:808", "100::1",
    "2001::1", "2001:db8::1", "2002:808:808::1", "3fff::1", "fc00::1", "fd00:ec2::254", "fe80::1",
    "fec0::1", "ff02::1",
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", PRIVATE)
def test_all_others_are_not(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(ValueError, match="not public"):
        judge_url(f"https://{host}/x")


@pytest.mark.parametrize(
    "url",
    [
        "http://2130706433/", "http://0x7f000001/", "http://017700000001/", "http://127.1/",
        "http://0x7f.1/", "http://127.0.0.0x1/", "http://8.8.8.010/", "http://127.0.0.1./",
        "http://localhost/", "http://LOCALHOST:80/", "http://api.localhost/", "http://localhost./",
        "http://[::1%25lo]/", "http://user@example.com/", "http://user:pw@example.com/",
        "http://@example.com/", "ftp://example.com/", "file:///etc/passwd", "example.com", "http://",
        "http:///x", "http://example.com:0/", "http://example.com:99999/", "http://exa mple.com/",
        "http://example.com\\@127.0.0.1/", "http://[", "ws://example.com/", "",
    ],
)  # fmt: skip
def test_what_can_be_judged_without_a_name_server_is(url: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the texts differ; no url in any
        judge_url(url)
    assert "example" not in str(refused.value)


def test_ordinary_urls_pass_and_websockets_where_they_are_wanted() -> None:
    assert judge_url("https://example.com:8443/tools/x?y=1").hostname == "example.com"
    assert judge_url("http://8.8.8.8/").port is None
    assert judge_url("wss://example.com/talk", schemes=WEBSOCKET).scheme == "wss"
    assert judge_url("http://127.0.0.1:9/", allow_private=True).port == 9
    with pytest.raises(ValueError, match="user and password"):
        judge_url("http://a:b@127.0.0.1/", allow_private=True)


@pytest.mark.parametrize("private", PRIVATE)
async def test_one_private_address_among_public_ones_is_enough(private: str) -> None:
    async def ask(host: str, port: int) -> Sequence[str]:
        return ["8.8.8.8", private]

    with pytest.raises(AddressRefusedError):
        await checked_addresses("tools.example", 443, ask=ask)


async def test_checked_addresses_come_once_each_in_the_resolvers_order() -> None:
    async def ask(host: str, port: int) -> Sequence[str]:
        return ["8.8.8.8", "2606:4700::1111", "8.8.8.8"]

    assert await checked_addresses("a.example", 443, ask=ask) == ["8.8.8.8", "2606:4700::1111"]

    async def nothing(host: str, port: int) -> Sequence[str]:
        return []

    with pytest.raises(OSError, match="no address"):
        await checked_addresses("a.example", 443, ask=nothing)
    with pytest.raises(AddressRefusedError):
        await checked_addresses("127.1", 443, ask=ask)
