"""URLs for Hypothesis: parts that parsers read differently."""

from hypothesis import strategies as st

# What attacks are made of, so that random sequences meet the rules often.
PARTS = st.sampled_from(
    [
        *"/.\\%;@:?#&=+~-_aZ09 \t\n\r\x00\x7f",
        "..", "//", "%2e", "%2E", "%2f", "%5c", "%25", "%00", "%0a", "%c0%ae", "%ff", "%20",
        "%e2%80%8b", "%ef%bc%8f", "%e2%82%ac", "evil.example", "http:", "https://", "@evil", ":80",
        "é", "\uff0f", "\uff0e", "\u2025", "\u2100", "a", "b/c", "api",
    ]
)  # fmt: skip

ADDRESSES = st.lists(PARTS, max_size=12).map("".join)


# References as an upstream may give them: anything, and what looks much like its own.
STARTS = (
    "https://api.example.com:8443/base/v1/", "//", "/base/v1/", "https://gateway", "127", "0x7f",
    "xn--", "%65", ".example", "[::1]",
)  # fmt: skip

REFERENCES = st.one_of(
    ADDRESSES,
    st.lists(
        st.one_of(PARTS, st.sampled_from(STARTS)),
        max_size=8,
    ).map("".join),
)  # fmt: skip

HOSTS = st.lists(
    st.one_of(
        st.sampled_from([
            "gateway", "example", ".", "127", "0", "1", "0x7f", "%2e", "%65", "xn--", "-", "_",
            "[::1]",
            "[", "]", "\xe3\x80\x82", "\xc2\xad", "A", ":443", ":8443", ":0443",
        ]),
        st.text("abcdefx0123456789.%-", max_size=3),
    ),
    min_size=1,
    max_size=6,
).map("".join)  # fmt: skip

ABSOLUTE = HOSTS.map(lambda host: f"https://{host}/x")
