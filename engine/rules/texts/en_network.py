"""Words of the rules in English: the resource network."""

from __future__ import annotations

from dctop.engine.rules.texts import RemedyText as R
from dctop.engine.rules.texts import RuleText

# fmt: off
RULES: dict[str, RuleText] = {
    "nic-errors": RuleText(
        title="{nic} loses packets: {errors} errors, {lost} % dropped in 10 minutes",
        why="A healthy link has no errors; drops mean that the receiver cannot keep up.",
        evidence={"errors": "Errors", "share": "Of packets (2 min)", "drops": "Drops", "lost": "Dropped share", "packets": "Packets", "speed": "Speed"},
        remedies={
            "cable": R("Replace cable or optic, try another port", "{nic}", "no more errors", "ethtool -S {nic}"),
            "ring": R("Enlarge the receive ring", "{nic}", "fewer drops", "ethtool -G {nic} rx <max>"),
        },
        condition="STATE: >= {errors} errors in 10 min, or >= {errors_pct} % of packets in 2 min; or drops >= {drops_pct} % of more than {packets} packets.",
        traps="rx_dropped also counts unknown VLANs and multicast: hence the ratio.",
    ),
    "tcp-retrans": RuleText(
        title="{share} % of TCP segments are sent again",
        why="Packets are lost on the way or at a receiver.",
        evidence={"share": "Share", "again": "Sent again", "out": "Sent", "open": "Connections"},
        remedies={
            "path": R("Test the path to the busiest peers", None, "names the lossy hop", "mtr -rwc 100 <peer>"),
            "mtu": R("Check that the MTU is the same everywhere", None, "no more black holes", "ping -M do -s 8972 <peer>"),
        },
        condition="STATE: > {warn_pct} % warning, > {crit_pct} % critical, of >= {segments} segments/min over {window_s} s; clear below {clear_pct} %.",
        traps="Little traffic proves nothing.",
    ),
    "nic-saturated": RuleText(
        title="{nic} is full: {util} % of {speed} Gbit/s",
        why="The link is the bottleneck of whatever goes through it.",
        evidence={"util": "Used", "rx": "Received", "tx": "Sent", "speed": "Speed"},
        remedies={
            "local": R("Copy the data set to local storage once", None, "the link is free for the rest"),
            "compress": R("Or compress gradients, or send them less often", None, "half the bytes with bf16"),
        },
        condition="STATE: mean of {window_s} s > {warn_pct} %; clear below {clear_pct} %.",
        traps="Virtual interfaces report made-up speeds and are not judged.",
    ),
    "link-down-slow": RuleText(
        title="{link}: {old} -> {new}",
        why="The link {link} was {old} and is {new} now.",
        evidence={"now": "Now", "errors": "Receive errors", "downed": "Times it went down"},
        remedies={
            "down": R("Check cable, switch port and the other side", "{link}", "carrier again", "ip link show {link}"),
            "slow": R("It came back slower: check cable and auto-negotiation", "{old} -> {new}", "full speed again", "ethtool {link}"),
            "reseat": R("Reseat cable or card", None, None),
        },
        condition="EVENT: a hardware link that was up lost its carrier, or runs slower than first seen.",
        traps="Virtual interfaces come and go with containers: not judged.",
    ),
    "clock-skew": RuleText(
        title="The clock is off by {offset} ms",
        why="The kernel is correcting an offset of {offset} ms; its largest possible error is {error}. Times of several nodes cannot be compared.",
        evidence={"offset": "Offset", "synced": "Synchronised", "error": "Largest error", "freq": "Correction"},
        remedies={"chrony": R("Check the time service", None, "offset below 1 ms", "chronyc tracking")},
        condition="STATE: |offset| > {offset_ms} ms and growing over {window_s} s: warning; synchronisation lost with a maximum error >= {max_error_s} s: a note; for {hold_s} s; clear below {clear_ms} ms.",
        traps="Virtual machines whose host keeps the clock always report `unsynchronised`: that alone is nothing.",
        variants={
            "title.lost": "The clock is no longer synchronised",
            "why.lost": "No time service has corrected it lately; its largest possible error is {error}. Times of several nodes cannot be compared.",
        },
    ),
}
