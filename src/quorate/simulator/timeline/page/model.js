// The run as it was recorded, and what is asked of it: lanes, arrows, states, spans.

const run = JSON.parse(document.getElementById('run').textContent);
const head = run.head, events = run.events, sources = run.sources;
const lanes = [...head.nodes, ...head.clients];
const laneOf = new Map(lanes.map((name, row) => [name, row]));
const isStory = head.unit === 'step';

events.forEach((event, index) => { event.index = index; event.group = event.group || 0; });

// Two events with one arrow: where it begins and where it ends.
const begins = new Map(), ends = new Map();
const BEGIN = new Set(['sent', 'invoked', 'fault']), END = new Set(['delivered', 'returned', 'healed']);
for (const event of events) {
  if (!event.arrow) continue;
  if (BEGIN.has(event.kind)) begins.set(event.arrow, event);
  else if (END.has(event.kind)) {
    const begin = begins.get(event.arrow);
    if (!ends.has(event.arrow)) ends.set(event.arrow, event);
    if (begin && event.kind === 'delivered')  // what is said twice was written once
      for (const fact of ['text', 'message', 'term']) if (event[fact] === undefined)
        event[fact] = begin[fact];
    if (begin && event.kind === 'delivered') event.peer = begin.node;
  }
}

// Positions: by the clock, or one after the other.
const moments = [];
for (const event of events) {
  if (!moments.length || moments[moments.length - 1] !== event.time_ms) moments.push(event.time_ms);
  event.even = moments.length - 1;
}
let evenly = Boolean(head.evenly);
const at = event => evenly ? event.even : event.time_ms;
const lowest = () => evenly ? 0 : (moments[0] || 0);
const highest = () => evenly ? Math.max(1, moments.length - 1) : (moments[moments.length - 1] || 1);

// What a replica is, from event to event.
const lives = new Map();  // "node group" -> [{index, state}], state also 'down' or 'starting'
function life(node, group) {
  const key = node + ' ' + group;
  if (!lives.has(key)) lives.set(key, []);
  return lives.get(key);
}
for (const event of events) {
  const ofGroups = event.group ? [event.group] : head.groups;
  if (event.state) {
    const state = Object.assign({ voted_for: '', leader: '', last_index: 0, durable_index: 0,
      commit_index: 0, terms: [], members: '', joint: false, changes: [] }, event.state);
    life(event.node, event.group).push({ index: event.index, state });
  } else if (event.kind === 'died')
    for (const group of ofGroups) {
      const before = life(event.node, group).at(-1);
      life(event.node, group).push({ index: event.index, state: 'down', last: before && before.state });
    }
  else if (event.kind === 'started')
    for (const group of ofGroups) life(event.node, group).push({ index: event.index, state: 'starting' });
}
function stateAt(node, group, index) {
  const list = lives.get(node + ' ' + group) || [];
  let low = 0, high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (list[middle].index <= index) low = middle + 1; else high = middle;
  }
  return low ? list[low - 1] : null;
}

// Stretches of one role in one term.
const spans = new Map();
for (const [key, list] of lives) {
  const found = [];
  for (const { index, state } of list) {
    const role = typeof state === 'string' ? state : state.role;
    const term = typeof state === 'string' ? 0 : state.term;
    const last = found.at(-1);
    if (last && last.role === role && last.term === term) continue;
    if (last) last.end = events[index];
    found.push({ begin: events[index], end: null, role, term });
  }
  spans.set(key, found);
}
// Stretches in which a joint configuration is obeyed; and whether any other than one ever was.
const joints = [], memberships = new Set();
for (const [key, list] of lives) {
  const [node, group] = [key.slice(0, key.lastIndexOf(' ')), Number(key.slice(key.lastIndexOf(' ') + 1))];
  let open = null;
  for (const { index, state } of list) {
    if (state.members) memberships.add(state.members);
    const joint = Boolean(state.joint);
    if (open && !joint) { open.end = events[index]; open = null; }
    else if (!open && joint) joints.push(open = { node, group, begin: events[index], end: null });
  }
}
const membersChange = memberships.size > 1;
const votesKnown = [...lives.values()].flat().some(({ state }) => state.voted_for);
// Where a log, or what of it is committed, becomes another.
const logs = new Map();
for (const [key, list] of lives) {
  const found = [];
  for (const { index, state } of list) {
    if (typeof state === 'string') { if (found.length) found.at(-1).end ||= events[index]; continue; }
    const last = found.at(-1), as = state.terms.join() + '/' + state.last_index + '/' + state.commit_index;
    if (last && last.as === as && !last.end) continue;
    if (last) last.end ||= events[index];
    found.push({ begin: events[index], end: null, as, state });
  }
  logs.set(key, found);
}
const terms = [...new Set([...lives.values()].flat().flatMap(({ state }) =>
  typeof state === 'string' ? [] : [state.term, ...state.terms]))].sort((a, b) => a - b);
const arrows = events.filter(event => event.kind === 'sent').map(sent => ({
  sent, delivered: ends.get(sent.arrow) || null }));
// In a story all that is said at one moment would lie on one line: it leaves one after the other,
// and before the half of its way is over.
if (isStory) {
  let last = null, count = 0;
  for (const { sent, delivered } of arrows) {
    count = last && last.node === sent.node && last.time_ms === sent.time_ms ? count + 1 : 0;
    sent.later = delivered ? Math.min(0.45 * count, 0.5 * (delivered.even - sent.even)) : 0.22 * count;
    last = sent;
  }
}
const calls = events.filter(event => event.kind === 'invoked').map(invoked => ({
  invoked, returned: ends.get(invoked.arrow) || null }));
const faults = events.filter(event => event.kind === 'fault').map(begin => ({
  begin, end: ends.get(begin.arrow) || null }));
const chapters = events.filter(event => event.kind === 'note');
const MARKED = new Set(['role', 'vote', 'commit', 'members', 'died', 'started', 'step', 'called', 'answered', 'restored']);
const marked = events.filter(event => MARKED.has(event.kind) && !event.minor);

// In words.
const time = ms => isStory ? 'moment ' + ms : (ms / 1000).toFixed(4) + ' s';
function sentence(event) {
  const group = head.groups.length > 1 && event.group ? ' (group ' + event.group + ')' : '';
  const term = event.term ? ', term ' + event.term : '';
  switch (event.kind) {
    case 'sent': return `${event.node} sends ${event.peer} ${event.message}${term}: ${event.text}${group}`;
    case 'delivered':
      return `${event.node} receives ${event.message} of ${event.peer}${term}: ${event.text}${group}`;
    case 'fault': return 'fault: ' + event.text;
    case 'healed': return 'over: ' + ((begins.get(event.arrow) || {}).text || 'a fault');
    case 'invoked': return `${event.node} asks: ${event.text}${group}`;
    case 'returned': return `${event.node} is told: ${event.text}${group}`;
    case 'broken': return 'BROKEN: ' + event.text;
    case 'note': {
      const line = event.text.replace(/\s+/g, ' ').trim();
      return 'story: ' + (line.length > 60 ? line.slice(0, 59) + '…' : line);
    }
    case 'step': return `${event.node}, ${event.source}: ${event.text}${group}`;
    default: return `${event.node} ${event.text}${group}`;
  }
}
const blob = event => event.blob || (event.blob =
  `${event.kind} ${sentence(event)} term ${event.term || ''}`.toLowerCase());

const isReply = event => /reply$/i.test(event.message);

// The short word that an arrow carries.
function word(event) {
  const text = event.text;
  switch (event.message) {
    case 'PreVoteRequest': return 'pre-vote?';
    case 'VoteRequest': return 'vote?';
    case 'PreVoteReply': case 'VoteReply': return text === 'granted' ? 'yes' : 'no';
    case 'AppendRequest': {
      const found = /entries (.*?) {2}commit/.exec(text);
      if (!found || found[1] === 'none') return '';
      const list = found[1].replace(/ no-op/g, '').replace(/\d+:\d+ (C_\S+)/g, '$1').split(' ');
      return list.length > 2 ? list[0] + ' … ' + list.at(-1) : list.join(' ');
    }
    case 'AppendReply': {
      const found = /accepted up to (\d+)/.exec(text);
      return found ? 'has ' + found[1] : 'no';
    }
    default:  // a learner's own
      if (!isReply(event)) return event.message;
      return /=False\b/.test(text) ? 'no' : /=True\b/.test(text) ? 'yes' : '';
  }
}
