"""How the page of a judgement looks, in light and dark, and what it does under the pointer."""

CSS = """
:root { color-scheme: light dark; --back: #fbfbfa; --card: #fff; --text: #1d2125; --dim: #667079;
  --line: #dde1e5; --ok: #2f6fb3; --ok-back: #e3eefa; --bad: #c4262e; --bad-back: #fde6e6;
  --later: #8a939b; --later-back: #f0f2f4; --path: #e08a00; --good: #1d7f45; --open: #b77700; }
@media (prefers-color-scheme: dark) { :root { --back: #14171a; --card: #1c2024; --text: #e4e7ea;
  --dim: #98a2ab; --line: #333a41; --ok: #7cb4ee; --ok-back: #1d3146; --bad: #ff7b7b;
  --bad-back: #4a1f22; --later: #88929b; --later-back: #262b30; --path: #ffb84d; --good: #63c98b;
  --open: #ffc861; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.5rem 4rem; max-width: 1200px; background: var(--back);
  color: var(--text); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; } h2 { font-size: 1.15rem; margin: 0 0 .5rem; }
h3 { font-size: .95rem; margin: 1.2rem 0 .4rem; }
.verdict { display: inline-block; padding: .05em .6em; border-radius: 1em; color: var(--card);
  font-weight: 600; } .Ok { background: var(--good); } .Illegal { background: var(--bad); }
.Unknown { background: var(--open); }
p { margin: .3rem 0; } .dim { color: var(--dim); } code, td, .label { font-family: ui-monospace,
  SFMono-Regular, Menlo, Consolas, monospace; font-size: 13px; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 1.1rem 1.25rem; margin-top: 1.25rem; }
.chart { display: flex; border: 1px solid var(--line); border-radius: 8px; overflow: hidden; }
.scroll { overflow-x: auto; border-left: 1px solid var(--line); }
svg { display: block; flex: none; } svg text { fill: var(--text); }
.row { stroke: var(--line); } .name { fill: var(--dim) !important; font-size: 12px; }
.box { fill: var(--later-back); stroke: var(--later); }
.placed .box { fill: var(--ok-back); stroke: var(--ok); }
.stuck .box { fill: var(--bad-back); stroke: var(--bad); stroke-width: 2; }
.info .box { stroke-dasharray: 5 3; }
.fail { opacity: .45; } .fail .label { text-decoration: line-through; }
.path { fill: none; stroke: var(--path); stroke-width: 1.5; opacity: .8; }
.point circle { fill: var(--path); } .point text { fill: #14171a; font-size: 9px;
  text-anchor: middle; font-weight: 600; }
.wall { stroke: var(--bad); stroke-width: 1.5; stroke-dasharray: 2 3; }
g[data-tip] { cursor: default; outline: none; }
g[data-tip]:hover .box, g[data-tip]:focus .box, g.lit .box { stroke-width: 3; }
table { border-collapse: collapse; width: 100%; } th { text-align: left; font-size: 13px;
  color: var(--dim); font-weight: 500; } td, th { padding: .15rem .8rem .15rem 0;
  border-bottom: 1px solid var(--line); vertical-align: top; overflow-wrap: anywhere; }
tr.lit td { background: var(--ok-back); } .why td:first-child { color: var(--bad); }
.legend span { display: inline-block; margin-right: 1.2em; } .legend i { display: inline-block;
  width: 1em; height: .8em; border: 1.5px solid var(--later); border-radius: 3px;
  margin-right: .4em; background: var(--later-back); }
.legend .placed { border-color: var(--ok); background: var(--ok-back); }
.legend .stuck { border-color: var(--bad); background: var(--bad-back); }
.legend .info { border-style: dashed; }
#tip { position: fixed; display: none; max-width: 34rem; padding: .45rem .7rem; border-radius: 8px;
  background: var(--text); color: var(--back); font-size: 13px; white-space: pre-line;
  pointer-events: none; z-index: 9; overflow-wrap: anywhere; }
"""

SCRIPT = """
const tip = document.getElementById('tip');
function light(element, on) {
  const name = element.dataset.pair;
  if (name) for (const other of document.querySelectorAll('[data-pair="' + name + '"]'))
    other.classList.toggle('lit', on);
}
function show(element, x, y) {
  tip.textContent = element.dataset.tip;
  tip.style.display = 'block';
  const box = tip.getBoundingClientRect();
  tip.style.left = Math.max(4, Math.min(x + 14, innerWidth - box.width - 8)) + 'px';
  tip.style.top = (y + 18 + box.height > innerHeight ? y - box.height - 10 : y + 18) + 'px';
}
for (const element of document.querySelectorAll('[data-pair], [data-tip]')) {
  const tells = 'tip' in element.dataset;
  element.addEventListener('mouseenter', () => light(element, true));
  element.addEventListener('mouseleave', () => {
    light(element, false); tip.style.display = 'none'; });
  if (tells) {
    element.addEventListener('mousemove', event => show(element, event.clientX, event.clientY));
    element.addEventListener('focus', () => { const box = element.getBoundingClientRect();
      light(element, true); show(element, box.left, box.bottom - 14); });
    element.addEventListener('blur', () => { light(element, false); tip.style.display = 'none'; });
  }
}
for (const part of document.querySelectorAll('.scroll')) part.scrollLeft = part.dataset.at;
"""
