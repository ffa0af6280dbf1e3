"""The style sheet of the page. Text only.

Against its ground every text has a contrast of at least 4.5:1, every line and mark of at least 3:1, light and dark.
"""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark;
  --ground: #ffffff; --text: #1c1f23; --soft: #59626b; --rule: #d9dee3; --head: #f2f4f6;
  --bad: #c1121f; --onset: #c1121f; --opened: #b4470e; --order: #7d3cb5; --rollback: #0b62a8;
  --generation: #00795a; --epoch: #767f87; --c0: #0b62a8; --c1: #b4470e; --c2: #00795a;
  --c3: #9b4a86; --c4: #7a6000; --c5: #3d6a8f; --c6: #5b5b5b; --c7: #7d3cb5; }
@media (prefers-color-scheme: dark) { :root {
  --ground: #15181c; --text: #e6e9ec; --soft: #a4adb6; --rule: #343b42; --head: #20252a;
  --bad: #ff6b6b; --onset: #ff6b6b; --opened: #ff9a5c; --order: #c79bff; --rollback: #6db6ff;
  --generation: #4fd1a5; --epoch: #77818a; --c0: #6db6ff; --c1: #ff9a5c; --c2: #4fd1a5;
  --c3: #e79ad0; --c4: #e3c04b; --c5: #8fc7e8; --c6: #bdbdbd; --c7: #c79bff; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--text); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; }
h2 { font-size: 1.3rem; margin-top: 2.2rem; }
h3 { font-size: 1.05rem; }
h1, h2, h3 { line-height: 1.3; }
.wide { overflow-x: auto; margin: .6rem 0; }
.wide:focus-visible { outline: 2px solid var(--c0); outline-offset: 2px; }
table { border-collapse: collapse; font-size: .875rem; overflow-wrap: normal; }
th, td { text-align: left; vertical-align: top; padding: .3rem .7rem; border-bottom: 1px solid var(--rule); }
td { max-width: 26rem; overflow-wrap: break-word; font-variant-numeric: tabular-nums; }
.short { white-space: nowrap; }
th { background: var(--head); white-space: nowrap; }
figure { margin: 1rem 0 1.5rem; }
figcaption { color: var(--soft); font-size: .875rem; }
svg { display: block; width: 100%; min-width: 36rem; height: auto; }
svg text { fill: var(--soft); font: 11px system-ui, sans-serif; }
svg .name { fill: var(--text); font-weight: 600; font-size: 12px; }
svg .bad { fill: var(--bad); }
.grid { stroke: var(--rule); }
.axis { stroke: var(--soft); }
.line { fill: none; stroke-width: 1.5; stroke-linejoin: round; }
.c1 { stroke-dasharray: 7 3; }
.c2 { stroke-dasharray: 2 3; }
.band { opacity: .22; }
.mark { stroke-width: 1.25; stroke: var(--epoch); }
.mark.epoch { stroke-dasharray: 1 4; }
.mark.onset { stroke: var(--onset); stroke-width: 2; }
.mark.opened { stroke: var(--opened); stroke-dasharray: 6 3; }
.mark.order { stroke: var(--order); stroke-dasharray: 2 3; }
.mark.rollback { stroke: var(--rollback); stroke-width: 2; }
.mark.generation { stroke: var(--generation); }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .1rem 1rem; margin: .2rem 0; padding: 0; }
.legend { font-size: .8rem; color: var(--soft); }
.key { display: inline-block; width: .8rem; height: .8rem; border-radius: 2px; margin-right: .35rem; }
svg .label.onset { fill: var(--onset); }
svg .label.opened { fill: var(--opened); }
svg .label.order { fill: var(--order); }
svg .label.rollback { fill: var(--rollback); }
svg .label.generation { fill: var(--generation); }
.key.bad { background: var(--bad); }
.key.onset { background: var(--onset); }
.key.opened { background: var(--opened); }
.key.order { background: var(--order); }
.key.rollback { background: var(--rollback); }
.key.generation { background: var(--generation); }
.key.epoch { background: var(--epoch); }
.c0 { stroke: var(--c0); }
.f0 { fill: var(--c0); }
.k0 { background: var(--c0); }
.c1 { stroke: var(--c1); }
.f1 { fill: var(--c1); }
.c2 { stroke: var(--c2); }
.f2 { fill: var(--c2); }
.c3 { stroke: var(--c3); }
.f3 { fill: var(--c3); }
.k3 { background: var(--c3); }
.c4 { stroke: var(--c4); }
.f4 { fill: var(--c4); }
.k4 { background: var(--c4); }
.c5 { stroke: var(--c5); }
.f5 { fill: var(--c5); }
.k5 { background: var(--c5); }
.c6 { stroke: var(--c6); }
.f6 { fill: var(--c6); }
.k6 { background: var(--c6); }
.c7 { stroke: var(--c7); }
.f7 { fill: var(--c7); }
.k7 { background: var(--c7); }
.k1 { background: repeating-linear-gradient(90deg, var(--c1) 0 7px, transparent 7px 10px); }
.k2 { background: repeating-linear-gradient(90deg, var(--c2) 0 2px, transparent 2px 5px); }
.key.curve { width: 1.6rem; height: .2rem; vertical-align: middle; }
"""
