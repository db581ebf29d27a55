"""The resource network: links that fail, lose or fill."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from dctop.engine.rules.base import (
    CRITICAL,
    NODE,
    WARNING,
    Details,
    Ev,
    Item,
    Needs,
    NodeRule,
    Occurrence,
    Outcome,
    Reading,
    Rule,
    num,
)
from dctop.engine.rules.window import Trail, Window, nic_key, port_key


class _Nics(NodeRule):
    """Hardware interfaces: a virtual one's speed and carrier mean nothing."""

    problem = "network"
    probes = ("network",)

    def nics(self, w: Window) -> list[str]:
        return [n for n in w.labels("net.virtual") if w.num(nic_key("net.virtual", n)) == 0]


class NicErrors(_Nics):
    """Errors at least 1 % of the packets of 2 minutes (and 5 of them), or 5 in 10 minutes; drops at least 2 %
    of more than 10,000 packets in 10 minutes (Prometheus HostNetworkReceiveErrors, Netdata
    interface_inbound_errors, inbound_packets_dropped_ratio). rx_dropped also counts unknown VLANs and
    multicast: hence the ratio."""

    id = "nic-errors"
    kind = "state"
    severities = "w"
    thresholds: ClassVar[Mapping[str, float]] = {
        "errors_pct": 1.0,
        "errors": 5.0,
        "drops_pct": 2.0,
        "packets": 10_000.0,
        "every_s": 5.0,
        "hold_s": 0.0,
    }
    source = "Prometheus HostNetworkReceiveErrors; Netdata interface errors and drops"

    def __init__(self, overrides: Mapping[str, float] | None = None) -> None:
        super().__init__(overrides)
        self._trails: dict[str, tuple[Trail, Trail]] = {}

    def judge(self, w: Window) -> Outcome:
        if not w.labels("net.virtual"):
            return Needs("series", "net.rx_errors")
        out: list[Item] = []
        for nic in self.nics(w):
            reading = self._nic(w, nic)
            if reading is not None:
                out.append(reading)
        return out

    def _nic(self, w: Window, nic: str) -> Reading | None:
        trails = self._trails.get(nic)
        if trails is None:
            trails = self._trails[nic] = (Trail(120.0, 10.0), Trail(600.0, 30.0))
        names = ("rx_errors", "tx_errors", "rx_drops", "tx_drops", "rx_packets", "tx_packets")
        now = [w.raw(nic_key(f"net.{n}", nic)) for n in names]
        found = [trail.delta(w.mono_ns, *now) for trail in trails]
        for trail in trails:
            trail.push(w.mono_ns, *now)
        if found[0] is None or found[1] is None:
            return None
        short, long = found[0][1], found[1][1]
        errors, few = _sum(long[0], long[1]), _sum(short[0], short[1])
        drops, packets = _sum(long[2], long[3]), _sum(long[4], long[5])
        share = 100.0 * few / p if (p := _sum(short[4], short[5])) else 0.0
        lost = 100.0 * drops / packets if packets else 0.0
        t = self.t
        many = errors >= t["errors"] or (share >= t["errors_pct"] and few >= t["errors"])
        dropping = lost >= t["drops_pct"] and packets > t["packets"]
        if not errors and lost < t["drops_pct"] / 2:
            return None
        level = WARNING if many or dropping else 0
        return Reading(
            nic, level, False, lambda: self._details(w, nic, (errors, share, drops, lost, packets), dropping)
        )

    def _details(
        self, w: Window, nic: str, n: tuple[float, float, float, float, float], dropping: bool
    ) -> Details:
        errors, share, drops, lost, packets = n
        evidence = [
            Ev("errors", errors, "", f">= {self.t['errors']:g}", nic_key("net.rx_errors_per_s", nic)),
            Ev("share", round(share, 3), "%", f">= {self.t['errors_pct']:g} %"),
            Ev("drops", drops, "packets", None, nic_key("net.rx_drops_per_s", nic)),
            Ev("lost", round(lost, 3), "%", f">= {self.t['drops_pct']:g} %"),
            Ev("packets", packets, "packets", f"> {self.t['packets']:g}"),
            Ev("speed", w.num(nic_key("net.speed_mbps", nic)), "Mbit/s"),
        ]
        facts = {"nic": nic, "errors": num(errors, 9), "lost": num(lost)}
        return Details(evidence, facts, ["ring", "cable"] if dropping and errors < 5 else ["cable", "ring"])


def _sum(a: float | None, b: float | None) -> float:
    return (a or 0.0) + (b or 0.0)


class TcpRetrans(NodeRule):
    """TCP segments sent again: above 1 % warning, above 5 % critical, of at least 1,000 segments in a minute;
    clear below 0.5 %. Little traffic proves nothing."""

    id = "tcp-retrans"
    problem = "network"
    kind = "state"
    severities = "wc"
    probes = ("network",)
    thresholds: ClassVar[Mapping[str, float]] = {
        "warn_pct": 1.0,
        "crit_pct": 5.0,
        "clear_pct": 0.5,
        "segments": 1000.0,
        "window_s": 60.0,
        "every_s": 5.0,
        "hold_s": 30.0,
    }
    source = "proposed; /proc/net/snmp RetransSegs / OutSegs"

    def __init__(self, overrides: Mapping[str, float] | None = None) -> None:
        super().__init__(overrides)
        self._trail = Trail(self.t["window_s"], self.t["window_s"] / 12)

    def judge(self, w: Window) -> Outcome:
        now = (w.raw("tcp.retrans_segs"), w.raw("tcp.out_segs"))
        if now[0] is None or now[1] is None:
            return Needs("series", "tcp.retrans_segs")
        past = self._trail.delta(w.mono_ns, *now)
        self._trail.push(w.mono_ns, *now)
        if past is None or past[0] < 0.9 * self.t["window_s"]:
            return Needs("history", f"{self.t['window_s']:g} s")
        seconds, (again, out) = past
        if again is None or out is None or out * 60.0 / seconds < self.t["segments"]:
            return ()
        share = 100.0 * again / out
        if share < self.t["clear_pct"]:
            return ()
        level = CRITICAL if share > self.t["crit_pct"] else WARNING if share > self.t["warn_pct"] else 0
        return (Reading(NODE, level, False, lambda: self._details(w, share, again, out)),)

    def _details(self, w: Window, share: float, again: float, out: float) -> Details:
        evidence = [
            Ev("share", round(share, 3), "%", f"> {self.t['warn_pct']:g} %", "tcp.retrans_pct"),
            Ev("again", again, "segments"),
            Ev("out", out, "segments", f">= {self.t['segments']:g}"),
            Ev("open", w.num("tcp.established"), "connections"),
        ]
        return Details(evidence, {"share": num(share)}, ["path", "mtu"])


class NicSaturated(_Nics):
    """The busier direction of a hardware link above 90 % of its speed over a minute, clear below 85 %
    (Netdata 1m_received_traffic_overflow, Prometheus 80 %). Links without a known speed are not judged."""

    id = "nic-saturated"
    kind = "state"
    severities = "w"
    thresholds: ClassVar[Mapping[str, float]] = {
        "warn_pct": 90.0,
        "clear_pct": 85.0,
        "window_s": 60.0,
        "every_s": 5.0,
        "hold_s": 0.0,
    }
    source = "Netdata 1m_received_traffic_overflow; Prometheus HostNetworkInterfaceSaturated"

    def judge(self, w: Window) -> Outcome:
        if not w.labels("net.virtual"):
            return Needs("series", "net.rx_bytes")
        out: list[Item] = []
        for nic in w.labels("net.util_pct"):
            key = nic_key("net.util_pct", nic)
            now = w.num(key)
            # The mean of a minute can only be high where one of its ends is.
            mean = w.mean(key, self.t["window_s"], 0.8) if now is not None and now > 50 else None
            if mean is None or mean < self.t["clear_pct"]:
                continue
            level = WARNING if mean > self.t["warn_pct"] else 0
            out.append(Reading(nic, level, False, lambda n=nic, m=mean: self._details(w, n, m)))  # type: ignore[misc]
        return out

    def _details(self, w: Window, nic: str, mean: float) -> Details:
        rx, tx = w.num(nic_key("net.rx_bytes_per_s", nic)), w.num(nic_key("net.tx_bytes_per_s", nic))
        speed = w.num(nic_key("net.speed_mbps", nic))
        evidence = [
            Ev("util", round(mean, 2), "%", f"> {self.t['warn_pct']:g} %", nic_key("net.util_pct", nic)),
            Ev("rx", None if rx is None else rx * 8e-9, "Gbit/s"),
            Ev("tx", None if tx is None else tx * 8e-9, "Gbit/s"),
            Ev("speed", None if speed is None else speed / 1000, "Gbit/s"),
        ]
        facts = {"nic": nic, "util": num(mean), "speed": num(None if speed is None else speed / 1000)}
        return Details(evidence, facts, ["local", "compress"])


class LinkDownSlow(_Nics):
    """A hardware interface or InfiniBand port that was up has lost its carrier, or came back slower than it
    was first seen (GPUd expected port states)."""

    id = "link-down-slow"
    kind = "event"
    probes = ("links",)
    severities = "c"
    source = "GPUd expected port states"

    def __init__(self, overrides: Mapping[str, float] | None = None) -> None:
        super().__init__(overrides)
        self._up: dict[str, float] = {}
        self._speed: dict[str, float] = {}
        self._said: dict[str, int] = {}

    def judge(self, w: Window) -> Outcome:
        if not w.labels("net.up") and not w.labels("ib.up"):
            return Needs("series", "net.up")
        out: list[Item] = []
        for nic in self.nics(w):
            up, speed = w.num(nic_key("net.up", nic)), w.num(nic_key("net.speed_mbps", nic))
            out += self._link(w, nic, up, speed, "Mbit/s")
        for port in w.labels("ib.up"):
            up, speed = w.num(port_key("ib.up", port)), w.num(port_key("ib.rate_gbps", port))
            out += self._link(w, port, up, speed, "Gbit/s")
        return out

    def _link(self, w: Window, name: str, up: float | None, speed: float | None, unit: str) -> list[Item]:
        before = self._up.get(name)
        if up is not None:
            self._up[name] = up
        if before == 1 and up == 0:
            return [self._say(w, name, "up", "down", "down")]
        first = self._speed.get(name)
        if up != 1 or speed is None or speed <= 0:
            return []
        if first is None or speed > first:
            self._speed[name] = speed
        elif speed < first:
            # Told once a fall: the new speed is what is expected from now on.
            self._speed[name] = speed
            return [self._say(w, name, f"{first:g} {unit}", f"{speed:g} {unit}", "slow")]
        return []

    def _say(self, w: Window, name: str, old: str, new: str, remedy: str) -> Occurrence:
        self._said[name] = n = self._said.get(name, 0) + 1
        evidence = [
            Ev("now", new, "", f"was {old}"),
            Ev(
                "errors",
                w.raw(nic_key("net.rx_errors", name)),
                "",
                None,
                nic_key("net.rx_errors_per_s", name),
            ),
            Ev("downed", w.raw(port_key("ib.link_downed", name))),
        ]
        details = Details(evidence, {"link": name, "old": old, "new": new}, [remedy, "reseat"])
        return Occurrence(name, CRITICAL, n, w.wall_ns, details)


RULES: tuple[type[Rule], ...] = (NicErrors, TcpRetrans, NicSaturated, LinkDownSlow)
