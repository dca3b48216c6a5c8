"""The look of the page and of the charts: CSS with one set of variables for light and one for dark."""

from __future__ import annotations

# Hues that stay apart under the common colour-vision deficiencies, darker on white, lighter on black.
_LIGHT = ("#1c69b0", "#c4540a", "#0a7f62", "#a8478a", "#8a6a00", "#3d8fc7", "#596170")
_DARK = ("#74b6f5", "#ff9d5c", "#46cfa6", "#ee9fce", "#e0bd55", "#9fdcff", "#aeb6c3")
LINE_COLOURS = len(_LIGHT)

_LIGHT_INK = "--ink:#1d2430;--soft:#5a6473;--line:#dfe3ea;--ground:#ffffff;--panel:#f6f7f9;--random:#9aa3b2;"
_DARK_INK = "--ink:#e6e9ef;--soft:#a0a9b8;--line:#323a47;--ground:#14181f;--panel:#1c222b;--random:#6f7a8b;"
_LIGHT_TONES = "--good:#0a6f55;--bad:#b03a0c;--warn:#fff4d6;--warn-line:#d9a400;--warn-ink:#4d3a00;--pre:#1c69b0;"
_DARK_TONES = "--good:#4fd0a8;--bad:#ff9466;--warn:#2e2611;--warn-line:#b98f17;--warn-ink:#f3dfa2;--pre:#74b6f5;"


def _hues(colours: tuple[str, ...]) -> str:
    return "".join(f"--s{index}:{colour};" for index, colour in enumerate(colours))


VARIABLES = (
    f":root{{color-scheme:light dark;{_LIGHT_INK}{_LIGHT_TONES}{_hues(_LIGHT)}}}"
    f"@media(prefers-color-scheme:dark){{:root{{{_DARK_INK}{_DARK_TONES}{_hues(_DARK)}}}}}"
)
_CHART_RULES = (
    ".chart text{font:11px system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;fill:var(--soft);"
    "font-variant-numeric:tabular-nums}"
    ".chart .title{font-size:14px;font-weight:600;fill:var(--ink)}"
    ".chart .grid{stroke:var(--line);stroke-width:1}.chart .axis{stroke:var(--soft);stroke-width:1}"
    ".line{fill:none;stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}"
    ".mark{stroke:var(--ground);stroke-width:1}.ground{fill:var(--ground)}"
    + "".join(f".line.s{i}{{stroke:var(--s{i})}}.mark.s{i}{{fill:var(--s{i})}}" for i in range(LINE_COLOURS))
)
CHART_STYLE = VARIABLES + _CHART_RULES

PAGE_STYLE = (
    VARIABLES
    + _CHART_RULES
    + """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;scroll-behavior:smooth}
body{margin:0;background:var(--ground);color:var(--ink);
  font:16px/1.6 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif}
main{max-width:1240px;margin:0 auto;padding:56px 24px 96px}
h1{font-size:clamp(1.7rem,1.2rem + 2vw,2.5rem);line-height:1.15;letter-spacing:-.02em;margin:0 0 20px;font-weight:680;
  text-wrap:balance}
h2{font-size:1.35rem;line-height:1.3;letter-spacing:-.01em;margin:64px 0 16px;padding-top:20px;
  border-top:1px solid var(--line);font-weight:640}
h3{font-size:1.05rem;margin:32px 0 12px;font-weight:600}
p{margin:0 0 16px;max-width:74ch}
.lead{font-size:1.1rem;line-height:1.6;color:var(--ink)}
.note,.remarks{color:var(--soft);font-size:.9rem}
.remarks{padding-left:1.2em;max-width:84ch}.remarks li{margin:4px 0;overflow-wrap:anywhere}
.warning{background:var(--warn);color:var(--warn-ink);border-left:4px solid var(--warn-line);border-radius:6px;
  padding:14px 18px;font-weight:600;max-width:none}
nav{margin:0 0 28px;font-size:.9rem;display:flex;flex-wrap:wrap;gap:4px 20px}
a{color:var(--pre);text-decoration:none}a:hover,a:focus-visible{text-decoration:underline}
.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(255px,1fr));gap:16px;margin:28px 0 0;padding:0;
  list-style:none}
.tile{background:var(--panel);border:1px solid var(--line);border-radius:12px;padding:18px 20px;display:flex;
  flex-direction:column}
.tile .label{font-weight:600;font-size:.95rem}
.tile .difference{font-size:1.75rem;line-height:1.25;font-weight:660;letter-spacing:-.02em;margin-top:6px;
  font-variant-numeric:tabular-nums}
.tile .reading{font-size:.88rem;margin-bottom:14px;color:var(--soft)}
.good .difference,.good .reading{color:var(--good)}.bad .difference,.bad .reading{color:var(--bad)}
.tile .context{color:var(--soft);font-size:.8rem;line-height:1.45;margin-top:auto;padding-top:14px;
  overflow-wrap:anywhere}
.bar{margin:3px 0 7px}
.bar .text{display:flex;justify-content:space-between;gap:8px;font-size:.82rem;font-variant-numeric:tabular-nums}
.bar .track{position:relative;height:7px;margin-top:3px;border-radius:4px;background:var(--line)}
.bar .fill{position:absolute;inset:0 auto 0 0;border-radius:4px;background:var(--random)}
.bar.pretrained .fill{background:var(--pre)}
.bar .whisker{position:absolute;top:-2px;bottom:-2px;border:solid var(--ink);border-width:0 1.5px;opacity:.75}
.bar .whisker::before{content:"";position:absolute;left:0;right:0;top:50%;border-top:1.5px solid var(--ink)}
.facts{background:var(--panel);border:1px solid var(--line);border-radius:12px;padding:18px 22px;margin:0 0 16px}
.facts h3{margin:0 0 10px;overflow-wrap:anywhere}
.facts dl{display:grid;grid-template-columns:minmax(110px,max-content) 1fr;gap:5px 22px;margin:0;font-size:.9rem}
.facts dt{color:var(--soft)}.facts dd{margin:0;overflow-wrap:anywhere;font-variant-numeric:tabular-nums}
code{font:.86em/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
.legend{display:flex;flex-wrap:wrap;gap:4px 22px;margin:0 0 12px;padding:0;list-style:none;font-size:.9rem}
.legend li{display:flex;align-items:center;gap:8px;overflow-wrap:anywhere}.legend svg{width:46px;height:12px;flex:none}
.charts{display:grid;gap:28px 24px;margin:8px 0 28px}
.charts figure{margin:0;min-width:0;display:flex;flex-direction:column;justify-content:space-between}
.charts svg{display:block;width:100%;height:auto}
.charts .legend{margin:8px 0 0;font-size:.82rem;font-weight:400;gap:2px 16px}
.charts .legend svg{width:46px;height:12px}
.charts figcaption{font-size:.95rem;font-weight:600;line-height:1.35;margin-bottom:6px}
.charts figcaption small{display:block;font-weight:400;color:var(--soft);font-size:.82rem}
.scroll{overflow-x:auto;border:1px solid var(--line);border-radius:12px;margin:8px 0 20px;
  -webkit-overflow-scrolling:touch}
.scroll:focus-visible{outline:2px solid var(--pre);outline-offset:2px}
table{border-collapse:separate;border-spacing:0;width:100%;font-size:.88rem;line-height:1.45;
  font-variant-numeric:tabular-nums}
caption{text-align:left;padding:14px 13px 10px;font-weight:600;font-size:.95rem}
caption span{position:sticky;left:13px;display:inline-block;max-width:min(100%,calc(100vw - 60px))}
.narrow{width:fit-content;max-width:100%;min-width:min(100%,460px)}
th,td{padding:9px 13px;text-align:left;vertical-align:top;border-top:1px solid var(--line)}
thead th{color:var(--soft);font-weight:500;font-size:.82rem;white-space:nowrap;background:var(--panel)}
thead button{all:unset;position:relative;cursor:pointer;white-space:nowrap}thead button:hover{color:var(--ink)}
thead button:focus-visible{outline:2px solid var(--pre);outline-offset:3px;border-radius:3px}
thead button::after{position:absolute;left:100%;padding-left:2px}
th[aria-sort=ascending] button::after{content:"↑"}th[aria-sort=descending] button::after{content:"↓"}
th[aria-sort] button{color:var(--ink);font-weight:600}
tbody th{font-weight:600}.number{text-align:right!important;white-space:nowrap}.short{white-space:nowrap}
.medium{min-width:130px;overflow-wrap:anywhere}.long{min-width:230px;overflow-wrap:anywhere}
.wide table{width:max-content;min-width:100%}.wide td{max-width:320px}
.pictures{display:grid;gap:24px;margin:8px 0 20px}
.pictures figure{margin:0;min-width:0}
.pictures img{display:block;width:100%;max-width:960px;height:auto;border-radius:8px;border:1px solid var(--line);
  background:var(--panel)}
.pictures figcaption{color:var(--soft);font-size:.85rem;margin-top:8px;overflow-wrap:anywhere}
footer{margin-top:64px;padding-top:16px;border-top:1px solid var(--line);color:var(--soft);font-size:.85rem}
@media(min-width:640px){.charts{grid-template-columns:repeat(2,minmax(0,1fr))}.c2{grid-template-columns:1fr 1fr}}
.charts.c2{grid-template-columns:minmax(0,1fr)}
@media(min-width:980px){.charts.c2{grid-template-columns:repeat(2,minmax(0,1fr))}
  .charts.c4{grid-template-columns:repeat(4,minmax(0,1fr))}}
@media(max-width:640px){main{padding:28px 16px 64px}h2{margin-top:44px}th,td{padding:8px 12px}
  .c2 .chart text{font-size:16px}
  .facts{padding:16px}.facts dl{grid-template-columns:1fr;gap:0}.facts dd{margin-bottom:8px}}
@media print{main{max-width:none;padding:0}.scroll{overflow:visible}}
"""
)
