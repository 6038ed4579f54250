"""One HTML page that tells the run: promises, picture, story, links. No script, no outside resource."""

import base64
from html import escape
from pathlib import Path

from headrace.demo.summary import Summary

__all__ = ["write_page"]

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1d2b36;max-width:62rem;margin:2.5rem auto;padding:0 1.2rem}
h1{font-size:1.5rem;margin:0 0 .2rem}h2{font-size:1.05rem;margin:2rem 0 .5rem}p.lead{color:#5c6b76;margin-top:0}
table{border-collapse:collapse;width:100%}td,th{padding:.32rem .6rem;border-bottom:1px solid #e6eaed;text-align:left;
vertical-align:top}th{color:#5c6b76;font-weight:600}td.mark{width:1.6rem;font-weight:700}.kept{color:#2e8b57}
.broken{color:#c0392b}td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}img{width:100%}
th.n{text-align:right}td.claim{width:52%}code{font-size:.9em}
"""


def write_page(summary: Summary, picture: Path, path: Path) -> None:
    """Write ``path``; the picture is inlined, so the page can be mailed."""
    image = base64.b64encode(picture.read_bytes()).decode()
    promises = "".join(
        f'<tr><td class="mark {"kept" if p.held else "broken"}">{"✓" if p.held else "✗"}</td>'
        f"<td class=claim>{escape(p.claim)}</td><td>{escape(p.value)}</td></tr>"
        for p in summary.promises
    )
    facts = "".join(f"<tr><td class=claim>{escape(k)}</td><td>{escape(v)}</td></tr>" for k, v in summary.facts.items())
    weeks = "".join(
        f"<tr><td class=n>{w.week}</td><td class=n>{w.events:,}</td><td class=n>{w.frauds:,}</td>"
        f"<td class=n>{_number(w.frozen)}</td><td class=n>{_number(w.champion)}</td></tr>"
        for w in summary.weeks
    )
    heads = "".join(
        f"<th class=n>{name}</th>"
        for name in ("week", "events", "frauds", "first model, frozen", "champion of the day")
    )
    moments = "".join(
        f"<tr><td class=n>{m.day:.1f}</td><td>{escape(m.kind)}</td><td>{escape(m.text)}</td></tr>"
        for m in summary.moments
    )
    links = "".join(f"<tr><td>{escape(name)}</td><td>{_link(to)}</td></tr>" for name, to in summary.links.items())
    path.write_text(
        f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>headrace: {escape(summary.title)}</title>
<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>
<h1>{escape(summary.title)}</h1>
<p class="lead">{summary.events:,} events of {summary.days} days, replayed in {summary.wall_s:.0f} s.</p>
<h2>Promises</h2><table>{promises}</table>
<h2>Quality by week</h2><img alt="Average precision by week" src="data:image/png;base64,{image}">
<table><tr>{heads}</tr>
{weeks}</table>
<h2>What happened</h2><table><tr><th class=n>day</th><th></th><th></th></tr>{moments}</table>
<h2>Figures</h2><table>{facts}</table>
<h2>Look further</h2><table>{links}</table>
</html>
""",
        encoding="utf-8",
    )


def _link(to: str) -> str:
    """An address or a file to click on, or a command to type."""
    if not to.startswith(("http://", "/")):
        return f"<code>{escape(to)}</code>"
    href = Path(to).as_uri() if to.startswith("/") else to
    return f'<a href="{escape(href, quote=True)}">{escape(to)}</a>'


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
