// The frame of the page: navigation, who is logged in, language, theme; each view is a module of its own.
import { get, onLocked, post } from './api.js';
import { fill, h } from './dom.js';
import { choose, language, languages, load, t } from './i18n.js';
import { icon } from './icons.js';
import { live } from './live.js';
import { change, undo } from './ui.js';
import { calibrate } from './views/calibrate.js';
import { gallery } from './views/gallery.js';
import { health } from './views/health.js';
import { login } from './views/login.js';
import { review } from './views/review.js';
import { teach } from './views/teach.js';
import { watch } from './views/watch.js';
import { why } from './views/why.js';

const VIEWS = { watch, teach, review, why, gallery, calibrate, health };
const app = document.getElementById('app');
let leave = () => {};
let required = false;

async function start() {
  theme(localStorage.getItem('maclip.theme'));
  await load();
  const session = await get('session');
  required = session.required;
  onLocked(locked);
  if (session.open) enter();
  else locked();
}

function enter() {
  live.start();
  draw();
}

function locked() {
  live.stop();
  leave();
  leave = () => {};
  document.title = 'maclip';
  fill(app, login(enter));
}

function draw() {
  const main = h('main', { id: 'main', tabindex: '-1' });
  const badge = h('span.badge', { hidden: true });
  const links = Object.keys(VIEWS).filter((name) => name !== 'why').map((name) =>
    h('a', { href: `#/${name}`, 'data-view': name }, icon(name), h('span', {}, t(`nav.${name}`)),
      name === 'review' ? badge : null));
  const undoButton = h('button.quiet', { onclick: undo, disabled: true }, icon('undo'), h('span.wide', {}, t('undo')));
  const dot = h('span.connection', { role: 'status' });
  fill(app,
    h('a.skip', { href: '#main', onclick: (event) => { event.preventDefault(); main.focus(); } }, t('skip')),
    h('header', {}, h('a.brand', { href: '#/watch' }, h('img', { src: '/favicon.svg', alt: '' }), 'maclip'), dot,
      h('span.grow', {}), undoButton, chooser(), themeButton(),
      required ? h('button.icon-only.quiet', { 'aria-label': t('logout'), title: t('logout'), onclick: logout }, icon('lock')) : null),
    h('nav', { 'aria-label': t('nav') }, links),
    main);

  function state() {
    const { review: waiting, undo: last } = live.state;
    badge.hidden = !waiting;
    badge.textContent = waiting > 99 ? '99+' : waiting;
    badge.setAttribute('aria-label', t('nav.waiting', { n: waiting }));
    undoButton.disabled = !last;
    undoButton.title = last ? t('undo.what', { what: change(last) }) : t('undo');
    undoButton.setAttribute('aria-label', undoButton.title);
  }

  function connection(is) {
    dot.className = `connection ${is ? 'on' : 'off'}`;
    dot.textContent = is ? '' : t('offline');
  }

  function route() {
    leave();
    const [name, ...rest] = location.hash.replace(/^#\//, '').split('?')[0].split('/').map(decodeURIComponent);
    const view = VIEWS[name] ? name : 'watch';
    for (const link of links) {
      if (link.dataset.view === view) link.setAttribute('aria-current', 'page');
      else link.removeAttribute('aria-current');
    }
    document.title = `${t(`nav.${view}`)} – maclip`;
    main.className = `view-${view}`;
    fill(main);
    leave = VIEWS[view](main, rest) || (() => {});
    main.scrollTop = 0;
  }

  live.on('state', state);
  live.on('connection', connection);
  window.onhashchange = route;
  state();
  connection(live.connected);
  route();
}

function chooser() {
  const select = h('select', { 'aria-label': t('language'), onchange: async () => { await choose(select.value); leave(); draw(); } },
    Object.entries(languages).map(([code, name]) => h('option', { value: code, selected: code === language() }, name)));
  return select;
}

function themeButton() {
  return h('button.icon-only.quiet', { 'aria-label': t('theme'), title: t('theme'), onclick: () => {
    const dark = getComputedStyle(document.documentElement).getPropertyValue('--dark').trim() === '1';
    localStorage.setItem('maclip.theme', dark ? 'light' : 'dark');
    theme(dark ? 'light' : 'dark');
  } }, icon('theme'));
}

function theme(name) {
  if (name) document.documentElement.dataset.theme = name;
}

async function logout() {
  await post('logout');
  locked();
}

start();
