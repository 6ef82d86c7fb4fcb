// What several views share: toasts, dialogs, undo, fields for names, pictures of sources.
import { Refused, get, post } from './api.js';
import { clock, fill, h, svg, tone, two } from './dom.js';
import { t } from './i18n.js';
import { icon } from './icons.js';
import { live } from './live.js';

const TOAST_MS = 7000;
const MOST = 200;

/** A short message, with a button where something can be done about it. */
export function toast(text, { kind = 'good', action = null, label = '' } = {}) {
  const box = h('div.toast.' + kind, {}, icon(kind === 'good' ? 'check' : 'warn'), h('span', {}, text));
  if (action) box.append(h('button.quiet', { onclick: () => { box.remove(); action(); } }, label));
  box.append(h('button.icon-only.quiet', { 'aria-label': t('close'), onclick: () => box.remove() }, icon('close')));
  document.getElementById('toasts').prepend(box);
  setTimeout(() => box.remove(), TOAST_MS);
}

/** Run something and say what was refused; undefined where it was. */
export async function attempt(call) {
  try {
    return await call();
  } catch (error) {
    const said = error instanceof Refused ? `${error.message} ${error.fix}` : t('offline');
    toast(said, { kind: 'bad' });
    return undefined;
  }
}

/** `read`, whose answer counts while nothing newer was asked: else it is undefined, and what it says is out of date. */
export function newest(read) {
  let asked = 0;
  return async (...given) => {
    asked += 1;
    const mine = asked;
    const found = await read(...given).catch((error) => {
      if (mine === asked) throw error;
    });
    return mine === asked ? found : undefined;
  };
}

/** What to ask of a list for its next page, or again for as much of it as is shown: the server gives `MOST` at once. */
export function part(shown, further, page) {
  return further ? { offset: shown, limit: page } : { offset: 0, limit: Math.min(MOST, Math.max(page, shown)) };
}

export async function undo() {
  const done = await attempt(() => post('undo'));
  if (done) {
    toast(t('undone', { what: change(done) }));
    live.dispatchEvent(new CustomEvent('undone'));
  }
}

export const taught = (text) => toast(text, { action: undo, label: t('undo') });

/** A change in words. */
export function change(one) {
  return t(`change.${one.kind}`, { n: one.clips ?? one.classes ?? 0, name: one.name ?? '', from: one.from ?? '' });
}

/** Ask before something is done; resolves to what `read` gives, or null. */
export function ask(title, body, { label = t('ok'), danger = false, read = () => true } = {}) {
  return new Promise((resolve) => {
    const form = h('form', { method: 'dialog' },
      h('h2', {}, title), body,
      h('div.row.end', {},
        h('button', { type: 'button', onclick: () => dialog.close() }, t('cancel')),
        h(danger ? 'button.danger' : 'button.primary', { value: 'ok' }, label)));
    const dialog = h('dialog', { 'aria-label': title }, form);
    let answer = null;
    form.addEventListener('submit', () => { answer = read(); });
    dialog.addEventListener('close', () => { dialog.remove(); resolve(answer); });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** A field for a class's name, with suggestions. */
export function nameField(value = '', onchange = () => {}) {
  const id = `names-${Math.random().toString(36).slice(2)}`;
  const list = h('datalist', { id });
  const names = newest((q) => get('names', { q }).catch(() => []));
  const input = h('input', {
    type: 'text', list: id, value, maxlength: 200, autocomplete: 'off', placeholder: t('teach.name.hint'),
    oninput: async () => {
      onchange(input.value.trim());
      const found = await names(input.value);
      if (found) fill(list, found.map((one) => h('option', { value: one.name })));
    },
  });
  return { input, element: h('span.name-field', {}, input, list) };
}

/** The newest pictures of a source on a canvas, until `stop`. */
export function liveView(source, label) {
  const canvas = h('canvas', { role: 'img', 'aria-label': label, width: 640, height: 360 });
  const stop = live.show(source, (bitmap) => {
    sized(canvas, bitmap.width, bitmap.height);
    canvas.getContext('2d').drawImage(bitmap, 0, 0);
    canvas.classList.add('drawn');
  });
  return { canvas, stop };
}

/** Give a canvas its size, and what holds it its shape. */
export function sized(canvas, width, height) {
  if (canvas.width === width && canvas.height === height && canvas.dataset.sized) return;
  canvas.width = width;
  canvas.height = height;
  canvas.dataset.sized = '1';
  canvas.closest('.picture')?.style.setProperty('--ratio', width / height);
}

export function regionBox(region) {
  if (!region) return null;
  const box = svg('svg.region', { viewBox: '0 0 1 1', preserveAspectRatio: 'none', 'aria-hidden': 'true' });
  const { x, y, width, height } = region;
  box.append(
    svg('path.shade', { 'fill-rule': 'evenodd', d: `M0 0H1V1H0zM${x} ${y}h${width}v${height}h${-width}z` }),
    svg('rect', { x, y, width, height, 'vector-effect': 'non-scaling-stroke' }));
  return box;
}

/** The answer as a label with its match. */
export function answerPill(answer) {
  if (!answer || answer.reason === 'empty') return h('span.pill.idle', {}, t('answer.none'));
  const known = answer.label !== 'unknown' && answer.label !== 'uncertain';
  const words = known ? answer.label : t(`answer.${answer.reason === 'still' ? 'still' : answer.label}`);
  return h('span.pill' + (known ? '' : '.idle'), { style: { '--tone': tone(answer.label) } },
    h('span', {}, words), h('b', {}, two(answer.match)));
}

/** Classes as bars of their match; the mark is the limit. */
export function bars(list) {
  return h('ul.bars', { 'aria-label': t('watch.bars') }, list.map((one) =>
    h('li', { class: one.match >= 0.5 ? 'within' : '' },
      h('span.name', { title: one.name }, one.name),
      h('span.track', { 'aria-hidden': 'true' },
        h('span.fill', { style: { width: `${100 * one.match}%`, '--tone': tone(one.name) } }), h('span.mark')),
      h('span.number', {}, two(one.match)))));
}

export function eventLine(event) {
  const open = event.kind !== 'end';
  const seconds = `${(event.end_s - event.start_s).toFixed(1)} s`;
  return h('div.event', {},
    h('i.dot', { style: { '--tone': tone(event.label) } }),
    h('span.what', {}, event.reason ? t(`answer.${event.label}`) : event.label),
    event.withdrawn ? h('span.tag', {}, t('event.withdrawn')) : open ? h('span.tag.live', {}, t('event.on')) : null,
    h('span.muted', {}, `${event.started_at ? clock(event.started_at) : ''} · ${seconds} · ${two(event.match)}`));
}

export const empty = (text, ...more) => h('div.empty', {}, h('p', {}, text), more);
