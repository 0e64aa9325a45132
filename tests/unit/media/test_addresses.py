"""Which addresses are public, in every notation."""

from ipaddress import ip_address

import pytest

from sekha_llm_bridge.media.addresses import check_public_url, is_public_address, parse_url

NOT_PUBLIC = [
    *("0.0.0.0", "10.1.2.3", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.8.8.8", "169.254.169.254"),  # noqa: S104 — no binding
    *("172.16.0.1", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.0.1", "198.18.0.1", "198.51.100.1"),
    *("203.0.113.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "168.63.129.16"),
    *("::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:a9fe:a9fe", "::ffff:0:7f00:1"),
    *("64:ff9b::a9fe:a9fe", "64:ff9b::10.0.0.1", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "3fff::1"),
    *("2002:7f00:1::", "2002:808:808::", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1"),
    *("4000::1", "::ffff:168.63.129.16", "2001:10::1"),
]  # fmt: skip


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_a_special_address_is_not_public(address: str) -> None:
    assert not is_public_address(ip_address(address))


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2a00:1450::1"]
)
def test_an_ordinary_address_is_public(address: str) -> None:
    assert is_public_address(ip_address(address))


NOTATIONS = [
    *("127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001", "127.0.0.1."),
    *("0xa9fea9fe", "2852039166", "0251.0376.0251.0376", "[::ffff:a9fe:a9fe]", "[0:0:0:0:0:ffff:7f00:1]"),
    *("LOCALHOST", "localhost.", "x.localhost", "１２７.０.０.１", "①②⑦.⓪.⓪.①", "[fe80::1%25eth0]", "metadata.goog"),
    *("metadata.google.internal", "instance-data.ec2.internal", "kubernetes.default.svc", "printer.lan", "a.onion"),
    *("metadata.tencentyun.com", "127。0。0。1", "0", "router", "127.0.0.1:80"),
]  # fmt: skip


@pytest.mark.parametrize("host", NOTATIONS)
def test_a_private_host_is_refused_in_every_notation(host: str) -> None:
    for scheme in ("http", "https"):
        with pytest.raises(ValueError, match=r"not public|read in one way only"):
            check_public_url(f"{scheme}://{host}/x.png")


@pytest.mark.parametrize(
    "url",
    [
        *(
            "file:///etc/passwd",
            "gopher://example.com/1",
            "ftp://example.com/x",
            "javascript:alert(1)",
            "//example.com",
        ),
        *("http://", "http:///x", "https://u:p@example.com/", "http://example.com:0/", "http://example.com:99999/"),
        *("http://exa mple.com/", "http://example.com\\@127.0.0.1/", "http://example.com/\r\nx: y", "x", "http://[::1"),
        *("http://127%2e0.0.1/", "http://a/\x00"),
    ],
)
def test_any_other_url_is_refused_with_a_reason_that_does_not_quote_it(url: str) -> None:
    with pytest.raises(ValueError, match=r"^(is|holds|must|names|has) ") as caught:
        check_public_url(url)
    assert "example.com" not in str(caught.value)


def test_a_url_is_read_once_for_check_connection_and_request() -> None:
    parsed = parse_url("HTTPS://Bücher.Example.com:8443/ä b.png?q=%20ü&x=[1]#part".replace(" ", "%20"))
    assert (parsed.scheme, parsed.host, parsed.port) == ("https", "xn--bcher-kva.example.com", 8443)
    assert parsed.target == "/%C3%A4%20b.png?q=%20%C3%BC&x=%5B1%5D"
    assert parsed.host_header == "xn--bcher-kva.example.com:8443"
    assert parse_url("http://0x5db8d822").host_header == "93.184.216.34"
    assert parse_url("http://[2606:4700::1111]/").host_header == "[2606:4700::1111]"
