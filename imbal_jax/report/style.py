"""Style sheet of the report: light and dark, phone, desktop and print."""

# Colours of the methods: grey for the reference, then hues. Of the first four, and of two that share a dash, the
# colour-blind see different ones too (simulated as Machado, Oliveira and Fernandes, IEEE TVCG 2009, have it).
_LIGHT = """--page:#fff;--ink:#1b2430;--muted:#566374;--line:#dfe4ea;--soft:#f5f7f9;
--accent:#0b63ce;--wrong:#c2410c;--m0:#7b8794;--m1:#0b63ce;--m2:#c2410c;--m3:#0f8a5f;--m4:#b7791f;--m5:#c2428b;--m6:#00838f;--m7:#8a4fd0"""
_DARK = """--page:#12161c;--ink:#e4e9ef;--muted:#9aa7b6;--line:#2b3440;--soft:#1a2028;
--accent:#6ea8fe;--wrong:#fb923c;--m0:#9aa7b6;--m1:#6ea8fe;--m2:#fb923c;--m3:#4ccf9b;--m4:#eac54f;--m5:#f48fb1;--m6:#4dd0e1;--m7:#bd93f9"""
_PAPER = """--page:#fff;--ink:#000;--muted:#444;--line:#ccc;--soft:#f4f4f4;--accent:#0b63ce;--wrong:#c2410c;
--m0:#7b8794;--m1:#0b63ce;--m2:#c2410c;--m3:#0f8a5f;--m4:#b7791f;--m5:#c2428b;--m6:#00838f;--m7:#8a4fd0"""

_SCREEN = """
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,sans-serif;-webkit-text-size-adjust:100%}
main{max-width:70rem;margin:0 auto;padding:2rem 1.25rem 4rem}
h1{font-size:1.9rem;line-height:1.2;margin:.1rem 0 .4rem;overflow-wrap:anywhere}
h2{font-size:1.3rem;margin:0 0 .6rem}
h3{font-size:1rem;margin:1.4rem 0 .5rem;overflow-wrap:anywhere}
h4{font-size:.85rem;margin:.9rem 0 .4rem;color:var(--muted);font-weight:600}
p{margin:.4rem 0 .8rem}
section>p,section>aside{max-width:56rem}
small{font-weight:400;color:var(--muted);font-size:.85em}
.kicker{margin:0;color:var(--accent);font-size:.8rem;font-weight:600;letter-spacing:.04em}
.muted,figcaption{color:var(--muted);font-size:.875rem}
nav{display:flex;flex-wrap:wrap;gap:.2rem 1rem;font-size:.875rem;border-block:1px solid var(--line);padding:.6rem 0}
a{color:var(--accent);text-decoration:none}a:hover{text-decoration:underline}
section{margin-top:2.6rem;scroll-margin-top:1rem}
.lead{font-size:1.15rem;line-height:1.5;overflow-wrap:anywhere}
.ci{white-space:nowrap}
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(22rem,100%),1fr));gap:1rem;align-items:start}
.three{grid-template-columns:repeat(auto-fit,minmax(min(20rem,100%),1fr))}
.cards{grid-template-columns:repeat(auto-fit,minmax(min(20rem,100%),1fr));align-items:stretch}
.card{border:1px solid var(--line);border-radius:.6rem;padding:.2rem 1rem .8rem}
.card h3{margin:.7rem 0 .5rem}.card h3 small{display:block}
.bars .method{flex:0 0 100%}
ul.bars,ul.plain{list-style:none;margin:0;padding:0}ul.plain li{margin:.3rem 0;font-size:.925rem}
.bars li{display:flex;flex-wrap:wrap;justify-content:space-between;column-gap:.8rem;margin:.5rem 0;font-size:.875rem}
.bar{order:3;flex:0 0 100%;height:.5rem;border-radius:.25rem;background:var(--line);overflow:hidden}
.bar span{display:block;height:100%}
.count{color:var(--muted)}.count b{color:var(--ink)}
.method{font-weight:600;overflow-wrap:break-word;display:inline-flex;align-items:center}
.key{flex:none;width:1.75rem;height:.5rem;margin-right:.45rem;fill:none}
.legend{display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;font-size:.9rem}
aside{background:var(--soft);border-left:3px solid var(--wrong);border-radius:.3rem;padding:.7rem 1rem;
margin:1.2rem 0;font-size:.9rem}
aside ul{margin:.3rem 0 0;padding-left:1.1rem}
.scroll{overflow-x:auto;margin:.4rem 0 .8rem}
table{border-collapse:collapse;font-size:.875rem;font-variant-numeric:tabular-nums;min-width:100%}
caption{text-align:left;font-weight:600;padding-bottom:.2rem}
th,td{padding:.45rem .6rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap;vertical-align:top}
thead th{white-space:normal;font-weight:600;color:var(--muted);vertical-align:bottom;font-size:.8rem}
tbody th{font-weight:400;white-space:normal;min-width:6rem}
th:first-child{text-align:left;position:sticky;left:0;background:var(--page);padding-left:0}
td .ci{display:block}
.matrix td{padding:.15rem;border:0}.matrix th{border:0;vertical-align:middle}
.cell{display:block;padding:.35rem .7rem;border-radius:.3rem}
.cell small{display:block;font-size:.75rem}
.right{background:color-mix(in srgb,var(--accent) calc(var(--share)*38%),var(--soft))}
.wrong{background:color-mix(in srgb,var(--wrong) calc(var(--share)*38%),var(--soft))}
.right small,.wrong small{color:inherit}
figure{margin:0}.plot svg{width:100%;max-width:34rem;height:auto;display:block;fill:var(--ink);font-family:inherit}
.pictures{display:grid;grid-template-columns:repeat(6,1fr);gap:.8rem}.pairs{grid-template-columns:repeat(3,1fr)}
.pictures img{width:100%;aspect-ratio:1;object-fit:contain;background:#000;border-radius:.3rem;display:block}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:.25rem}
.pictures figcaption{font-size:.75rem;line-height:1.35;margin-top:.25rem;overflow-wrap:anywhere}
.pictures figcaption b{color:var(--ink)}.pixels{image-rendering:pixelated}
details{border-top:1px solid var(--line);padding:.6rem 0}summary{cursor:pointer}
pre{overflow-x:auto;background:var(--soft);padding:1rem;border-radius:.4rem;font-size:.8rem;line-height:1.45}
footer{margin-top:3rem}
"""
_PHONE = """
main{padding:1.2rem 1rem 3rem}h1{font-size:1.5rem}.lead{font-size:1.05rem}
th,td{padding:.4rem .5rem}.pictures{grid-template-columns:repeat(3,1fr);gap:.5rem}
.pairs{grid-template-columns:1fr 1fr}
.stack,.stack tbody,.stack tr,.stack tbody th,.stack td{display:block}
.stack thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
.stack tr{border-bottom:1px solid var(--line);padding:.5rem 0}
.stack tbody th{font-weight:600;position:static;padding:.1rem 0;border:0}
.stack td{display:flex;justify-content:space-between;gap:1rem;padding:.1rem 0;border:0;white-space:normal}
.stack td>span{text-align:right}.stack td::before{content:attr(data-label);color:var(--muted);text-align:left}
.stack td .ci{display:inline}
.matrix th,.matrix td{padding:.1rem}.matrix tbody th{min-width:4rem;overflow-wrap:break-word}
.matrix thead th{font-size:.7rem;overflow-wrap:anywhere;hyphens:auto}.cell{padding:.3rem .3rem;font-size:.8rem}
tbody th{min-width:4rem}
"""
_PRINT = """
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}nav{display:none}body{font-size:10.5pt}
main{max-width:none;padding:0}section{margin-top:1.6rem}h2,h3,h4,.legend,h2+p{break-after:avoid}
figure,tr,.card,aside{break-inside:avoid}.scroll{overflow:visible}
.grid{grid-template-columns:1fr 1fr}
table{font-size:8pt}thead th{font-size:7.5pt}th,td{white-space:normal;padding:.2rem .25rem}
pre{white-space:pre-wrap}
details::details-content{content-visibility:visible;height:auto}
"""

STYLE = (
    f":root{{color-scheme:light dark;{_LIGHT}}}"
    f"@media (prefers-color-scheme:dark){{:root{{{_DARK}}}}}"
    f"{_SCREEN}@media screen and (max-width:40rem){{{_PHONE}}}"
    f"@media print{{:root{{color-scheme:light;{_PAPER}}}{_PRINT}}}"
)
