"""How a page looks: light and dark, wide and narrow, on paper. Colours of parts and lines: Okabe and Ito, which people
with any kind of colour vision can tell apart (jfly.uni-koeln.de/color)."""

STYLE = (
    """
:root{--paper:#fff;--card:#f4f6f8;--ink:#1b2430;--soft:#5a6675;--rule:#d9dfe5;--accent:#0b5cad;--warn:#a23b00;
--warnbg:#fdeee3;--p0:#0072b2;--p1:#d98200;--p2:#009e73;--s3:#b4558c;--s4:#6b6b6b}
@media(prefers-color-scheme:dark){:root{--paper:#12161b;--card:#1c222a;--ink:#e5e9ee;--soft:#9aa6b4;--rule:#323b46;
--accent:#6db6f7;--warn:#ffb07c;--warnbg:#3a2416;--p0:#56b4e9;--p1:#e69f00;--p2:#2bc79b;--s3:#e08fbd;--s4:#a9a9a9}}
*{box-sizing:border-box}
html{scroll-behavior:smooth}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
"DejaVu Sans",sans-serif;display:grid;grid-template-columns:13rem minmax(0,66rem);gap:0 2.5rem;justify-content:center;
padding:0 1.5rem 4rem}
header{grid-column:1/-1;padding:2rem 0 1rem;border-bottom:1px solid var(--rule);margin-bottom:1rem}
h1{font-size:1.7rem;line-height:1.2;margin:0;overflow-wrap:anywhere}
header p{margin:.3rem 0 0;color:var(--soft)}
nav{position:sticky;top:0;align-self:start;padding-top:1rem;font-size:.92rem}
nav ul{list-style:none;margin:0;padding:0}
nav a{display:block;padding:.28rem 0;color:var(--soft);text-decoration:none}
nav a:hover{color:var(--accent)}
a{color:var(--accent)}
main{min-width:0}
section{padding-top:1rem;margin-bottom:2.2rem}
h2{font-size:1.3rem;margin:0 0 .4rem}
h3{font-size:1rem;margin:1.1rem 0 .4rem}
p{max-width:48rem;margin:.4rem 0 .9rem}
small{color:var(--soft);font-weight:400;font-size:.85em}
.id{display:inline-block;min-width:1.5em;color:var(--soft);font-weight:400;text-align:right;margin-right:.25em}
.none{color:var(--soft);font-style:italic}
.few,.fault{color:var(--warn);background:var(--warnbg);border-radius:3px;padding:0 .35em;font-style:normal;
font-size:.85em;font-weight:600}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(10.5rem,1fr));gap:.7rem;margin:.6rem 0 1rem}
.cards div{background:var(--card);border-radius:8px;padding:.7rem .9rem}
.cards dt{color:var(--soft);font-size:.85rem}
.cards dd{margin:0;font-size:1.5rem;font-weight:650;line-height:1.3}
.cards .two{grid-column:span 2}
code{white-space:nowrap;font-size:.9em}
.still{white-space:nowrap}
.cards .sub{font-size:.82rem;font-weight:400;color:var(--soft)}
.findings{margin:.3rem 0;padding:.7rem 1rem .7rem 2rem;background:var(--warnbg);border-radius:8px;
border-left:4px solid var(--warn)}
.findings li{margin:.2rem 0;overflow-wrap:anywhere}
.wide{overflow-x:auto;margin:.3rem 0 1.2rem}
table{border-collapse:collapse;font-size:.88rem;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--soft);font-size:.85rem;padding:.2rem 0}
th,td{padding:.18rem .7rem .18rem 0;text-align:right;border-bottom:1px solid var(--rule);font-weight:400;
white-space:nowrap}
thead th{color:var(--soft);vertical-align:bottom}
th:first-child{text-align:left}
td em{color:var(--warn);font-style:normal;font-weight:650}
.words td,.words th,.w2 td:nth-child(2),.w2 th:nth-child(2){text-align:left}
.words td,.words th,bdi{white-space:normal;overflow-wrap:anywhere}
.words th:first-child{min-width:7rem}
.counts{width:100%}
.counts td:nth-child(3),.counts th:nth-child(3){width:40%;min-width:9rem;padding-right:1.4rem}
.axis{position:relative;display:block;height:1.2em}
.axis i{position:absolute;transform:translateX(-50%);font-style:normal;font-size:.8rem}
.bars{display:block;width:100%;height:18px}
.bars path,.curve .grid{stroke:var(--rule);stroke-width:1;vector-effect:non-scaling-stroke;fill:none}
rect.p0{fill:var(--p0)}rect.p1{fill:var(--p1)}rect.p2{fill:var(--p2)}
.key{display:inline-block;white-space:nowrap;margin-right:.4rem}
.key::before{content:"";display:inline-block;width:.75em;height:.75em;border-radius:2px;margin-right:.35em}
.key.p0::before{background:var(--p0)}.key.p1::before{background:var(--p1)}.key.p2::before{background:var(--p2)}
rect.p3{fill:var(--s3)}rect.p4{fill:var(--s4)}.key.p3::before{background:var(--s3)}.key.p4::before{background:var(--s4)}
rect.pale{opacity:.4}rect.theirs{fill:none;stroke:var(--ink);stroke-width:1;vector-effect:non-scaling-stroke}
.bars .span{stroke:var(--ink);stroke-width:1.2}
.bars .chosen,.curve .chosen{stroke:var(--ink);stroke-width:1;stroke-dasharray:4 3;fill:none;
vector-effect:non-scaling-stroke}
.key.tick::before{width:.3em;border:1px solid var(--ink);border-radius:0;height:.9em;vertical-align:-.1em}
.key.dashes::before{width:0;border-left:1px dashed var(--ink);border-radius:0;height:1em;vertical-align:-.15em}
.key.line{margin-right:1.2rem}
.key.line::before{width:2em;height:0;border-radius:0;vertical-align:.25em;border-top:2px solid}
.key.s0::before{border-color:var(--p0)}.key.s1::before{border-color:var(--p1);border-top-style:dashed}
.key.s2::before{border-color:var(--p2);border-top-style:dotted}.key.s3::before{border-color:var(--s3)}
.key.s4::before{border-color:var(--s4);border-top-style:dashed}
.strips{display:flex;flex-wrap:wrap;gap:0 2.5rem;border-top:1px solid var(--rule)}
.strip{padding:0 0 1rem;break-inside:avoid;min-width:0}
.tiles{display:flex;flex-wrap:wrap;gap:.5rem}
figure{margin:0}
.tiles figure{width:96px}
img{display:block;background:#000;border-radius:4px}
figcaption{font-size:.72rem;line-height:1.25;color:var(--soft);overflow-wrap:anywhere}
.tiles figcaption span{display:block}
.heat{font-size:.72rem;border-collapse:separate;border-spacing:1px}
.heat th,.heat td{border:0;padding:0 .1rem}
.heat thead th{vertical-align:bottom;padding:.2rem 0;text-align:left}
.heat thead span{writing-mode:vertical-rl;transform:rotate(180deg);white-space:nowrap}
.heat tbody th{position:sticky;left:0;background:var(--paper);padding-right:.5rem;text-align:right;font-size:.78rem}
.heat tbody td{min-width:1.6rem;height:1.5rem;text-align:center;background:var(--card)}
.heat .own{background:none;outline:1px solid var(--rule);outline-offset:-1px;color:var(--soft)}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,20rem),1fr));gap:1rem 1.5rem}
.chart figcaption{font-size:.9rem;color:var(--ink);font-weight:600}
.curve{width:100%;height:auto;display:block}
.curve text{font-size:10px;fill:var(--soft)}
.curve .line{fill:none;stroke-width:1.4}
.line.s0{stroke:var(--p0)}.line.s1{stroke:var(--p1);stroke-dasharray:5 2}.line.s2{stroke:var(--p2);stroke-dasharray:2 2}
.line.s3{stroke:var(--s3)}.line.s4{stroke:var(--s4);stroke-dasharray:6 3}
.curve .even{stroke:var(--soft);stroke-width:1;stroke-dasharray:2 3;fill:none}
circle.s0{fill:var(--p0)}circle.s1{fill:var(--p1)}circle.s2{fill:var(--p2)}circle.s3{fill:var(--s3)}
circle.s4{fill:var(--s4)}
.multiples{display:grid;grid-template-columns:repeat(auto-fill,minmax(10.5rem,1fr));gap:.8rem 1rem}
.multiples .chart{display:flex;flex-direction:column;justify-content:flex-end}
.multiples .chart figcaption{font-size:.8rem;line-height:1.25}
.chart{break-inside:avoid}
.wideset td,.wideset th{padding-right:.55rem}
.wideset th:first-child{white-space:normal;min-width:9.5rem}
.wideset td:nth-child(2),.wideset th:nth-child(2){text-align:right}
.wideset td:nth-child(3),.wideset th:nth-child(3){width:18%;min-width:7rem}
.wideset thead th,.study thead th{white-space:normal;min-width:4.2em}
.study th:first-child{white-space:normal;min-width:15rem}
.wideset td small,.study td small{display:block;line-height:1.2}
.study th:first-child small{display:block}
.study td:nth-child(2),.study th:nth-child(2){width:22%;min-width:8rem;padding-right:1.4rem}
.cases{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,28rem),1fr));gap:.7rem 1rem}
.cases img{width:100%;max-width:488px;height:auto}
.cases figcaption{font-size:.78rem;margin-top:.2rem}
.cases figcaption b{color:var(--ink)}
.cases bdi{opacity:.8}
.dot{display:inline-block;width:.75em;height:.75em;border-radius:50%;margin-right:.4em;border:1px solid var(--soft)}
.dot.red{background:#d33}.dot.green{background:#2a2}.dot.blue{background:#36f}.dot.yellow{background:#ec0}
.pairs{display:grid;grid-template-columns:repeat(auto-fill,minmax(15rem,1fr));gap:1rem}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:.3rem .6rem;background:var(--card);border-radius:8px;padding:.7rem;
break-inside:avoid;font-size:.75rem;line-height:1.3}
.pair bdi,.pair small{display:block;margin-top:.2rem}
.pair figcaption{grid-column:1/-1;font-size:.8rem}
"""
    + "".join(
        f".h{i}{{background:color-mix(in srgb,var(--accent) {10 * i}%,var(--paper))!important"
        f"{';color:var(--paper)' if i > 5 else ''}}}\n"
        for i in range(1, 11)
    )
    + """
@media(max-width:60rem){body{display:block;padding:0 1rem 3rem}nav{position:static;padding:0}
nav ul{display:flex;flex-wrap:wrap;gap:0 1rem}.tiles{flex-wrap:nowrap;overflow-x:auto;padding-bottom:.3rem}
.tiles figure{flex:none}.counts th:first-child{white-space:normal;min-width:9.5rem}
.counts td:nth-child(3){min-width:7rem}}
@media print{:root{--paper:#fff;--card:#f4f6f8;--ink:#000;--soft:#444;--rule:#ccc;--accent:#0b5cad;--warn:#a23b00;
--warnbg:#fdeee3;--p0:#0072b2;--p1:#d98200;--p2:#009e73;--s3:#b4558c;--s4:#6b6b6b;color-scheme:light}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}
body{display:block;font-size:10pt;padding:0}nav{display:none}.wide{overflow:visible}.tiles{flex-wrap:wrap}
h2,h3{break-after:avoid}tr,figure{break-inside:avoid}.heat{font-size:6pt}.heat tbody th{font-size:6.5pt}
.heat tbody td{min-width:1.5em;height:auto}.heat th,.heat td{padding:0 1px}}
"""
)
