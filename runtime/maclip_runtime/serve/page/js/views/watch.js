// Watch: each source live, with its answer, the classes that fit best, its region and what happened.
import { get, put } from '../api.js';
import { ago, fill, h, svg, tone } from '../dom.js';
import { t } from '../i18n.js';
import { icon } from '../icons.js';
import { live } from '../live.js';
import { answerPill, attempt, bars, empty, eventLine, liveView, regionBox, sized } from '../ui.js';

const LANE_SECONDS = 120;
const MAX_LINES = 40;

export function watch(root) {
  const cards = new Map();
  const grid = h('div.sources', {});
  const lines = h('div.events', {});
  fill(root,
    h('h1', {}, t('nav.watch')), grid,
    h('section.card', { 'aria-label': t('watch.events') }, h('h2', {}, t('watch.events')), lines));

  function state({ sources }) {
    if (!live.known) return void fill(grid, empty(t('watch.loading')));
    if (!sources.length) {
      fill(grid, empty(t('watch.nothing'), h('code', {}, 'maclip-run serve --source door=rtsp://…')));
      return;
    }
    if (!cards.size) fill(grid);
    for (const source of sources) {
      if (!cards.has(source.name)) {
        const card = new Card(source);
        cards.set(source.name, card);
        grid.append(card.element);
      }
      cards.get(source.name).update(source);
    }
  }

  const drawn = new Map(); // the articles by their event's id, and what they show

  function events() {
    const shown = live.events.slice(0, MAX_LINES);
    if (!shown.length) return void fill(lines, empty(t('watch.quiet')));
    if (!drawn.size) fill(lines);
    shown.forEach((event, place) => {
      const known = drawn.get(event.id);
      const shows = JSON.stringify([event.kind, event.label, event.withdrawn, Math.round(event.end_s)]);
      if (known?.shows !== shows) {
        const made = article(event);
        if (known) known.element.replaceWith(made);
        drawn.set(event.id, { element: made, shows });
      }
      const { element } = drawn.get(event.id);
      if (lines.children[place] !== element) lines.insertBefore(element, lines.children[place] || null);
    });
    while (lines.children.length > shown.length) lines.lastElementChild.remove();
    const ids = new Set(shown.map((one) => one.id));
    for (const id of drawn.keys()) if (!ids.has(id)) drawn.delete(id);
  }

  get('events', { limit: 200 }).then((page) => {
    const known = new Set(live.events.map((one) => one.id));
    live.events = [...live.events, ...page.items.filter((one) => !known.has(one.id))];
    events();
  }).catch(() => {});
  const off = [live.on('state', state), live.on('event', events)];
  const timer = setInterval(() => cards.forEach((card) => card.lane()), 1000);
  state(live.state);
  events();
  return () => {
    off.forEach((one) => one());
    clearInterval(timer);
    cards.forEach((card) => card.stop());
  };
}

function article(event) {
  const strip = event.strip && event.kind === 'end'
    ? h('a', { href: `/api/events/${event.id}/clip.mp4`, target: '_blank', title: t('event.clip') },
      stripOf(event))
    : null;
  return h('article', {}, strip,
    h('div.row', {}, eventLine(event), h('span.grow', {}), h('span.muted', {}, event.source),
      h('a.button.quiet', { href: `#/why/event/${event.id}` }, icon('why'), t('nav.why'))));
}

const STRIP_TRIES = 3;
const STRIP_MS = 2500;

/** The strip of an event, once it is there: it is written a moment after the event has ended. */
function stripOf(event) {
  const image = h('img.strip', { alt: t('event.strip'), hidden: true });
  let tries = 0;
  const ask = () => {
    tries += 1;
    image.src = `/api/events/${event.id}/strip.jpg?${tries}`;
  };
  image.onload = () => { image.hidden = false; };
  image.onerror = () => { if (tries < STRIP_TRIES) setTimeout(ask, STRIP_MS); };
  const fresh = event.at && Date.now() / 1000 - event.at < 4;
  setTimeout(ask, fresh ? STRIP_MS : 0);
  return image;
}

class Card {
  constructor(source) {
    this.name = source.name;
    const { canvas, stop } = liveView(source.name, t('watch.picture', { name: source.name }));
    this.stop = stop;
    this.canvas = canvas;
    this.overlay = h('div.overlay', {});
    this.head = h('div.headline', { 'aria-live': 'polite' });
    this.bars = h('div', {});
    this.badge = h('span.state', {});
    this.facts = h('span.muted.facts', {});
    this.problem = h('p.problem', { role: 'status' });
    this.strip = svg('svg.lane', { viewBox: `0 0 ${LANE_SECONDS} 16`, preserveAspectRatio: 'none', role: 'img', 'aria-label': t('watch.lane') });
    this.draw = h('button.quiet', { 'aria-pressed': 'false', onclick: () => this.#drawing(!this.drawing) }, icon('region'), t('watch.region'));
    this.whole = h('button.quiet', { onclick: () => this.#region(null) }, t('watch.whole'));
    this.picture = h('div.picture', {}, canvas, this.overlay, this.head);
    this.element = h('article.card.source', { 'aria-label': source.name },
      h('div.row', {}, h('h2', {}, source.name), this.badge, h('span.grow', {}), this.facts),
      h('div.well', {}, this.picture), this.problem, this.strip, this.bars,
      h('div.row.actions', {}, this.draw, this.whole, h('span.grow', {}),
        h('a.button.primary', { href: `#/teach/${encodeURIComponent(source.name)}` }, icon('teach'), t('watch.teach'))));
    this.#pointer();
  }

  update(source) {
    this.source = source;
    this.badge.className = `state ${source.state}`;
    this.badge.textContent = t(`state.${source.state}`);
    const running = source.state === 'running';
    this.element.classList.toggle('away', !running);
    this.problem.textContent = running || !source.problem ? '' : `${source.problem} (${ago(source.since_at)})`;
    this.facts.textContent = [
      `${source.rate.toFixed(0)} ${t('unit.fps')}`,
      source.latency_ms === null ? '' : t('watch.latency', { ms: Math.round(source.latency_ms) }),
    ].filter(Boolean).join(' · ');
    const answer = JSON.stringify([source.answer, source.bars]);
    if (answer !== this.answer) {
      this.answer = answer;
      fill(this.head, answerPill(source.answer));
      fill(this.bars, source.bars.length ? bars(source.bars) : empty(t('watch.untaught')));
    }
    const region = JSON.stringify(source.region);
    if (region !== this.region && !this.drawing) {
      this.region = region;
      fill(this.overlay, regionBox(source.region));
    }
    this.whole.hidden = !source.region;
    if (source.width && !this.canvas.classList.contains('drawn')) {
      sized(this.canvas, source.width, source.height);
    }
  }

  /** The events of the last two minutes. */
  lane() {
    const now = Date.now() / 1000;
    const blocks = live.events.filter((one) => one.source === this.name && one.started_at).map((one) => {
      const end = one.kind === 'end' ? one.ended_at : now;
      const x = Math.max(0, LANE_SECONDS - (now - one.started_at));
      const width = LANE_SECONDS - (now - end) - x;
      if (width <= 0) return null;
      const known = !one.reason;
      return svg('rect', { x, width: Math.max(width, 0.6), y: known ? 2 : 6, height: known ? 12 : 4, rx: 1, fill: tone(one.label), opacity: one.withdrawn ? 0.3 : 1 },
        svg('title', {}, one.label));
    });
    fill(this.strip, svg('line', { x1: 0, x2: LANE_SECONDS, y1: 8, y2: 8 }), blocks);
  }

  #drawing(on) {
    this.drawing = on;
    this.draw.setAttribute('aria-pressed', String(on));
    this.picture.classList.toggle('drawing', on);
    this.problem.textContent = on ? t('watch.region.how') : '';
    if (!on) this.region = null;
  }

  #pointer() {
    const at = (event) => {
      const box = this.picture.getBoundingClientRect();
      const within = (value) => Math.min(1, Math.max(0, value));
      return [within((event.clientX - box.left) / box.width), within((event.clientY - box.top) / box.height)];
    };
    let from = null;
    let region = null;
    this.picture.addEventListener('pointerdown', (event) => {
      if (!this.drawing) return;
      event.preventDefault();
      from = at(event);
      this.picture.setPointerCapture(event.pointerId);
    });
    this.picture.addEventListener('pointermove', (event) => {
      if (!from) return;
      const [x, y] = at(event);
      region = { x: Math.min(x, from[0]), y: Math.min(y, from[1]), width: Math.abs(x - from[0]), height: Math.abs(y - from[1]) };
      fill(this.overlay, regionBox(region));
    });
    this.picture.addEventListener('pointerup', () => {
      from = null;
      if (region && region.width > 0.05 && region.height > 0.05) this.#region(region);
      region = null;
    });
  }

  async #region(region) {
    const rounded = region && Object.fromEntries(Object.entries(region).map(([key, value]) => [key, Math.round(value * 1000) / 1000]));
    await attempt(() => put('source/region', rounded, { source: this.name }));
    this.#drawing(false);
  }
}
