"""A document as one HTML page: no scripts, no fonts, nothing from the network; light, dark, paper."""

from __future__ import annotations

import re
from html import escape

from dctop.engine.report.blocks import (
    Block,
    Bullets,
    Chart,
    Commands,
    Document,
    Heading,
    Output,
    Para,
    Table,
)
from dctop.engine.report.say import Say
from dctop.engine.report.svg import draw, numbers
from dctop.engine.report.units import quantity

_CODE = re.compile(r"`([^`]+)`")
STYLE = """
:root{color-scheme:light dark;--bg:#fdfdfc;--fg:#1c1d1f;--dim:#62666d;--rule:#dcdee2;--soft:#f2f3f5;
--crit:#c62828;--warn:#b26a00;--info:#2467b5;--c0:#2467b5;--c1:#c8561b;--c2:#2f8a4c;--c3:#8a4bb0;--c4:#7a6a1f}
@media(prefers-color-scheme:dark){:root{--bg:#15171a;--fg:#e4e6e9;--dim:#9aa0a8;--rule:#34383e;--soft:#1f2227;
--crit:#ff7b72;--warn:#e3a53a;--info:#79b0f5;--c0:#79b0f5;--c1:#f0975e;--c2:#6fcb8b;--c3:#c99ae8;--c4:#d3c16a}}
*{box-sizing:border-box}
body{margin:0 auto;padding:2rem 1.25rem 4rem;max-width:64rem;background:var(--bg);color:var(--fg);
font:16px/1.5 system-ui,"Segoe UI","Helvetica Neue","DejaVu Sans",sans-serif}
h1{font-size:1.7rem;line-height:1.25;margin:0 0 .25rem}
h2{font-size:1.25rem;margin:2.4rem 0 .6rem;padding-top:.6rem;border-top:1px solid var(--rule)}
h3{font-size:1.02rem;margin:1.5rem 0 .4rem}
p{margin:.5rem 0}.sub{color:var(--dim);margin-top:0}
p.warning{border-left:4px solid var(--warn);background:var(--soft);padding:.5rem .8rem}
p.human{border:1px dashed var(--dim);border-radius:4px;color:var(--dim);padding:.5rem .8rem;font-style:italic}
nav{font-size:.9rem;color:var(--dim)}
nav a{color:var(--info);text-decoration:none;margin-right:.9rem;white-space:nowrap}
.scroll{overflow-x:auto;margin:.6rem 0}
table{border-collapse:collapse;font-size:.88rem;width:100%}
th{text-align:left;font-weight:600;color:var(--dim);border-bottom:1px solid var(--rule);padding:.3rem .55rem}
td{vertical-align:top;border-bottom:1px solid var(--rule);padding:.3rem .55rem;overflow-wrap:break-word}
td code{overflow-wrap:anywhere}
td.n,th.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
td:first-child{white-space:nowrap}td.w{white-space:nowrap}
tr.critical td:first-child{box-shadow:inset 4px 0 var(--crit)}
tr.warning td:first-child{box-shadow:inset 4px 0 var(--warn)}
tr.info td:first-child{box-shadow:inset 4px 0 var(--info)}
code,pre{font:.86em/1.45 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
code{background:var(--soft);border-radius:3px;padding:.05em .3em}
td code.cmd,td code.id{white-space:nowrap}.wide td code.cmd{white-space:normal}
pre{background:var(--soft);border-radius:4px;padding:.6rem .8rem;overflow-x:auto;margin:.6rem 0}
figure{margin:1.1rem 0}figcaption{font-size:.88rem;margin-bottom:.15rem}
figcaption b{font-weight:600}figcaption span{color:var(--dim);margin-left:.9rem;white-space:nowrap}
figcaption i{display:inline-block;width:.8em;height:.25em;vertical-align:middle;margin-right:.35em}
svg{width:100%;height:auto;display:block}
svg .grid{stroke:var(--rule);stroke-width:1}svg .tickmark{stroke:var(--dim)}
svg .tick{fill:var(--dim);font:11px system-ui,"DejaVu Sans",sans-serif}
svg .line{fill:none;stroke-width:1.6;stroke-linejoin:round}svg .env{opacity:.18;stroke:none}
svg .mark{stroke:var(--dim);stroke-dasharray:2 3}
svg .focus{stroke:var(--crit);stroke-width:1.5}svg .limit{stroke:var(--crit);stroke-dasharray:6 4}
svg .hatch{stroke:var(--dim);stroke-width:1.4;opacity:.55}
svg .band{opacity:.09}svg .band.gap{opacity:1}
svg .critical{fill:var(--crit)}svg .warning{fill:var(--warn)}svg .info{fill:var(--info)}
svg .line.c0{stroke:var(--c0)}svg .line.c1{stroke:var(--c1)}svg .line.c2{stroke:var(--c2)}
svg .line.c3{stroke:var(--c3)}svg .line.c4{stroke:var(--c4)}
svg .env.c0,svg .dot.c0,i.c0{fill:var(--c0)}svg .env.c1,svg .dot.c1{fill:var(--c1)}
svg .env.c2,svg .dot.c2{fill:var(--c2)}svg .env.c3,svg .dot.c3{fill:var(--c3)}
svg .env.c4,svg .dot.c4{fill:var(--c4)}
i.c0{background:var(--c0)}i.c1{background:var(--c1)}i.c2{background:var(--c2)}i.c3{background:var(--c3)}
i.c4{background:var(--c4)}
footer{margin-top:3rem;color:var(--dim);font-size:.85rem}
@media print{:root{--bg:#fff;--fg:#000;--dim:#444;--rule:#bbb;--soft:#f3f3f3;--crit:#a00;--warn:#8a5200;
--info:#134a8e;--c0:#134a8e;--c1:#a5410f;--c2:#1c6434;--c3:#63308a;--c4:#5c4f14;color-scheme:light}
body{max-width:none;padding:0;font-size:10.5pt}nav{display:none}h2{break-after:avoid}
figure,tr,pre{break-inside:avoid}.scroll{overflow:visible}td code.cmd,pre{white-space:pre-wrap}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""


def render(document: Document) -> str:
    heads = [b.text for b in document.blocks if isinstance(b, Heading) and b.level == 2]
    nav = " ".join(f'<a href="#{_slug(h)}">{escape(h)}</a>' for h in heads)
    body = []
    charts, say = 0, Say(document.lang)
    for block in document.blocks:
        charts += isinstance(block, Chart)
        body.append(_block(block, charts, say))
    csp = "default-src 'none'; style-src 'unsafe-inline'"
    return "\n".join((
        "<!doctype html>",
        f'<html lang="{"zh-CN" if document.lang == "zh" else "en"}"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{csp}">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        '<meta name="referrer" content="no-referrer">',
        f"<title>{escape(document.title)}</title>",
        f"<style>{STYLE}</style></head><body>",
        f"<header><h1>{escape(document.title)}</h1>",
        f'<p class="sub">{_inline(document.subtitle)}</p><nav>{nav}</nav></header>',
        "<main>",
        *body,
        "</main>",
        "</body></html>",
        "",
    ))  # fmt: skip


def _slug(text: str) -> str:
    return re.sub(r"\W+", "-", text.lower()).strip("-")


def _inline(text: str) -> str:
    return _CODE.sub(_code, escape(text))


def _code(m: re.Match[str]) -> str:
    name = "cmd" if m[1].startswith("dctop ") else "id" if " " not in m[1] and len(m[1]) < 24 else ""
    return f'<code class="{name}">{m[1]}</code>' if name else f"<code>{m[1]}</code>"


def _block(block: Block, index: int, say: Say) -> str:
    match block:
        case Heading(level, text):
            anchor = f' id="{_slug(text)}"' if level == 2 else ""
            return f"<h{level}{anchor}>{_inline(text)}</h{level}>"
        case Para(text, kind):
            attribute = "" if kind == "plain" else f' class="{kind}"'
            return f"<p{attribute}>{_inline(text)}</p>"
        case Bullets(items):
            return "<ul>" + "".join(f"<li>{_inline(i)}</li>" for i in items) + "</ul>"
        case Commands(lines):
            return f"<pre>{escape(chr(10).join(lines))}</pre>"
        case Output(lines):
            shown = ("".join(c if c.isprintable() else " " for c in line) for line in lines)
            return f"<pre>{escape(chr(10).join(shown))}</pre>"
        case Table():
            return _table(block)
        case Chart():
            return _figure(block, index, say)


def _table(t: Table) -> str:
    head = "".join(f"<th{_right(t, i)}>{_inline(h)}</th>" for i, h in enumerate(t.head))
    rows = []
    for n, row in enumerate(t.rows):
        mark = t.marks[n] if t.marks else ""
        attribute = f' class="{escape(mark)}"' if mark else ""
        cells = "".join(f"<td{_right(t, i) or _unbroken(c)}>{_inline(c)}</td>" for i, c in enumerate(row))
        rows.append(f"<tr{attribute}>{cells}</tr>")
    header = f"<thead><tr>{head}</tr></thead>" if any(t.head) else ""
    wide = ' class="wide"' if len(t.head) > 5 else ""
    return f'<div class="scroll"><table{wide}>{header}<tbody>{"".join(rows)}</tbody></table></div>'


def _unbroken(text: str) -> str:
    """Short words and rows of blocks stay on one line."""
    return ' class="w"' if len(text) <= 16 or text[:1] in "▁▂▃▄▅▆▇█" else ""


def _right(t: Table, i: int) -> str:
    return ' class="n"' if i in t.numbers else ""


def _figure(chart: Chart, index: int, say: Say) -> str:
    legend = []
    for n, curve in enumerate(chart.curves):
        stats = numbers(curve)
        shown = ""
        if stats is not None:
            low, _, high = (quantity(v, chart.unit) for v in stats)
            shown = " " + say("chart.range", low=low, high=high)
        legend.append(f'<span><i class="c{n}"></i>{escape(curve.name)}{escape(shown)}</span>')
    caption = f"<figcaption><b>{_inline(chart.title)}</b>{''.join(legend)}</figcaption>"
    return f"<figure>{caption}{draw(chart, index, say)}</figure>"
