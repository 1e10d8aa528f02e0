"""The page's style sheet: light and dark, phone and paper. No script, no fonts from elsewhere."""

STYLE = """
:root {
  --back: #fcfcfa; --card: #fff; --ink: #1c2126; --soft: #5a636c; --line: #e2e4e0; --grid: #e9ebe7;
  --accent: #0a6c8f; --second: #b8500c; --good: #2b7447; --bad: #b3362b; --grey: #878f96; --shade: #0a6c8f;
  color-scheme: light dark;
}
@media (prefers-color-scheme: dark) {
  :root {
    --back: #14171a; --card: #1a1e22; --ink: #e6e9eb; --soft: #a0a9b1; --line: #2e353b; --grid: #262c31;
    --accent: #58b5d9; --second: #f0a062; --good: #6cc48d; --bad: #f08a80; --grey: #7d868d; --shade: #2b86a8;
  }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100%; }
body {
  margin: 0 auto; max-width: 64rem; padding: 2.5rem 1.5rem 4rem; background: var(--back); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif;
  font-variant-numeric: tabular-nums;
}
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .3rem; letter-spacing: -.02em; font-weight: 680; }
h2 { font-size: 1.35rem; line-height: 1.25; margin: 0 0 .8rem; letter-spacing: -.01em; font-weight: 650; }
h3 { font-size: 1rem; margin: 1.8rem 0 .4rem; font-weight: 650; }
p, ul { margin: .6rem 0; max-width: 46rem; }
ul { padding-left: 1.1rem; }
li { margin: .2rem 0; }
ul.plain { list-style: none; padding: 0; margin: 0; }
a { color: var(--accent); text-underline-offset: .15em; text-decoration-thickness: 1px; }
code { font: .875em ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
header p { margin: 0; }
.path { color: var(--soft); font-size: .875rem; font-weight: 400; overflow-wrap: anywhere; }
.note, .legend, .under, figcaption, caption, footer { color: var(--soft); font-size: .875rem; }
.note { border-left: 2px solid var(--line); padding-left: .9rem; }
.warning { border-left: 3px solid var(--second); padding-left: .9rem; }
nav { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; padding: .9rem 0; margin: .9rem 0 0;
  border-block: 1px solid var(--line); font-size: .9rem; }
nav a { text-decoration: none; }
nav a:hover { text-decoration: underline; }
section { padding: 2.4rem 0 .4rem; scroll-margin-top: .5rem; }
figure { margin: 1rem 0; }
figcaption { margin-bottom: .2rem; }
footer { margin-top: 3rem; border-top: 1px solid var(--line); }

.scroll { overflow-x: auto; margin: 1rem 0; max-width: 100%; }
.scroll:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
table { border-collapse: collapse; font-size: .9rem; }
caption { text-align: left; padding-bottom: .4rem; }
th, td { padding: .38rem .8rem .38rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
thead th { font-weight: 500; color: var(--soft); border-bottom-color: var(--grey); vertical-align: bottom; }
tbody th { font-weight: 550; }
td .path { display: inline-block; min-width: 11rem; }
th.number, td.number { text-align: right; white-space: nowrap; padding-left: .4rem; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.lead { font-size: 1.2rem; line-height: 1.4; margin: 0 0 .8rem; }
.badge { font-size: .75rem; font-weight: 550; padding: .1rem .5rem; border-radius: 1rem; margin: 0 .3rem;
  color: var(--good); border: 1px solid currentColor; vertical-align: .1em; }
.badge.bad { color: var(--second); }
.swatch { display: inline-block; width: .7em; height: .7em; margin-right: .35em; background: var(--tone); }
.folds { display: flex; flex-wrap: wrap; gap: 0 2rem; align-items: start; }
.folds details { max-width: 100%; }
.folds details[open] { flex-basis: 100%; }
.run { margin: .4rem 0 0; font-size: .875rem; }
.run > div { display: grid; grid-template-columns: 8rem 1fr; gap: 0 1rem; padding: .15rem 0; }
.run dt { color: var(--soft); }
.run dd { margin: 0; overflow-wrap: anywhere; }
.tag { color: var(--accent); font-weight: 600; }
.right { color: var(--good); }
.wrong { color: var(--bad); }
details { margin: .5rem 0; }
summary { cursor: pointer; color: var(--accent); font-size: .9rem; }

.places { display: grid; grid-template-columns: fit-content(18rem) 1fr max-content; align-items: center; gap: 0 .9rem;
  padding-right: .5rem; }
.row { display: contents; }
.row .name { overflow-wrap: anywhere; line-height: 1.2; font-size: .925rem; }
.row .value { font-weight: 600; }
.row svg { width: 100%; height: 34px; overflow: visible; display: block; }
.axis .ticks { position: relative; height: 1.4em; color: var(--soft); font-size: .8rem; }
.axis .ticks span { position: absolute; transform: translateX(-50%); }
.row .grid { stroke: var(--grid); }
.row .chance { stroke: var(--soft); stroke-dasharray: 3 3; }
.row .reach { stroke-width: 4; stroke-linecap: round; opacity: .45; }
.best { --tone: var(--accent); } .close { --tone: var(--accent); } .worse { --tone: var(--grey); }
.leaky { --tone: var(--second); }
.row .reach { stroke: var(--tone); }
.row .dot { fill: var(--tone); stroke: var(--back); stroke-width: 2; }
.row .close .dot { fill: var(--back); stroke: var(--tone); stroke-width: 2.5; }
.key { display: inline-block; width: .7em; height: .7em; border-radius: 50%; margin: 0 .3em 0 .9em;
  background: var(--tone); border: 2px solid var(--tone); vertical-align: -.05em; }
.key:first-child { margin-left: 0; }
.key.close { background: transparent; }
.key.chance, .key.training, .key.validation, .key.kept { width: 1.3em; height: 0; border: 0; border-radius: 0;
  border-top: 2px solid; background: none; vertical-align: .25em; }
.key.chance { border-top-style: dashed; border-color: var(--soft); }
.key.training { border-color: var(--accent); }
.key.validation { border-color: var(--second); }
.key.kept { border-color: var(--soft); border-top-style: dotted; }

.plot { width: 100%; height: auto; display: block; font-size: 12px; }
.plot text { fill: var(--soft); }
.plot .small { font-size: 11px; }
.plot .middle { text-anchor: middle; }
.plot .end { text-anchor: end; }
.plot .grid { stroke: var(--grid); }
.plot polyline { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
.plot .training { stroke: var(--accent); }
.plot .validation { stroke: var(--second); }
.plot circle.validation { fill: var(--second); stroke: var(--back); stroke-width: 1.5; }
.plot .kept { stroke: var(--soft); stroke-dasharray: 1 4; stroke-width: 1.5; stroke-linecap: round; }
.plot .phase { stroke: var(--line); }
.plot .diagonal { stroke: var(--grey); stroke-width: 1; stroke-dasharray: 4 3; }
.plot .miss { stroke: var(--second); stroke-width: 1.5; opacity: .7; }
.plot .bin { fill: var(--accent); fill-opacity: .85; stroke: var(--back); stroke-width: 1; }
.panels, .small-multiples { display: grid; gap: .2rem 2.5rem; }
.panels { grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); }
.small-multiples { grid-template-columns: repeat(auto-fill, minmax(min(100%, 17rem), 1fr)); }
.small-multiples strong, .matrix caption { color: var(--ink); font-weight: 600; }
.curves + .curves { border-top: 1px solid var(--line); }

.heat td { text-align: right; min-width: 3.2rem; padding: .38rem .5rem; border: 1px solid var(--back); }
.heat td[style] { background: color-mix(in srgb, var(--shade) var(--share), var(--card)); }
.heat th { border-bottom-color: transparent; }
.heat thead th:not(:first-child) { padding-inline: .5rem; }
.matrices { display: flex; flex-wrap: wrap; gap: .5rem 2.5rem; }
.matrices .scroll { margin: .5rem 0; }
.matrix td { min-width: 2.6rem; height: 2.4rem; text-align: center; vertical-align: middle; }
.matrix tbody th { vertical-align: middle; text-align: right; font-weight: 400; }
.matrix thead td { border: 0; }
.heat tbody th { position: sticky; left: 0; background: var(--back); max-width: 9rem; }
.dense { font-size: .8rem; }
.dense td { min-width: 2rem; height: 1.9rem; padding: 0; }
.heat .turned { vertical-align: bottom; padding: 0 0 .3rem; text-align: center; }
.heat .turned span { writing-mode: vertical-rl; transform: rotate(180deg); white-space: nowrap; }

.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 8rem), 1fr)); gap: .8rem 1.5rem;
  margin: 1rem 0; }
.facts dt { color: var(--soft); font-size: .8rem; }
.facts dd { margin: 0; font-weight: 550; }
.bar { width: min(16rem, 40vw); height: 1rem; display: block; margin-top: .25rem; }
.bar rect { fill: var(--tone); }
.bar .training, .swatch.training { --tone: var(--accent); }
.bar .validation, .swatch.validation { --tone: var(--second); }
.bar .test, .swatch.test { --tone: var(--grey); }
.columns { display: flex; flex-wrap: wrap; gap: 0 3.5rem; align-items: start; }
.columns > * { max-width: 100%; }
:target { background: color-mix(in srgb, var(--second) 25%, transparent); }

@media (max-width: 40rem) {
  body { padding: 1.5rem 1rem 3rem; }
  h1 { font-size: 1.6rem; }
  .places { grid-template-columns: 1fr max-content; }
  .row .name { grid-column: 1 / -1; margin-top: .4rem; }
  .row svg { height: 22px; }
  .axis .name { display: none; }
  table { width: max-content; }
  th, td { max-width: 15rem; }
}
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
@media print {
  :root { --back: #fff; --card: #fff; color-scheme: light; }
  html { font-size: 12px; }
  body { max-width: none; padding: 0; }
  td .path { min-width: 0; }
  nav, footer { display: none; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  details::details-content { content-visibility: visible; height: auto; }
  figure, tr, .curves, .matrices .scroll { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  .scroll { overflow: visible; }
}
"""
