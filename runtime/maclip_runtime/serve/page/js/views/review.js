// Review: windows without a sure answer; one key gives one or several of them a class.
import { get, post } from '../api.js';
import { ago, calmly, fill, h, tone, two } from '../dom.js';
import { t } from '../i18n.js';
import { icon } from '../icons.js';
import { live } from '../live.js';
import { Player } from '../player.js';
import { attempt, empty, nameField, newest, part, taught, toast } from '../ui.js';

const PAGE = 30;
const KEYS = '123456789';

export function review(root) {
  const filter = { source: '', kind: '', nearest: '', max_match: '', since: '', state: '' };
  let items = [];
  let total = 0;
  let at = 0;
  let classes = [];
  let player = null;
  const chosen = new Set();
  const list = h('div.tiles', { role: 'listbox', 'aria-label': t('nav.review'), 'aria-multiselectable': 'true', tabindex: '-1' });
  const more = h('button', { onclick: () => load(true), hidden: true }, t('more'));
  const detail = h('aside.card.detail', { 'aria-label': t('review.detail') });
  const keys = h('div.keys', { role: 'toolbar', 'aria-label': t('review.assign') });
  const count = h('span.count', {});
  const named = h('span.named', {});
  const field = nameField();  // made once: classes change while somebody types a name
  const filters = h('div.row.filters', {});
  const fresh = h('button.quiet', { hidden: true, onclick: () => load() }, t('review.fresh'));

  fill(root, h('div.row', {}, h('h1', {}, t('nav.review')), h('span.grow', {}), fresh),
    h('p.lead', {}, t('review.lead')), filters,
    h('div.columns.wide', {}, h('section', {}, list, more), detail), keys);

  const windows = newest((query) => attempt(() => get('windows', query)));
  const names = newest(() => get('classes', { limit: 200 }).catch(() => ({ items: [] })));

  async function load(further = false) {
    const since = filter.since ? Date.now() / 1000 - Number(filter.since) : '';
    const page = await windows({ ...filter, since, ...part(items.length, further, PAGE) });
    if (!page) return;
    const before = items[at]?.id;
    items = further ? [...items, ...page.items] : page.items;
    total = page.total;
    for (const id of chosen) if (!items.some((one) => one.id === id)) chosen.delete(id);
    at = Math.max(0, items.findIndex((one) => one.id === before));
    fresh.hidden = true;
    draw();
  }

  async function loadClasses() {
    const page = await names();
    if (!page) return;
    const used = JSON.parse(localStorage.getItem('maclip.used') || '[]');
    const rank = (name) => (used.includes(name) ? used.indexOf(name) : 1000);
    classes = page.items.map((one) => one.name).sort((one, other) => rank(one) - rank(other));
    drawKeys();
    drawFilters();
  }

  function drawFilters() {
    const select = (key, label, options) => h('label', {}, h('span', {}, label),
      h('select', { onchange: (event) => { filter[key] = event.target.value; load(); } },
        h('option', { value: '' }, t(key === 'state' ? 'review.open' : 'review.all')),
        options.map(([value, words]) => h('option', { value, selected: filter[key] === value }, words))));
    fill(filters,
      select('source', t('review.source'), live.state.sources.map((one) => [one.name, one.name])),
      select('kind', t('review.kind'), ['unknown', 'uncertain', 'near'].map((one) => [one, t(`review.${one}`)])),
      select('nearest', t('review.nearest'), classes.map((one) => [one, one])),
      select('since', t('review.since'), [['60', t('review.minute')], ['600', t('review.ten')], ['3600', t('review.hour')]]),
      select('state', t('review.state'), [['settled', t('review.settled')], ['done', t('review.done')]]),
      select('max_match', t('review.match'), [['0.1', '≤ 0.10'], ['0.3', '≤ 0.30'], ['0.5', '≤ 0.50']]));
  }

  function draw() {
    more.hidden = items.length >= total;
    if (!items.length) {
      fill(list, empty(t('review.empty')));
      fill(detail);
      detail.hidden = true;
      return;
    }
    detail.hidden = false;
    fill(list, items.map((one, place) => tile(one, place)));
    focus(at, false);
  }

  function tile(one, place) {
    const settled = filter.state === 'settled';
    return h('div.tile', {
      role: 'option', id: `tile-${one.id}`, 'aria-selected': String(chosen.has(one.id)),
      'aria-label': `${one.source}, ${t('ago', { time: ago(one.at) })}, ${t('review.nearest')} ${one.now.nearest}, ${two(one.now.match)}`,
      onclick: (event) => {
        focus(place);
        if (event.ctrlKey || event.metaKey || event.target.closest('.pick')) toggle(place);
      },
      ondblclick: () => { location.hash = `#/why/window/${one.id}`; },
    },
      h('img', { src: `/api/windows/${one.id}/strip.jpg`, alt: '', loading: 'lazy' }),
      h('div.row', {},
        h('span.pick', { 'aria-hidden': 'true' }, icon('check')),
        h('i.dot', { style: { '--tone': tone(one.now.nearest) } }),
        h('span.what', {}, one.now.reason === 'empty' ? t('review.untaught') : one.now.nearest),
        settled ? h('span.tag.good', {}, t('review.settled')) : null,
        h('span.grow', {}), h('b', {}, two(one.now.match)),
        h('span.muted', {}, t('ago', { time: ago(one.at) }))));
  }

  function focus(place, scroll = true) {
    if (!items.length) return;
    const before = items[at]?.id;
    at = Math.min(items.length - 1, Math.max(0, place));
    const one = items[at];
    for (const element of list.children) element.classList.toggle('here', element.id === `tile-${one.id}`);
    list.setAttribute('aria-activedescendant', `tile-${one.id}`);
    if (scroll) document.getElementById(`tile-${one.id}`)?.scrollIntoView({ block: 'nearest' });
    if (before === one.id && player && detail.dataset.id === String(one.id)) return;
    detail.dataset.id = one.id;
    player?.stop();
    player = new Player(one.frames, one.duration_s, (number) => `/api/windows/${one.id}/frames/${number}.jpg`);
    fill(detail, player.element,
      h('p', {}, t(`review.${one.kind}`), ' · ', one.source, ' · ', t('ago', { time: ago(one.at) })),
      h('p.muted', {}, t('review.nearest'), ' ', h('b', {}, one.now.nearest), ` · ${t('match')} ${two(one.now.match)}`),
      h('a.button', { href: `#/why/window/${one.id}` }, icon('why'), t('nav.why')));
  }

  function toggle(place) {
    const id = items[place].id;
    if (!chosen.delete(id)) chosen.add(id);
    document.getElementById(`tile-${id}`)?.setAttribute('aria-selected', String(chosen.has(id)));
    drawKeys();
  }

  const button = (key, label, call, symbol, color) => h('button', { onclick: call, 'aria-keyshortcuts': key },
    h('kbd', {}, key.toUpperCase()), symbol ? icon(symbol) : h('i.dot', { style: { '--tone': color } }), h('span', {}, label));

  function makeKeys() {
    const form = h('form.row', { onsubmit: (event) => { event.preventDefault(); if (field.input.value.trim()) assign(field.input.value.trim()); } },
      field.element, h('button.icon-only', { 'aria-label': t('review.assign'), title: t('review.assign') }, icon('plus')));
    field.input.setAttribute('aria-label', t('review.new'));
    field.input.placeholder = t('review.new');
    fill(keys, count, named, form, button('n', t('teach.none'), () => assign(null), 'none'), button('s', t('review.skip'), skip, 'skip'));
  }

  function drawKeys() {
    count.textContent = chosen.size ? t('review.chosen', { n: chosen.size }) : t('review.this');
    fill(named, classes.slice(0, KEYS.length).map((name, place) => button(KEYS[place], name, () => assign(name), null, tone(name))));
  }

  const targets = () => (chosen.size ? [...chosen] : items.length ? [items[at].id] : []);

  async function assign(name) {
    const ids = targets();
    if (!ids.length) {
      toast(t('review.empty'), { kind: 'warn' });
      return;
    }
    const send = (force) => post('windows/assign', { ids, name, force });
    let done;
    try {
      done = await send(false);
    } catch (error) {
      const words = error.rejections?.flatMap((one) => one.reasons.map((why) => t(`quality.${why.code}`)));
      const text = words?.length ? t('review.refused', { why: [...new Set(words)].join(', ') }) : error.message;
      const anyway = words?.length && name ? { action: async () => { const found = await attempt(() => send(true)); if (found) after(ids, name, found); }, label: t('teach.anyway') } : {};
      toast(text, { kind: 'bad', ...anyway });
      return;
    }
    after(ids, name, done);
  }

  function after(ids, name, done) {
    if (name) {
      const used = JSON.parse(localStorage.getItem('maclip.used') || '[]');
      localStorage.setItem('maclip.used', JSON.stringify([name, ...used.filter((one) => one !== name)].slice(0, 9)));
    }
    if (field.input.value.trim() === name) field.input.value = '';
    taught(name ? t('review.assigned', { n: done.added, name }) : t('review.assigned.none', { n: done.added }));
    if (done.left_out.length) toast(t('review.copies', { n: done.left_out.length }), { kind: 'warn' });
    gone(ids);
    loadClasses();
  }

  async function skip() {
    const ids = targets();
    if (!ids.length || !(await attempt(() => post('windows/skip', { ids })))) return;
    gone(ids);
  }

  function gone(ids) {
    items = items.filter((one) => !ids.includes(one.id));
    total -= ids.length;
    chosen.clear();
    at = Math.min(at, Math.max(0, items.length - 1));
    drawKeys();
    draw();
    load();  // also so that an answer on its way, which still has them, no longer counts
  }

  function press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest('input, select, textarea, dialog')) return;
    const across = Math.max(1, Math.round(list.clientWidth / (list.firstElementChild?.offsetWidth || list.clientWidth)));
    const calls = {
      ArrowRight: () => focus(at + 1), ArrowLeft: () => focus(at - 1), j: () => focus(at + 1), k: () => focus(at - 1),
      ArrowDown: () => focus(at + across), ArrowUp: () => focus(at - across),
      ' ': () => items.length && toggle(at), n: () => assign(null), s: skip,
      a: () => { items.forEach((one) => chosen.add(one.id)); draw(); drawKeys(); },
      Escape: () => { chosen.clear(); draw(); drawKeys(); },
      Enter: () => items.length && !event.target.closest('button, a') && (location.hash = `#/why/window/${items[at].id}`),
      '[': () => player?.step(-1), ']': () => player?.step(1), p: () => player?.toggle(), '+': () => player?.faster(1), '-': () => player?.faster(-1),
    };
    if (event.key === ' ' && event.target.closest('button, a')) return;
    const number = KEYS.indexOf(event.key);
    if (number >= 0 && event.key && classes[number]) assign(classes[number]);
    else if (calls[event.key]) calls[event.key]();
    else return;
    event.preventDefault();
  }

  const noticed = calmly(() => { fresh.hidden = live.state.review <= total; }, 800);
  document.addEventListener('keydown', press);
  const off = [live.on('state', noticed), live.on('gallery', calmly(() => { load(); loadClasses(); }, 300)), live.on('undone', () => load())];
  makeKeys();
  drawKeys();
  drawFilters();
  loadClasses();
  load();
  return () => {
    document.removeEventListener('keydown', press);
    off.forEach((one) => one());
    player?.stop();
  };
}
