// What is said in words: the state of all nodes at a moment, the chosen event, its source.

const $ = id => document.getElementById(id);
const COLUMNS = 28;
function make(tag, className, content, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (content !== undefined && content !== null) element.textContent = content;
  element.append(...children);
  return element;
}
function pill(term) {
  const element = make('span', 'pill', 'T' + term);
  element.style.background = colorOf(term);
  element.style.color = inkOf(term);
  return element;
}

function showStates(index) {
  const table = make('table', 'states');
  for (const group of groupsShown()) {
    const rows = head.nodes.map(name => ({ name, found: stateAt(name, group, index) }));
    const full = ({ found }) => found && (found.state === 'down' ? found.last : found.state);
    const lasts = rows.map(full).filter(Boolean).map(state => state.last_index || 0);
    const top = Math.max(0, ...lasts), low = Math.max(1, top - COLUMNS + 1);
    table.append(titles(group, low, top));
    for (const row of rows) table.append(stateRow(row, full(row), low, top));
  }
  $('states').replaceChildren(table);
}
function titles(group, low, top) {
  const line = make('tr'), ruler = make('span', 'cells ruler');
  for (let i = low; i <= top; i++) ruler.append(make('span', 'cell', i));
  const first = groupsShown().length > 1 ? 'group ' + group : 'node';
  const names = [first, 'role', 'term', ...votesKnown ? ['vote'] : [], ...membersChange ? ['obeys'] : [],
    'log'];
  for (const title of names) line.append(make('th', null, title));
  if (top) line.lastChild.replaceChildren(ruler);
  return line;
}
function stateRow({ name, found }, state, low, top) {
  const down = found && found.state === 'down', line = make('tr', down ? 'down' : '');
  line.dataset.node = name;
  line.append(make('td', 'who', name));
  if (!state || typeof state === 'string') {
    line.append(make('td', 'role', !found ? 'not yet seen' : down ? 'down' : 'starting'),
      make('td'), ...votesKnown ? [make('td')] : [], ...membersChange ? [make('td')] : [], make('td'));
    return line;
  }
  const role = down ? 'down' : state.role;
  line.append(make('td', 'role ' + role, role), make('td', null, null, pill(state.term)),
    ...votesKnown ? [make('td', null, state.voted_for || '–')] : [],
    ...membersChange ? [make('td', state.joint ? 'joint' : 'members', state.members)] : [],
    make('td', null, null, cells(state, low, top)));
  return line;
}
function cells(state, low, top) {
  const list = make('span', 'cells'), first = state.last_index - state.terms.length + 1;
  list.setAttribute('aria-label', `log up to entry ${state.last_index}, committed up to `
    + `${state.commit_index}; terms ${state.terms.join(' ')}`);
  for (let i = low; i <= top; i++) {
    const term = i >= first && i <= state.last_index ? state.terms[i - first] : undefined;
    const cell = make('span', 'cell', term || '');
    if (term !== undefined) {
      cell.style.setProperty('--term', colorOf(term));
      cell.style.setProperty('--ink', inkOf(term));
      cell.classList.add('entry', i <= state.commit_index ? 'committed' : 'open');
      if (i > state.durable_index) cell.classList.add('unsynced');
      if (state.changes.includes(i)) cell.classList.add('change');
      cell.title = `entry ${i}${term ? `, term ${term}` : ''}${state.changes.includes(i) ? ', a configuration' : ''}: ` + (i <= state.commit_index ? 'known to be committed'
        : 'not known to be committed') + (i > state.durable_index ? ', not yet on the disk' : '');
    } else if (i < first && i <= state.last_index) { cell.textContent = '·'; cell.classList.add('cut'); }
    list.append(cell);
  }
  return list;
}

// Prose: what is set in columns stays so.
function prose(text) {
  const parts = [];
  for (const line of text.split('\n')) {
    const columns = (line.match(/\S {2,}(?=\S)/g) || []).length >= 3 || /(\d +){5}/.test(line);
    const last = parts.at(-1);
    if (!line.trim()) parts.push({ columns: null, lines: [] });
    else if (last && last.columns === columns) last.lines.push(line);
    else parts.push({ columns, lines: [line] });
  }
  return parts.filter(part => part.lines.length).map(part => part.columns
    ? make('pre', null, part.lines.join('\n'))
    : make('p', null, part.lines.map(line => line.trim()).join(' ').replace(/ +/g, ' ')));
}
function chapterAt(index) {
  let found = -1;
  chapters.forEach((chapter, number) => { if (chapter.index <= index) found = number; });
  return found;
}
let chapterShown = null;
function showChapter(index) {
  if (!chapters.length) return;
  const number = Math.max(0, chapterAt(index));
  if (number === chapterShown) return;
  chapterShown = number;
  $('chapter-number').textContent = `${number + 1} of ${chapters.length}`;
  $('chapter-text').replaceChildren(...prose(chapters[number].text));
}

const PAPERS = [[/thesis/, 'Ongaro\'s thesis', run.thesis], [/§|figure/, 'the Raft paper', run.paper]];
function showEvent(event) {
  const box = $('event');
  if (!event) return;
  const pair = event.arrow && (ends.get(event.arrow) === event ? begins.get(event.arrow)
    : ends.get(event.arrow));
  const facts = [make('p', 'what', sentence(event)), make('p', 'dim', time(event.time_ms))];
  if (event.kind === 'sent' && !pair) facts.push(make('p', 'bad', 'It never arrives.'));
  if (event.kind === 'invoked' && !pair) facts.push(make('p', 'bad', 'It is never answered.'));
  if (pair) {
    const button = make('button', 'link', (pair.index > event.index ? 'then: ' : 'before: ')
      + sentence(pair));
    button.onclick = () => choose(pair, true);
    facts.push(button);
  }
  const source = sources[event.source || (begins.get(event.arrow) || {}).source];
  if (source) facts.push(...sourceOf(source));
  box.replaceChildren(...facts);
  showAround(event);
}
function sourceOf(source) {
  const details = make('details', 'source');
  details.open = showEvent.open !== false;
  details.ontoggle = () => { showEvent.open = details.open; };
  details.append(make('summary', null, null,
    make('code', null, `${source.file}:${source.line}`), make('span', 'dim', '  ' + source.function)));
  const code = make('pre', 'code');
  source.text.split('\n').forEach((line, number) => {
    const row = make('span', source.first_line + number === source.line ? 'row here' : 'row');
    row.append(make('i', null, source.first_line + number), line || ' ');
    code.append(row);
  });
  details.append(code);
  if (!source.section) return [details];
  const paper = make('p', 'section', null, make('span', null, source.section + ' — '));
  const own = source.section.replace(/thesis §[\d.]+/g, 'thesis');
  PAPERS.filter(([pattern]) => pattern.test(own)).forEach(([, title, address], i) => {
    if (i) paper.append(', ');
    const link = make('a', null, title);
    link.href = address; link.target = '_blank'; link.rel = 'noreferrer noopener';
    paper.append(link);
  });
  setTimeout(() => { const here = code.querySelector('.here');
    if (here) code.scrollTop = here.offsetTop - code.offsetTop - code.clientHeight / 2; });
  return [paper, details];
}
function showAround(event) {
  const list = make('ol', 'around');
  const before = [], after = [];
  for (let i = event.index - 1; i >= 0 && before.length < 6; i--)
    if (passes(events[i])) before.unshift(events[i]);
  for (let i = event.index; i < events.length && after.length < 16; i++)
    if (passes(events[i])) after.push(events[i]);
  for (const other of [...before, ...after]) {
    const button = make('button', other === event ? 'link here' : 'link', sentence(other));
    if (other === event) button.setAttribute('aria-current', 'true');
    button.onclick = () => choose(other, true);
    list.append(make('li', null, null, make('span', 'dim', isStory ? other.time_ms
      : (other.time_ms / 1000).toFixed(3)), button));
  }
  $('around').replaceChildren(list);
}
function showLegend() {
  const box = $('legend');
  const shownTerms = terms.length > 16 ? [...terms.slice(0, 8), ...terms.slice(-8)] : terms;
  for (const term of shownTerms) if (term) box.append(pill(term), ' ');
  const keys = [['leader', 'leader'], ['candidate', 'candidate, pre-candidate'],
    ['follower', 'follower'], ['lost', 'lost'], ['reply', 'reply']];
  if (joints.length) keys.push(['hatched', 'C_old,new: a majority of each']);
  if (membersChange) keys.push(['diamond', 'another configuration']);
  for (const [name, title] of keys) box.append(make('span', 'key', null, make('i', name), title));
}
