// The reader's hands: pointer, keys, search, filters.

const least = () => evenly ? 4 : Math.max(0.05, (highest() - lowest()) / 1e6);
let due = false;
function refresh() {
  if (due) return;
  due = true;
  requestAnimationFrame(() => { due = false; draw(); });
}
function look(start, end) {
  const whole = Math.max(highest() - lowest(), least()), margin = whole * 0.02;
  let span = Math.min(Math.max(end - start, least()), whole + 2 * margin);
  start = Math.max(lowest() - margin, Math.min(start, highest() + margin - span));
  view.start = start; view.end = start + span;
  refresh();
}
function middle() {  // what stays where it is
  const chosen = shown.selected ? at(shown.selected) : -Infinity;
  return chosen >= view.start && chosen <= view.end ? chosen : (view.start + view.end) / 2;
}
function zoom(factor, position = middle()) {
  look(position - (position - view.start) * factor, position + (view.end - position) * factor);
}
const pan = share => {
  const by = (view.end - view.start) * share;
  look(view.start + by, view.end + by);
};
function lookAll() { view.start = lowest(); look(lowest() - 1e12, highest() + 1e12); }
function comfortable() {
  // A story opens so wide that the words on its arrows can be read.
  if (!isStory && !evenly) return lookAll();
  const fits = Math.max(12, (view.width - LEFT) / 27);
  if (fits >= highest() - lowest()) return lookAll();
  look(lowest() - 1, lowest() - 1 + fits);
}
function lastAt(position) {
  let low = 0, high = events.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (at(events[middle]) <= position) low = middle + 1; else high = middle;
  }
  return low - 1;
}

// Prose, and what hits nobody's lane, stand for all that happens at their moment.
const settled = event => event.node ? event.index : lastAt(at(event));

function choose(event, reveal) {
  if (!event) return;
  shown.selected = event;
  const position = at(event), margin = (view.end - view.start) * 0.08;
  if (reveal && (position < view.start + margin || position > view.end - margin)) {
    const half = (view.end - view.start) / 2;
    look(position - half, position + half);
  }
  showEvent(event); showStates(settled(event)); showChapter(event.index);
  refresh();
}
function walk(by) {
  let index = shown.selected ? shown.selected.index : by > 0 ? lastAt(view.start) : events.length;
  do { index += by; } while (events[index] && !passes(events[index]));
  choose(events[index], true);
}
function turnTo(by) {
  const index = shown.selected ? shown.selected.index : 0;
  choose(chapters[Math.max(0, Math.min(chapters.length - 1, chapterAt(index) + by))], false);
  const span = view.end - view.start;
  look(at(shown.selected) - span * 0.03, at(shown.selected) + span * 0.97);
}

let hitList = [];
function search(value) {
  const words = value.toLowerCase().split(/\s+/).filter(Boolean);
  hitList = words.length ? events.filter(event => passes(event)
    && words.every(each => blob(event).includes(each))) : [];
  shown.hits = new Set(hitList.map(event => event.index));
  $('found').textContent = words.length ? `${hitList.length} found` : '';
  refresh();
}
function nextHit(by) {
  if (!hitList.length) return;
  const index = shown.selected ? shown.selected.index : -1;
  const place = by > 0 ? hitList.findIndex(event => event.index > index)
    : hitList.findLastIndex(event => event.index < index);
  const number = place >= 0 ? place : by > 0 ? 0 : hitList.length - 1;
  choose(hitList[number], true);
  $('found').textContent = `${number + 1} of ${hitList.length}`;
}

function pointAt(event) {
  const box = canvas.getBoundingClientRect(), px = event.clientX - box.left;
  shown.cursor = px;
  shown.hovered = under(px, event.clientY - box.top);
  const index = shown.hovered ? shown.hovered.index : lastAt(positionAt(px));
  if (px >= LEFT && index >= 0) { showStates(index); showChapter(index); }
  const tip = $('tip');
  tip.style.display = shown.hovered ? 'block' : 'none';
  if (shown.hovered) {
    tip.textContent = `${time(shown.hovered.time_ms)}\n${sentence(shown.hovered)}`;
    const size = tip.getBoundingClientRect();
    tip.style.left = Math.max(4, Math.min(event.clientX + 14, innerWidth - size.width - 8)) + 'px';
    tip.style.top = (event.clientY + 18 + size.height > innerHeight
      ? event.clientY - size.height - 10 : event.clientY + 18) + 'px';
  }
  refresh();
}
let grip = null;
canvas.addEventListener('pointerdown', event => {
  grip = { x: event.clientX, start: view.start, end: view.end, moved: false };
  canvas.setPointerCapture(event.pointerId);
});
canvas.addEventListener('pointermove', event => {
  if (grip && Math.abs(event.clientX - grip.x) > 4) grip.moved = true;
  if (grip && grip.moved) {
    const by = (grip.x - event.clientX) / (view.width - LEFT - RIGHT) * (grip.end - grip.start);
    look(grip.start + by, grip.end + by);
  } else pointAt(event);
});
canvas.addEventListener('pointerup', event => {
  const box = canvas.getBoundingClientRect();
  if (grip && !grip.moved) choose(under(event.clientX - box.left, event.clientY - box.top)
    || events[lastAt(positionAt(event.clientX - box.left))], false);
  grip = null;
});
canvas.addEventListener('pointerleave', () => {
  shown.cursor = shown.hovered = null;
  $('tip').style.display = 'none';
  const event = shown.selected || events[0];
  showStates(settled(event)); showChapter(event.index);
  refresh();
});
canvas.addEventListener('wheel', event => {
  event.preventDefault();
  if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY))
    pan((event.deltaX || event.deltaY) / 1200);
  else zoom(1.0015 ** event.deltaY, positionAt(event.offsetX));
}, { passive: false });

const KEYS = {
  ArrowRight: event => event.shiftKey ? pan(0.25) : walk(1),
  ArrowLeft: event => event.shiftKey ? pan(-0.25) : walk(-1),
  Home: () => choose(events[0], true), End: () => choose(events.at(-1), true),
  '+': () => zoom(0.7), '=': () => zoom(0.7), '-': () => zoom(1 / 0.7), 0: lookAll,
  '/': () => $('search').focus(), n: () => nextHit(1), N: () => nextHit(-1),
  ']': () => turnTo(1), '[': () => turnTo(-1),
  Escape: () => { shown.selected = null; $('search').value = ''; search(''); },
};
document.addEventListener('keydown', event => {
  const inField = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (inField) {
    if (event.key === 'Escape') canvas.focus();
    if (event.key === 'Enter' && event.target === $('search')) nextHit(event.shiftKey ? -1 : 1);
    return;
  }
  const act = KEYS[event.key];
  if (act) { event.preventDefault(); act(event); }
});

function again() {  // what is shown is another choice of what there is
  layout(); search($('search').value);
  showStates(settled(shown.selected || events[Math.max(0, lastAt(view.start))]));
  if (shown.selected) showAround(shown.selected);
}
function option(select, value, title) {
  const element = make('option', null, title);
  element.value = value;
  select.append(element);
}
option($('group'), 0, 'all groups');
for (const group of head.groups) option($('group'), group, 'group ' + group);
option($('node'), '', 'all lanes');
for (const name of lanes) option($('node'), name, name);
$('group').hidden = head.groups.length < 2;
$('evenly').parentElement.hidden = isStory;
$('changekey').hidden = !membersChange;
$('story').hidden = !chapters.length;
$('search').oninput = event => search(event.target.value);
$('group').onchange = event => { shown.group = Number(event.target.value); again(); };
$('node').onchange = event => { shown.node = event.target.value; again(); };
$('minor').onchange = event => { shown.minor = event.target.checked; again(); };
$('evenly').onchange = event => {
  const center = shown.selected || events[lastAt((view.start + view.end) / 2)] || events[0];
  const share = (view.end - view.start) / Math.max(1e-9, highest() - lowest());
  evenly = event.target.checked;
  const half = Math.max(least(), (highest() - lowest()) * share) / 2;
  layout(); look(at(center) - half, at(center) + half);
};
for (const [id, act] of Object.entries({ closer: () => zoom(0.7), farther: () => zoom(1 / 0.7),
  whole: lookAll, before: () => walk(-1), after: () => walk(1), 'hit-before': () => nextHit(-1),
  'hit-after': () => nextHit(1), 'chapter-before': () => turnTo(-1), 'chapter-after': () => turnTo(1) }))
  $(id).onclick = act;

readColors(); showLegend();
shown.minor = $('minor').checked = isStory || events.length < 3000;
$('evenly').checked = evenly;
layout(); comfortable();
new ResizeObserver(() => { layout(); refresh(); }).observe(canvas.parentElement);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => { readColors(); refresh(); });
const broken = events.find(event => event.kind === 'broken');
if (broken) choose(broken, true);
else { showStates(settled(events[0])); showChapter(0); showAround(events[0]); }
document.body.dataset.ready = 'true';
