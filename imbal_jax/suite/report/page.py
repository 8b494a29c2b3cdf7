"""The report as one HTML file that loads nothing from anywhere."""

from collections.abc import Sequence
from html import escape

from imbal_jax.report.html import fold, grouped, table
from imbal_jax.report.style import STYLE
from imbal_jax.suite.report.blocks import Block, Fold, Listed, Notice, Section, Table, Text
from imbal_jax.suite.report.drawing import Drawing, inline

_OWN_STYLE = """
.large{border-left-width:.6rem;font-size:1.05rem}
.large b{display:block;font-size:1.6rem;line-height:1.2;color:var(--wrong)}
.plot svg{max-width:none}.key{height:.75rem}.method{white-space:nowrap}
.made{font-size:.8rem;color:var(--muted)}code{font-size:.95em}
.made code span{white-space:nowrap}
td{white-space:normal}.prose td{white-space:nowrap}
.prose td:last-child{text-align:left;min-width:14rem;white-space:normal}.prose th:last-child{text-align:left}
@media screen and (max-width:40rem){.prose td{white-space:normal}
.prose td:last-child{min-width:0;display:block}.prose td:last-child>span{text-align:left}
.prose td:last-child::before{display:block}}
"""


def page(title: str, kicker: str, sections: Sequence[Section]) -> str:
    """kicker: a line below the title."""
    links = "".join(f'<li><a href="#{each.anchor}">{escape(each.heading)}</a></li>' for each in sections)
    contents = f"<ol>{links}</ol>"
    body = "".join(
        f'<section id="{each.anchor}"><h2>{escape(each.heading)}</h2>'
        f"{''.join(_block(block) for block in each.blocks)}</section>"
        for each in sections
    )
    text = (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}{_OWN_STYLE}</style></head><body>"
        f'<nav class="beside" aria-label="Sections">{contents}</nav>'
        f'<nav class="above" aria-label="Sections"><details><summary>Contents</summary>{contents}</details></nav>'
        f'<main><header><p class="kicker">imbal_jax benchmark</p><h1>{escape(title)}</h1>'
        f"<p class=muted>{escape(kicker)}</p></header>{body}"
        "<footer class=muted>Research software: not a medical device.</footer></main></body></html>\n"
    )
    return text.replace(" %", "\N{NO-BREAK SPACE}%")


def _block(block: Block) -> str:
    match block:
        case Text():
            kind = f' class="{block.kind}"' if block.kind else ""
            return f"<p{kind}>{escape(block.text)}</p>"
        case Notice():
            large = ' class="large"' if block.large else ""
            return f"<aside{large}><b>{escape(block.heading)}</b> {escape(block.text)}</aside>"
        case Listed():
            return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in block.items) + "</ul>"
        case Table():
            return _table(block)
        case Drawing():
            return _drawing(block)
        case Fold():
            return fold(escape(block.heading), "".join(_block(each) for each in block.blocks))


def _drawing(drawing: Drawing) -> str:
    notes = " ".join(drawing.notes)
    words = " ".join(
        f"<span>{escape(word)}</span>" for word in drawing.command.split()
    )  # breaks at spaces only
    return (
        f"<p>{escape(drawing.read)}</p>{inline(drawing)}<p class=muted>{escape(notes)}</p>"
        f'<p class="made">{drawing.runs:,} runs. Made by <code>{words}</code></p>'
    )


def _table(block: Table) -> str:
    caption = f"<h4>{escape(block.caption)}</h4>" if block.caption else ""
    if block.prose:
        return caption + grouped(block.headings, block.groups, "prose")
    if len(block.groups) == 1 and not block.groups[0][0]:
        return caption + table(block.headings, block.rows)
    return caption + grouped(block.headings, block.groups)
