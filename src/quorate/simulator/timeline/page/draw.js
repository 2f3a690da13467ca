// The drawing: only what is visible, on one canvas.

const canvas = document.getElementById('lanes'), pen = canvas.getContext('2d');
const LEFT = 112, RIGHT = 26, AXIS = 22, CALL = 34;
const view = { start: 0, end: 1, width: 0, height: 0, top: AXIS, rows: [], strip: 0 };
const shown = { group: 0, node: '', minor: true, selected: null, hovered: null, hits: new Set(),
  cursor: null };
let colors = {}, painted = [];

// Okabe and Ito's colours, told apart by all eyes; and each term is written where it begins.
const PALETTE = ['#0072b2', '#e69f00', '#009e73', '#cc79a7', '#56b4e9', '#d55e00', '#6a4c93', '#8a8500'];
const colorOf = term => term ? PALETTE[(term - 1) % PALETTE.length] : '#8a939b';
const DARK = new Set(['#0072b2', '#d55e00', '#6a4c93', '#009e73', '#8a8500']);
const inkOf = term => DARK.has(colorOf(term)) ? '#ffffff' : '#14171a';

function readColors() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ['back', 'card', 'text', 'dim', 'line', 'bad', 'bad-back', 'ok', 'good', 'path'])
    colors[name] = style.getPropertyValue('--' + name).trim();
}
const x = position =>
  LEFT + (position - view.start) / (view.end - view.start) * (view.width - LEFT - RIGHT);
const positionAt = px =>
  view.start + (px - LEFT) / (view.width - LEFT - RIGHT) * (view.end - view.start);
const groupsShown = () => shown.group ? [shown.group] : head.groups;
const passes = event => (!shown.group || !event.group || event.group === shown.group)
  && (shown.minor || !event.minor)
  && (!shown.node || event.node === shown.node || event.peer === shown.node || !event.node);

function layout() {
  const box = canvas.getBoundingClientRect(), scale = devicePixelRatio || 1;
  const clients = head.clients.length * CALL, nodes = Math.max(1, head.nodes.length);
  const groups = groupsShown().length;
  // Faults that last at the same time lie below each other.
  const free = [];
  for (const fault of faults) {
    let row = free.findIndex(until => until <= fault.begin.even);
    if (row < 0) row = free.length < 5 ? free.length : 4;
    free[row] = fault.end ? fault.end.even : Infinity;
    fault.row = row;
  }
  view.strip = free.length * 17;
  view.top = AXIS + (chapters.length ? 20 : 0) + view.strip + 8;
  const room = Math.max(innerHeight * 0.56, 330) - view.top - clients;
  const lane = Math.max(groups > 1 ? 26 + groups * 16 : 54, Math.min(96, room / nodes));
  view.rows = lanes.map((name, row) => row < nodes && row < head.nodes.length
    ? { y: view.top + row * lane + lane / 2, height: lane }
    : { y: view.top + head.nodes.length * lane + (row - head.nodes.length) * CALL + CALL / 2 + 6,
        height: CALL });
  const last = view.rows.at(-1);
  view.height = last ? last.y + last.height / 2 + 12 : 200;
  view.width = box.width;
  canvas.style.height = view.height + 'px';
  canvas.width = Math.round(box.width * scale);
  canvas.height = Math.round(view.height * scale);
  pen.setTransform(scale, 0, 0, scale, 0, 0);
}
function yOf(name, group) {
  const row = view.rows[laneOf.get(name)];
  if (!row) return view.top;
  const list = groupsShown(), place = Math.max(0, list.indexOf(group));
  return laneOf.get(name) < head.nodes.length && list.length > 1
    ? row.y + (place - (list.length - 1) / 2) * 16 : row.y;
}

function text(value, px, py, options = {}) {
  pen.font = `${options.weight || 400} ${options.size || 11}px ${options.mono
    ? 'ui-monospace, SFMono-Regular, Menlo, Consolas, monospace' : 'system-ui, sans-serif'}`;
  pen.textAlign = options.align || 'left';
  pen.textBaseline = 'middle';
  if (options.halo) {
    pen.strokeStyle = options.halo; pen.lineWidth = 3; pen.lineJoin = 'round';
    pen.strokeText(value, px, py);
  }
  pen.fillStyle = options.color || colors.text;
  pen.fillText(value, px, py);
}
function clipped(value, room, size = 11) {
  pen.font = `400 ${size}px system-ui, sans-serif`;
  const width = pen.measureText(value).width, fits = Math.floor(value.length * room / width);
  return width <= room ? value : fits < 4 ? '' : value.slice(0, fits - 2) + '…';
}

function drawGrid() {
  pen.fillStyle = colors.card;
  pen.fillRect(0, 0, view.width, view.height);
  view.rows.forEach((row, number) => {
    if (number % 2) return;
    pen.fillStyle = colors.back;
    pen.fillRect(0, row.y - row.height / 2, view.width, row.height);
  });
  const span = view.end - view.start, target = span / Math.max(2, (view.width - LEFT) / 110);
  const power = 10 ** Math.floor(Math.log10(target));
  let step = [1, 2, 5, 10].map(factor => factor * power).find(value => value >= target) || target;
  if (evenly) step = Math.max(1, Math.round(step));
  for (let mark = Math.ceil(view.start / step) * step; mark <= view.end; mark += step) {
    const px = x(mark);
    if (px < LEFT) continue;
    pen.strokeStyle = colors.line; pen.lineWidth = 0.5;
    pen.beginPath(); pen.moveTo(px, AXIS); pen.lineTo(px, view.height); pen.stroke();
    const ms = evenly ? moments[Math.round(mark)] : mark;
    const label = isStory ? String(ms) : (ms / 1000).toFixed(evenly || step < 10 ? 4 : 2) + ' s';
    if (ms !== undefined) text(label, px, 11, { align: 'center', color: colors.dim });
  }
  if (isStory) text('moment', 10, 11, { color: colors.dim });
  else text(evenly ? 'time, evenly' : 'time', 10, 11, { color: colors.dim });
}

function drawFaults() {
  const top = AXIS + (chapters.length ? 20 : 0);
  for (const fault of faults) {
    const from = Math.max(LEFT, x(at(fault.begin)));
    if (from > view.width || fault.end && x(at(fault.end)) < LEFT) continue;
    const to = fault.end ? Math.max(x(at(fault.end)), from + 3) : view.width;
    for (const name of fault.begin.lanes || []) {
      const row = view.rows[laneOf.get(name)];
      if (!row) continue;
      pen.globalAlpha = 0.45; pen.fillStyle = colors['bad-back'];
      pen.fillRect(from, row.y - row.height / 2 + 1, to - from, row.height - 2);
      pen.globalAlpha = 1;
    }
    const y = top + fault.row * 17;
    pen.fillStyle = colors['bad-back']; pen.strokeStyle = colors.bad; pen.lineWidth = 1;
    pen.beginPath(); pen.roundRect(from, y, to - from, 14, 4); pen.fill(); pen.stroke();
    text(clipped('⚡ ' + fault.begin.text, to - from - 8), from + 5, y + 7.5, { color: colors.bad });
    painted.push({ x1: from, y1: y + 7, x2: to, y2: y + 7, reach: 8, event: fault.begin });
  }
  if (faults.length) text('faults', 10, top + 8, { color: colors.bad });
  let last = -Infinity;
  chapters.forEach((chapter, number) => {
    const px = x(at(chapter)), sign = Math.max(px, last + 18);  // one beside the other, never under it
    if (px < LEFT - 8 || px > view.width) return;
    last = sign;
    pen.strokeStyle = colors.dim; pen.lineWidth = 1; pen.setLineDash([1, 4]);
    pen.beginPath(); pen.moveTo(px, AXIS + 16); pen.lineTo(px, view.height); pen.stroke();
    pen.setLineDash([]);
    pen.fillStyle = colors.text;
    pen.beginPath(); pen.arc(sign, AXIS + 9, 8.5, 0, 7); pen.fill();
    text(String(number + 1), sign, AXIS + 9.5, { align: 'center', color: colors.card, weight: 600 });
    painted.push({ x1: sign, y1: AXIS + 9, x2: sign, y2: AXIS + 9, reach: 10, event: chapter });
  });
  if (chapters.length) text('story', 10, AXIS + 9, { color: colors.dim });
}

// While a joint configuration is obeyed (§6) the whole lane is hatched.
function hatch() {
  const tile = new OffscreenCanvas(8, 8), brush = tile.getContext('2d');
  brush.strokeStyle = colors.text; brush.globalAlpha = 0.22; brush.lineWidth = 1.4;
  for (const by of [-8, 0, 8]) { brush.moveTo(by - 1, 9); brush.lineTo(by + 9, -1); }
  brush.stroke();
  return pen.createPattern(tile, 'repeat');
}
function drawJoints() {
  const labels = [];
  if (!joints.length) return labels;
  const pattern = hatch(), several = groupsShown().length > 1;
  for (const { node, group, begin, end } of joints) {
    if (!groupsShown().includes(group)) continue;
    const from = Math.max(LEFT, x(at(begin))), to = end ? x(at(end)) : view.width;
    if (to < LEFT || from > view.width) continue;
    const y = yOf(node, group), half = several ? 7 : view.rows[laneOf.get(node)].height / 2 - 1;
    pen.fillStyle = pattern; pen.fillRect(from, y - half, Math.max(2, to - from), 2 * half);
    pen.fillStyle = colors.dim; pen.fillRect(from, y - half, 2, 2 * half);
    if (!several && half >= 26 && to - from > 64) labels.push([from + 7, y + half - 8]);
  }
  return labels;
}

function drawBands() {
  const labels = [];
  for (const name of head.nodes) for (const group of groupsShown()) {
    const y = yOf(name, group), several = groupsShown().length > 1;
    for (const span of spans.get(name + ' ' + group) || []) {
      const from = Math.max(LEFT, x(at(span.begin)));
      const to = Math.min(view.width, span.end ? x(at(span.end)) : x(highest()) + RIGHT - 8);
      if (to < LEFT || from > view.width || to < from) continue;
      const color = colorOf(span.term);
      if (span.role === 'down' || span.role === 'starting') {
        pen.strokeStyle = span.role === 'down' ? colors.bad : colors.dim;
        pen.lineWidth = 1.5; pen.setLineDash([2, 5]);
        pen.beginPath(); pen.moveTo(from, y); pen.lineTo(to, y); pen.stroke(); pen.setLineDash([]);
        if (to - from > 40 && span.role === 'down')
          text('down', from + 12, y - 8, { color: colors.bad, size: 11 });
        continue;
      }
      const half = several ? { leader: 6, follower: 2 }[span.role] || 4
        : { leader: 10, follower: 3 }[span.role] || 7;
      pen.fillStyle = color; pen.strokeStyle = color; pen.lineWidth = 1.5;
      if (span.role === 'leader' || span.role === 'follower')
        pen.fillRect(from, y - half, Math.max(1, to - from), 2 * half);
      else {
        pen.globalAlpha = 0.28; pen.fillRect(from, y - half, to - from, 2 * half);
        pen.globalAlpha = 1; pen.setLineDash([3, 2]);
        pen.strokeRect(from + 0.5, y - half, Math.max(1, to - from - 1), 2 * half);
        pen.setLineDash([]);
      }
      if (!several || half >= 6) labels.push({ span, from, room: to - from, y, half });
    }
  }
  return labels;
}
function drawLabels(labels) {
  const several = groupsShown().length > 1;
  for (const { span, from, room, y, half } of labels) {
    const label = span.role === 'follower' ? 'T' + span.term : `T${span.term} ${span.role}`;
    const whole = room > label.length * 6.6 + 8, fit = whole ? label : 'T' + span.term;
    if (!whole && room < 24) continue;
    if (span.role === 'leader')
      text(fit, from + 6, y + 0.5, { color: inkOf(span.term), weight: 650, size: several ? 9 : 11.5,
        halo: colorOf(span.term) });
    else if (span.role === 'follower')
      text(fit, from + 9, y + half + 9, { weight: 600, halo: colors.card });
    else if (!several) text(fit, from + 9, y + 0.5, { weight: 600, halo: colors.card });
  }
}

function ends2(arrow) {
  const { sent, delivered } = arrow, x1 = x(at(sent) + (sent.later || 0));
  const y1 = yOf(sent.node, sent.group), y2 = yOf(sent.peer, sent.group);
  if (delivered) return { x1, y1, x2: x(at(delivered)), y2 };
  const way = Math.sign(y2 - y1) * Math.min(Math.abs(y2 - y1) * 0.5, 46);
  return { x1, y1, x2: x1 + Math.min(26, Math.abs(way)), y2: y1 + way };
}
function firstVisible(list, position, get) {
  let low = 0, high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (at(get(list[middle])) < position) low = middle + 1; else high = middle;
  }
  return low;
}
let longest = null;
function longestArrow() {
  if (longest === null || longest.evenly !== evenly) {
    const lengths = arrows.filter(a => a.delivered).map(a => at(a.delivered) - at(a.sent));
    longest = { evenly, value: lengths.reduce((a, b) => Math.max(a, b), 0) };
  }
  return longest.value;
}

function drawArrows() {
  const visible = [];
  const slack = (view.end - view.start) * 30 / Math.max(1, view.width);
  for (let i = firstVisible(arrows, view.start - longestArrow() - slack, a => a.sent);
       i < arrows.length && at(arrows[i].sent) <= view.end; i++) {
    const arrow = arrows[i];
    if (!passes(arrow.sent) || !laneOf.has(arrow.sent.peer)) continue;
    if (arrow.delivered && at(arrow.delivered) < view.start) continue;
    visible.push(Object.assign(ends2(arrow), { arrow }));
  }
  const many = visible.length > 1500;
  for (const line of visible) {
    const { sent, delivered } = line.arrow, minor = sent.minor;
    const on = sent === shown.selected || delivered === shown.selected && delivered
      || sent === shown.hovered || delivered === shown.hovered && delivered;
    const hit = shown.hits.has(sent.index) || delivered && shown.hits.has(delivered.index);
    if (hit) drawGlow(line);
    pen.globalAlpha = on || hit ? 1 : minor ? 0.3 : many ? (delivered ? 0.4 : 0.15) : 0.9;
    pen.strokeStyle = delivered ? colorOf(sent.term) : colors.bad;
    pen.lineWidth = on ? 3 : many || minor ? 0.8 : 1.4;
    pen.setLineDash(isReply(sent) ? [4, 3] : []);
    pen.beginPath(); pen.moveTo(line.x1, line.y1); pen.lineTo(line.x2, line.y2); pen.stroke();
    pen.setLineDash([]);
    if (!many || on) {
      if (delivered) drawHead(line, sent.term, on);
      else text('✕', line.x2, line.y2, { align: 'center', color: colors.bad, weight: 700, size: 12 });
    }
    pen.globalAlpha = 1;
    painted.push({ x1: line.x1, y1: line.y1, x2: line.x2, y2: line.y2, reach: 5,
      event: delivered || sent, other: sent });
  }
  if (visible.length < 500) for (const line of visible) drawWord(line);
}
function drawGlow({ x1, y1, x2, y2 }) {
  pen.globalAlpha = 0.4; pen.strokeStyle = '#ffd23f'; pen.lineWidth = 7;
  pen.beginPath(); pen.moveTo(x1, y1); pen.lineTo(x2, y2); pen.stroke();
}
function drawHead({ x1, y1, x2, y2 }, term, on) {
  const angle = Math.atan2(y2 - y1, x2 - x1), size = on ? 9 : 7;
  // In front of the receiver's band, not under it.
  const back = Math.min(4 / Math.max(0.2, Math.abs(Math.sin(angle))), 12);
  const tipX = x2 - back * Math.cos(angle), tipY = y2 - back * Math.sin(angle);
  pen.fillStyle = colorOf(term);
  pen.beginPath(); pen.moveTo(tipX, tipY);
  pen.lineTo(tipX - size * Math.cos(angle - 0.4), tipY - size * Math.sin(angle - 0.4));
  pen.lineTo(tipX - size * Math.cos(angle + 0.4), tipY - size * Math.sin(angle + 0.4));
  pen.fill();
}
function drawWord(line) {
  const { sent, delivered } = line.arrow;
  if (!delivered || sent.minor) return;
  const dx = line.x2 - line.x1, dy = line.y2 - line.y1, length = Math.hypot(dx, dy);
  const value = word(sent);
  if (!value || length < value.length * 6.4 + 34) return;
  const angle = Math.atan2(dy, dx);
  const place = Math.max(0.5, 1 - (value.length * 3.2 + 20) / length);
  if (Math.abs(dx) < 12) return;
  pen.save();
  pen.translate(line.x1 + dx * place, line.y1 + dy * place);
  pen.rotate(Math.abs(angle) > Math.PI / 2 ? angle + Math.PI : angle);
  text(value, 0, -1, { align: 'center', size: 10.5, halo: colors.card, weight: 500,
    color: value === 'no' ? colors.bad : value === 'yes' ? colors.good : colors.text });
  pen.restore();
}

function drawCalls() {
  for (const { invoked, returned } of calls) {
    const row = view.rows[laneOf.get(invoked.node)];
    const from = x(at(invoked)), to = returned ? Math.max(x(at(returned)), from + 2) : view.width;
    if (!row || to < LEFT || from > view.width || !passes(invoked)) continue;
    const failed = returned && /^(Unavailable|Maybe|DeadlineExceeded|[A-Z]\w+: )/.test(returned.text);
    pen.fillStyle = failed || !returned ? colors['bad-back'] : colors.back;
    pen.strokeStyle = shown.hits.has(invoked.index) ? colors.path
      : failed || !returned ? colors.bad : colors.ok;
    pen.lineWidth = invoked === shown.selected ? 3 : 1;
    if (!returned) pen.setLineDash([5, 3]);
    pen.beginPath(); pen.roundRect(from, row.y - 10, to - from, 20, 4); pen.fill(); pen.stroke();
    pen.setLineDash([]);
    const answer = returned ? ` → ${returned.text}` : ' (no answer)';
    text(clipped(invoked.text + answer, Math.min(to, view.width) - Math.max(from, LEFT) - 8),
      Math.max(from, LEFT) + 5, row.y + 0.5);
    painted.push({ x1: from, y1: row.y, x2: to, y2: row.y, reach: 10, event: returned || invoked,
      other: invoked });
  }
}

// The log at the lane where it changes, as far as there is room before it changes again.
const CELL = 13;
function drawLogs() {
  for (const name of head.nodes) for (const group of groupsShown()) {
    if (groupsShown().length > 1 || view.rows[laneOf.get(name)].height < 50) return;
    const list = logs.get(name + ' ' + group) || [], y = yOf(name, group) - 25;
    for (let i = Math.max(0, firstVisible(list, view.start, log => log.begin) - 1);
         i < list.length && at(list[i].begin) <= view.end; i++) {
      const { begin, end, state } = list[i];
      const from = Math.max(x(at(begin)) + 7, LEFT), to = end ? x(at(end)) : view.width;
      const room = Math.floor((to - from - 4) / CELL), count = state.terms.length;
      const fits = count <= Math.min(room, 16) ? count : Math.min(room - 1, 6);
      if (!count || fits < 1 || room < 2) continue;
      let px = from;
      if (fits < count) { text('…', px, y + 6, { size: 11, color: colors.dim }); px += CELL; }
      for (let k = count - fits; k < count; k++, px += CELL) {
        const term = state.terms[k], index = state.last_index - count + 1 + k;
        const committed = index <= state.commit_index;
        pen.fillStyle = colors.card; pen.fillRect(px - 1, y - 1, CELL, 15);
        pen.globalAlpha = committed ? 1 : 0.25;
        pen.fillStyle = colorOf(term); pen.fillRect(px, y, CELL - 2, 13);
        pen.globalAlpha = 1;
        pen.strokeStyle = colorOf(term); pen.lineWidth = 1;
        pen.strokeRect(px + 0.5, y + 0.5, CELL - 3, 12);
        if (term) text(String(term), px + (CELL - 2) / 2, y + 7, { size: 9.5, weight: 650, align: 'center',
          color: committed ? inkOf(term) : colors.text });
        if (state.changes.includes(index)) {  // a configuration
          pen.fillStyle = colors.text; pen.fillRect(px, y - 3, CELL - 2, 2);
        }
      }
    }
  }
}

const GREAT = new Set(['role', 'died', 'started', 'members']);  // seen from afar
const SIGNS = { died: '✕', started: '▲', broken: '✸' };
function drawMarks() {
  const first = firstVisible(marked, view.start, event => event);
  const crowded = firstVisible(marked, view.end, event => event) - first > view.width / 2;
  for (let i = first; i < marked.length && at(marked[i]) <= view.end; i++) {
    const event = marked[i];
    if (!passes(event) || !laneOf.has(event.node)) continue;
    if (crowded && !GREAT.has(event.kind)) continue;
    const px = x(at(event)), y = yOf(event.node, event.group), on = event === shown.selected;
    if (event.kind === 'died' || event.kind === 'started')
      text(SIGNS[event.kind], px, y, { align: 'center', size: 13, weight: 700,
        color: event.kind === 'died' ? colors.bad : colors.good, halo: colors.card });
    else if (event.kind === 'members') {
      pen.beginPath(); pen.moveTo(px, y - 6); pen.lineTo(px + 6, y); pen.lineTo(px, y + 6);
      pen.lineTo(px - 6, y); pen.closePath();
      pen.fillStyle = colors.text; pen.fill(); pen.lineWidth = 1.5; pen.strokeStyle = colors.card;
      pen.stroke();
    } else {
      const big = event.kind === 'role' ? 4.5 : event.kind === 'vote' ? 3.5 : 2.5;
      pen.beginPath(); pen.arc(px, y, on ? big + 3 : big, 0, 7);
      pen.fillStyle = event.kind === 'role' ? colorOf(event.term) : colors.card;
      pen.fill(); pen.lineWidth = 1.5;
      pen.strokeStyle = event.kind === 'commit' ? colors.good : event.kind === 'role'
        ? colors.card : colors.text;
      pen.stroke();
    }
    painted.push({ x1: px, y1: y, x2: px, y2: y, reach: 7, event });
  }
}
function drawOver() {
  for (const event of events) if (event.kind === 'broken') {
    const px = x(at(event));
    pen.strokeStyle = colors.bad; pen.lineWidth = 2;
    pen.beginPath(); pen.moveTo(px, AXIS); pen.lineTo(px, view.height); pen.stroke();
    const left = px > view.width / 2;  // where there is more room
    text('✸ ' + clipped(event.text, 420), px + (left ? -6 : 6), view.height - 8,
      { align: left ? 'right' : 'left', color: colors.bad, weight: 600, halo: colors.card });
    painted.push({ x1: px, y1: AXIS, x2: px, y2: view.height, reach: 4, event });
  }
  for (const index of shown.hits) {
    const event = events[index];
    if (at(event) < view.start || at(event) > view.end || !laneOf.has(event.node)) continue;
    pen.globalAlpha = 0.55; pen.strokeStyle = '#ffd23f'; pen.lineWidth = 4;
    pen.beginPath(); pen.arc(x(at(event)), yOf(event.node, event.group), 9, 0, 7); pen.stroke();
    pen.globalAlpha = 1;
  }
  const event = shown.selected;
  if (event) {
    const px = x(at(event));
    pen.strokeStyle = colors.text; pen.lineWidth = 1; pen.globalAlpha = 0.55;
    pen.beginPath(); pen.moveTo(px, AXIS); pen.lineTo(px, view.height); pen.stroke();
    pen.globalAlpha = 1;
    if (laneOf.has(event.node)) {
      pen.strokeStyle = colors.text; pen.lineWidth = 2.5;
      pen.beginPath(); pen.arc(px, yOf(event.node, event.group), 9, 0, 7); pen.stroke();
    }
  }
  if (shown.cursor !== null && shown.cursor >= LEFT) {
    pen.strokeStyle = colors.path; pen.lineWidth = 1;
    pen.beginPath(); pen.moveTo(shown.cursor, AXIS); pen.lineTo(shown.cursor, view.height);
    pen.stroke();
  }
}
function drawNames() {
  pen.fillStyle = colors.card; pen.fillRect(0, view.top - 6, LEFT - 8, view.height);
  pen.strokeStyle = colors.line; pen.lineWidth = 1;
  pen.beginPath(); pen.moveTo(LEFT - 8.5, AXIS); pen.lineTo(LEFT - 8.5, view.height); pen.stroke();
  lanes.forEach((name, row) => {
    const place = view.rows[row], isNode = row < head.nodes.length;
    text(clipped(name, LEFT - 24, 13), 12, place.y, { size: isNode ? 14 : 12,
      weight: isNode ? 650 : 400, color: isNode ? colors.text : colors.dim });
    if (isNode && groupsShown().length > 1) for (const group of groupsShown())
      text('g' + group, LEFT - 16, yOf(name, group), { size: 9, align: 'right', color: colors.dim });
  });
}
function draw() {
  painted = [];
  drawGrid();
  pen.save(); pen.beginPath(); pen.rect(LEFT - 8, 0, view.width, view.height); pen.clip();
  drawFaults();
  const named = drawJoints(), labels = drawBands();
  drawArrows(); drawLogs(); drawCalls(); drawMarks(); drawLabels(labels);
  for (const [px, py] of named)
    text('C_old,new', px, py, { size: 10.5, weight: 650, halo: colors.card });
  drawOver();
  pen.restore();
  drawNames();
}

// What lies under the pointer: the nearest of what was painted, points before lines.
function under(px, py) {
  let best = null, least = Infinity;
  for (const mark of painted) {
    const dx = mark.x2 - mark.x1, dy = mark.y2 - mark.y1, long = dx * dx + dy * dy;
    const share = long ? Math.max(0, Math.min(1, ((px - mark.x1) * dx + (py - mark.y1) * dy) / long)) : 0;
    const far = Math.hypot(px - mark.x1 - share * dx, py - mark.y1 - share * dy);
    const weighed = far / mark.reach + (long ? 0.3 : 0);
    if (far <= mark.reach && weighed < least) { least = weighed; best = mark; }
  }
  return best && (best.other && Math.abs(px - best.x1) < Math.abs(px - best.x2) ? best.other : best.event);
}
