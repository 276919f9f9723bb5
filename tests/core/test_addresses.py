"""Where an address leads, however it is written."""

import pytest

from mcpgw.core.addresses import Reach, is_written_out, reach_of

PUBLIC, PRIVATE, FORBIDDEN = Reach


@pytest.mark.parametrize(
    ("address", "reach"),
    [
        ("93.184.215.14", PUBLIC),
        ("2606:4700::1111", PUBLIC),
        ("127.0.0.1", PRIVATE),
        ("127.255.0.9", PRIVATE),
        ("::1", PRIVATE),
        ("10.1.2.3", PRIVATE),
        ("172.31.0.1", PRIVATE),
        ("192.168.0.1", PRIVATE),
        ("100.64.0.1", PRIVATE),
        ("fd12:3456::1", PRIVATE),
        ("fec0::1", PRIVATE),
        ("169.254.169.254", FORBIDDEN),
        ("169.254.170.2", FORBIDDEN),
        ("fe80::1", FORBIDDEN),
        ("fe80::1%eth0", FORBIDDEN),
        ("fd00:ec2::254", FORBIDDEN),
        ("100.100.100.200", FORBIDDEN),
        ("168.63.129.16", FORBIDDEN),
        ("0.0.0.0", FORBIDDEN),
        ("0.1.2.3", FORBIDDEN),
        ("::", FORBIDDEN),
        ("224.0.0.1", FORBIDDEN),
        ("255.255.255.255", FORBIDDEN),
        ("ff02::1", FORBIDDEN),
        ("::ffff:93.184.215.14", PUBLIC),  # mapped
        ("::ffff:127.0.0.1", PRIVATE),
        ("::ffff:169.254.169.254", FORBIDDEN),
        ("::127.0.0.1", FORBIDDEN),  # compatible, deprecated
        ("64:ff9b::93.184.215.14", PUBLIC),  # NAT64
        ("64:ff9b::10.0.0.1", PRIVATE),
        ("64:ff9b::169.254.169.254", FORBIDDEN),
        ("64:ff9b:1::93.184.215.14", PUBLIC),  # NAT64 of a house, by a prefix of 96 bits
        ("64:ff9b:1::169.254.169.254", FORBIDDEN),
        ("64:ff9b:1:a9fe:a9:fe00::", FORBIDDEN),  # 169.254.169.254 by 48 bits
        ("64:ff9b:1:a9fe:a9:fe00:5db8:d70e", FORBIDDEN),  # and with something harmless behind it
        ("64:ff9b:1:a9:fe:a9fe:5db8:d70e", FORBIDDEN),  # by 56 bits
        ("64:ff9b:1:0:a9:fea9:fedb:d70e", FORBIDDEN),  # by 64 bits
        ("2002:5db8:d70e::1", PUBLIC),  # 6to4
        ("2002:7f00:1::", PRIVATE),
        ("2002:a9fe:a9fe::1", FORBIDDEN),
        ("2001:0:5db8:d70e::5601:5601", FORBIDDEN),  # Teredo, its client's bits inverted: 169.254.169.254
        ("2606:4700::5efe:169.254.169.254", FORBIDDEN),  # ISATAP
        ("2606:4700::200:5efe:10.0.0.1", PRIVATE),
        ("example.org", FORBIDDEN),
        ("", FORBIDDEN),
    ],
)
def test_an_address_leads_where_its_worst_reading_leads(address: str, reach: Reach) -> None:
    assert reach_of(address) is reach


@pytest.mark.parametrize(
    ("host", "is_one"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("::1", True),
        ("[::1]", True),
        ("10.0.0.7", True),
        ("2130706433", False),
        ("0x7f000001", False),
        ("0177.0.0.1", False),
        ("127.1", False),
        ("localhost.example.org", False),
        ("", False),
    ],
)
def test_a_host_that_says_where_it_leads_is_written_out(host: str, is_one: bool) -> None:
    assert is_written_out(host) is is_one
