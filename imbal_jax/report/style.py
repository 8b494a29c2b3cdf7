"""Style sheet of the report: light and dark, phone, desktop and print."""

# Colours of the methods: grey for the reference, then hues. Of the first four, and of two that share a dash, the
# colour-blind see different ones too (simulated as Machado, Oliveira and Fernandes, IEEE TVCG 2009, have it).
LIGHT = """--page:#fff;--ink:#1b2430;--muted:#566374;--line:#dfe4ea;--soft:#f5f7f9;
--accent:#0b63ce;--wrong:#c2410c;--m0:#7b8794;--m1:#0b63ce;--m2:#c2410c;--m3:#0f8a5f;--m4:#b7791f;--m5:#c2428b;--m6:#00838f;--m7:#8a4fd0"""
DARK = """--page:#12161c;--ink:#e4e9ef;--muted:#9aa7b6;--line:#2b3440;--soft:#1a2028;
--accent:#6ea8fe;--wrong:#fb923c;--m0:#9aa7b6;--m1:#6ea8fe;--m2:#fb923c;--m3:#4ccf9b;--m4:#eac54f;--m5:#f48fb1;--m6:#4dd0e1;--m7:#bd93f9"""
PAPER = """--page:#fff;--ink:#000;--muted:#444;--line:#ccc;--soft:#f4f4f4;--accent:#0b63ce;--wrong:#c2410c;
--m0:#7b8794;--m1:#0b63ce;--m2:#c2410c;--m3:#0f8a5f;--m4:#b7791f;--m5:#c2428b;--m6:#00838f;--m7:#8a4fd0"""

_SCREEN = """
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,sans-serif;-webkit-text-size-adjust:100%}
body{display:grid;grid-template-columns:11rem minmax(0,66rem);
justify-content:center;column-gap:1.5rem;padding:0 1.25rem}
main{padding:1.6rem 0 4rem;min-width:0;overflow-wrap:break-word}
h1{font-size:1.7rem;line-height:1.2;margin:.1rem 0 .4rem}
h2{font-size:1.3rem;margin:0 0 .6rem}
h3{font-size:1rem;margin:1.2rem 0 .5rem}
h4{font-size:.85rem;margin:.9rem 0 .4rem;color:var(--muted);font-weight:600}
p{margin:.4rem 0 .8rem}
section>p,section>aside{max-width:56rem}
small{font-weight:400;color:var(--muted);font-size:.85em}
.kicker{margin:0;color:var(--accent);font-size:.8rem;font-weight:600;letter-spacing:.04em}
.muted,figcaption{color:var(--muted);font-size:.875rem}
nav{font-size:.85rem;line-height:1.35}nav ol{list-style:none;margin:0;padding:0}nav li{margin:.5rem 0}
.beside{position:sticky;top:0;align-self:start;max-height:100vh;overflow-y:auto;padding:1.6rem 0}
.above{display:none}
a{color:var(--accent);text-decoration:none}a:hover{text-decoration:underline}
section{margin-top:2.2rem;scroll-margin-top:1rem}header+section{margin-top:1.2rem}
.lead{font-size:1.1rem;line-height:1.45}
.ci{white-space:nowrap}
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(22rem,100%),1fr));gap:1rem;align-items:start}
.three{grid-template-columns:repeat(auto-fit,minmax(min(20rem,100%),1fr))}
.matrices{grid-template-columns:repeat(auto-fit,minmax(min(26rem,100%),1fr))}.grid>div{min-width:0}
.curves{display:grid;grid-template-columns:minmax(0,1.2fr) repeat(2,minmax(0,1fr));gap:1rem;
align-items:start;margin-bottom:.8rem}
ul.plain{list-style:none;margin:0;padding:0}ul.plain li{margin:.3rem 0;font-size:.925rem}
.bar{display:block;height:.45rem;border-radius:.25rem;background:var(--line);overflow:hidden;margin-top:.15rem}
.bar i{display:block;height:100%}
.wide{font-size:.8rem}.wide th,.wide td{padding:.4rem .3rem}
.wide td .ci{white-space:normal}.wide td{width:9.3%}
.curves table{font-size:.8rem}.curves th,.curves td{padding:.35rem .2rem}.curves tbody th{min-width:0}
li.fold{list-style:none;margin-left:-1.1rem}
.errors td{text-align:left;width:40%}.errors thead th{text-align:left}.errors td>span{display:block;max-width:24rem}
.errors td .ci{display:inline}
.tag{display:block;color:var(--wrong)}
.method{font-weight:600}
.key{display:inline-block;vertical-align:middle;width:1.75rem;height:.5rem;margin-right:.45rem;fill:none}
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
.grouped .group th{font-weight:600;border:0;padding:.7rem 0 .1rem;position:static}.group small{margin-left:.3rem}
.grouped tbody tr:not(.group) th{padding-left:.8rem}
th:first-child{text-align:left;position:sticky;left:0;background:var(--page);padding-left:0}
td .ci{display:block}
.matrix td{padding:.15rem;border:0}.matrix th{border:0;vertical-align:middle}
.cell{display:block;padding:.35rem .7rem;border-radius:.3rem}
.cell small{display:block;font-size:.75rem}
.right{background:color-mix(in srgb,var(--accent) calc(var(--share)*38%),var(--soft))}
.wrong{background:color-mix(in srgb,var(--wrong) calc(var(--share)*38%),var(--soft))}
.right small,.wrong small{color:inherit}
figure{margin:0}.plot svg{width:100%;max-width:34rem;height:auto;display:block;fill:var(--ink);font-family:inherit}
.pictures{display:grid;grid-template-columns:repeat(6,minmax(0,1fr));gap:.8rem}
.pairs{grid-template-columns:repeat(3,minmax(0,1fr))}
.pictures img{width:100%;aspect-ratio:1;object-fit:contain;background:#000;border-radius:.3rem;display:block}
.pair{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:.25rem}
.pictures figcaption{font-size:.75rem;line-height:1.35;margin-top:.25rem}
.pictures figcaption b{color:var(--ink)}.pixels{image-rendering:pixelated}
details{border-top:1px solid var(--line);padding:.45rem 0}summary{cursor:pointer}
main details>summary{color:var(--accent)}
aside details,nav details{border:0;padding:0}aside summary,main aside details>summary{color:inherit}
pre{overflow-x:auto;background:var(--soft);padding:1rem;border-radius:.4rem;font-size:.8rem;line-height:1.45}
footer{margin-top:3rem}
"""
_PHONE = """
body{font-size:15px;line-height:1.45}section{margin-top:1.8rem}
main{padding:.8rem 0 3rem}h1{font-size:1.35rem}.lead{font-size:1rem}body{padding:0 1rem}
.curves{grid-template-columns:minmax(0,1fr)}
th,td{padding:.4rem .5rem}.pictures{grid-template-columns:repeat(3,minmax(0,1fr));gap:.5rem}
.pairs{grid-template-columns:repeat(2,minmax(0,1fr))}
td{white-space:normal}
.stack,.stack tbody,.stack tr,.stack tbody th,.stack td{display:block}
.stack thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
.stack tr{border-bottom:1px solid var(--line);padding:.5rem 0}
.stack tbody th{font-weight:600;position:static;padding:.1rem 0;border:0}
.stack td{display:flex;justify-content:space-between;gap:1rem;padding:.1rem 0;border:0;white-space:normal}
.stack td>span{text-align:right}.stack td::before{content:attr(data-label);color:var(--muted);text-align:left}
.stack td .ci{display:inline}
.stack .group th{padding:.3rem 0 0}.stack .group{border:0;padding:.3rem 0 0}
.stack.grouped tr:not(.group) th{padding-left:0}
.errors tr:not(.group){display:grid;grid-template-columns:repeat(2,minmax(0,1fr));
column-gap:1rem}.errors tbody th{grid-column:1/3}
.wide td{width:auto}
.errors td{width:auto;display:block}.errors td>span{text-align:left;max-width:none}.errors td::before{display:block}
.tag{display:inline;margin-left:.5rem}
.matrix th,.matrix td{padding:.1rem}.matrix tbody th{min-width:4rem}
.matrix thead th{font-size:.7rem}.cell{padding:.3rem .3rem;font-size:.8rem}
tbody th{min-width:4rem}
"""
_NARROW = """
body{display:block}.beside{display:none}
.above{display:block;position:sticky;top:0;z-index:2;background:var(--page);border-bottom:1px solid var(--line);
margin:0 -1rem;padding:.5rem 1rem;max-height:70vh;overflow-y:auto}
section{scroll-margin-top:3rem}
"""
_PRINT = """
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}nav,.above{display:none}body{font-size:10.5pt;display:block;padding:0}
main{max-width:none;padding:0}section{margin-top:1.6rem}h2,h3,h4,.legend,h2+p{break-after:avoid}
figure,tr,.card,aside{break-inside:avoid}.scroll{overflow:visible}
.grid{grid-template-columns:1fr 1fr}
table{font-size:8pt}thead th{font-size:7.5pt}th,td{white-space:normal;padding:.2rem .25rem}
pre{white-space:pre-wrap}
details::details-content{content-visibility:visible;height:auto}
"""

STYLE = (
    f":root{{color-scheme:light dark;{LIGHT}}}"
    f"@media (prefers-color-scheme:dark){{:root{{{DARK}}}}}"
    f"{_SCREEN}@media screen and (max-width:60rem){{{_NARROW}}}@media screen and (max-width:40rem){{{_PHONE}}}"
    f"@media print{{:root{{color-scheme:light;{PAPER}}}{_PRINT}}}"
)
