// Gallery: classes and their clips, what harms them, and changes that can be undone.
import { api, get, post } from '../api.js';
import { calmly, fill, h, svg, tone, two } from '../dom.js';
import { t } from '../i18n.js';
import { icon } from '../icons.js';
import { live } from '../live.js';
import { ask, attempt, empty, nameField, newest, part, taught, toast } from '../ui.js';

const PAGE = 40;
const LOOK_MS = 700;
const SHOWN_FINDINGS = 12;

export function gallery(root, [first]) {
  let open = first === undefined ? undefined : first || null; // a class; null: the clips of none
  let query = '';
  let classes = [];
  let total = 0;
  let clips = [];
  let clipTotal = 0;
  let doctor = null;
  let timer = 0;
  const list = h('div.classes', {});
  const more = h('button', { hidden: true, onclick: () => loadClasses(true) }, t('more'));
  const panel = h('section.card.panel', { 'aria-label': t('gallery.clips') });
  const findings = h('div', { 'aria-live': 'polite' });
  const columns = h('div.columns.gallery', {}, h('section', {}, list, more), panel);
  const search = h('input', { type: 'search', placeholder: t('gallery.search'), 'aria-label': t('gallery.search'),
    oninput: calmly(() => { query = search.value; loadClasses(); }, 150) });
  const picker = h('input', { type: 'file', accept: '.zip,application/zip', hidden: true, onchange: bring });

  fill(root,
    h('h1', {}, t('nav.gallery')),
    h('div.row.tools', {}, h('span.search', {}, icon('search'), search), h('span.grow', {}),
      h('button', { onclick: look }, icon('health'), t('gallery.doctor')),
      h('a.button', { href: '/api/gallery/export', download: 'gallery.zip' }, icon('out'), t('gallery.export')),
      h('button', { onclick: () => picker.click() }, icon('in'), t('gallery.import')), picker),
    findings, columns);

  const classPage = newest((asked) => attempt(() => get('classes', asked)));
  const clipPage = newest((asked) => attempt(() => get('clips', asked)));

  async function loadClasses(further = false) {
    const page = await classPage({ q: query, ...part(classes.length, further, PAGE) });
    if (!page) return;
    classes = further ? [...classes, ...page.items] : page.items;
    total = page.total;
    if (open === undefined && classes.length && !query && matchMedia('(min-width: 761px)').matches) return show(classes[0].name);
    draw();
  }

  async function loadClips(further = false) {
    if (open === undefined) return void fill(panel, empty(t('gallery.choose')));
    const page = await clipPage({ name: open, ...part(clips.length, further, PAGE) });
    if (!page || open === undefined) return;
    clips = further ? [...clips, ...page.items] : page.items;
    clipTotal = page.total;
    drawPanel();
  }

  function show(name) {
    open = name;
    columns.classList.toggle('opened', name !== undefined);
    history.replaceState(null, '', name === undefined ? '#/gallery' : `#/gallery/${encodeURIComponent(name ?? '')}`);
    draw();
    loadClips();
    if (name !== undefined && matchMedia('(max-width: 760px)').matches) panel.scrollIntoView({ block: 'start' });
  }

  function draw() {
    more.hidden = classes.length >= total;
    if (!classes.length && !query) {
      fill(list, empty(t('gallery.empty'), h('a.button.primary', { href: '#/teach' }, t('nav.teach'))), none());
      return;
    }
    fill(list, classes.map((one) => {
      const report = doctor?.classes.find((info) => info.name === one.name);
      const bad = doctor?.findings.filter((found) => found.classes.includes(one.name) && SERIOUS.includes(found.kind)) || [];
      return h('button.class', { 'aria-pressed': String(open === one.name), onclick: () => show(one.name), style: { '--tone': tone(one.name) } },
        h('span.row', {}, h('i.dot', {}), h('b', {}, one.name), h('span.grow', {}),
          bad.length ? h('span.tag.warn', {}, t(`finding.${bad[0].kind}`)) : null,
          h('span.muted', {}, t('gallery.count', { n: one.clips }))),
        h('img', { src: `/api/clips/${one.shown[one.shown.length - 1]}/strip.jpg`, alt: '', loading: 'lazy' }),
        h('span.muted', {}, [
          report?.tested ? t('meter.tested', { right: report.right, tested: report.tested }) : '',
          one.limit === null ? '' : `${t('limit')} ${two(one.limit)}${one.stale ? ` (${t('gallery.stale')})` : ''}`,
        ].filter(Boolean).join(' · ')));
    }), none());
  }

  const none = () => h('button.class.none', { 'aria-pressed': String(open === null), onclick: () => show(null) },
    h('span.row', {}, icon('none'), h('b', {}, t('teach.none'))), h('span.muted', {}, t('teach.none.hint')));

  function drawPanel() {
    const harmful = new Map((doctor?.findings || []).filter((one) => SERIOUS.includes(one.kind)).flatMap((one) => one.clips.slice(0, one.kind === 'confused' ? 0 : 1).map((id) => [id, one])));
    fill(panel,
      h('div.row', {},
        h('button.icon-only.quiet.closer', { 'aria-label': t('close'), onclick: () => show(undefined) }, icon('back')),
        h('h2', {}, open ?? t('teach.none')), h('span.muted', {}, t('gallery.count', { n: clipTotal })), h('span.grow', {}),
        open ? [
          h('button.quiet', { onclick: rename }, icon('edit'), t('gallery.rename')),
          h('button.quiet', { onclick: merge }, icon('merge'), t('gallery.merge')),
          h('button.quiet', { onclick: removeClass }, icon('trash'), t('gallery.remove')),
        ] : null),
      clips.length ? null : empty(t(open ? 'gallery.gone' : 'gallery.nonegatives')),
      h('ul.clips', {}, clips.map((clip) => h('li', { class: harmful.has(clip.id) ? 'harmful' : '' },
        h('img', { src: `/api/clips/${clip.id}/strip.jpg`, alt: t('gallery.clip', { id: clip.id }), loading: 'lazy' }),
        h('div.row', {},
          h('span.muted.source', { title: clip.source }, `${clip.id} · ${clip.source} · ${clip.duration_s} s`),
          harmful.has(clip.id) ? h('span.tag.warn', { title: harmful.get(clip.id).message }, t(`finding.${harmful.get(clip.id).kind}`)) : null,
          clip.forced.length ? h('span.tag', {}, clip.forced.map((code) => t(`quality.${code}`)).join(', ')) : null,
          h('span.grow', {}),
          open ? h('button.icon-only.quiet', { 'aria-label': t('gallery.move.clip', { id: clip.id }), title: t('gallery.move'), onclick: () => move(clip) }, icon('move')) : null,
          h('button.icon-only.quiet', { 'aria-label': t('gallery.remove.clip', { id: clip.id }), title: t('gallery.remove'), onclick: () => removeClip(clip) }, icon('trash')))))),
      clips.length < clipTotal ? h('button', { onclick: () => loadClips(true) }, t('more')) : null);
  }

  async function named(title, label, value = '') {
    const field = nameField(value);
    field.input.required = true;
    field.input.setAttribute('aria-label', title);
    const name = await ask(title, field.element, { label, read: () => field.input.value.trim() });
    return name || null;
  }

  async function rename() {
    const name = await named(t('gallery.rename.what', { name: open }), t('gallery.rename'), open);
    if (!name || name === open) return;
    if (await done(() => post('classes/rename', { old: open, new: name }), t('change.rename', { from: open, name }))) show(name);
  }

  async function merge() {
    const name = await named(t('gallery.merge.what', { name: open }), t('gallery.merge'));
    if (name && (await done(() => post('classes/merge', { source: open, target: name }), t('change.merge', { from: open, name })))) show(name);
  }

  async function removeClass() {
    if (await done(() => post('classes/remove', { name: open }), t('change.remove', { name: open, n: clipTotal }))) show(undefined);
  }

  const removeClip = (clip) => done(() => post('clips/remove', { name: open, id: clip.id }), t('change.remove-clip', { name: open ?? t('teach.none') }));

  async function move(clip) {
    const name = await named(t('gallery.move.what', { id: clip.id }), t('gallery.move'));
    if (name) await done(() => post('clips/move', { ids: [clip.id], name }), t('change.move', { name, n: 1 }));
  }

  async function done(call, words) {
    const found = await attempt(call);
    if (found) {
      taught(words);
      reload();
    }
    return found;
  }

  async function bring() {
    const [file] = picker.files;
    picker.value = '';
    if (!file) return;
    const found = await attempt(() => api('POST', 'gallery/import', new Blob([file], { type: 'application/zip' })));
    if (found) taught(t('gallery.imported', { n: found.added, skipped: found.skipped }));
    reload();
  }

  async function look() {
    if (!(await attempt(() => post('doctor')))) return;
    watchDoctor();
  }

  async function watchDoctor(quiet = false) {
    clearTimeout(timer);
    const job = await get('doctor').catch(() => null);
    if (!job || job.state === 'none') return;
    if (job.state === 'running') {
      fill(findings, h('div.card', {}, h('p', {}, t('gallery.looking', { done: job.done, total: job.total || '…' })), h('progress', { value: job.done, max: job.total || 1 })));
      timer = setTimeout(watchDoctor, LOOK_MS);
      return;
    }
    if (job.state === 'failed') return void toast(job.error.message, { kind: 'bad' });
    doctor = job.result;
    const fresh = String(doctor.version) === String(live.state.gallery.version);
    if (quiet && !fresh) {
      doctor = null;
      return;
    }
    drawFindings(fresh);
    draw();
    if (open !== undefined) drawPanel();
  }

  function drawFindings(fresh) {
    const shown = doctor.findings.slice(0, SHOWN_FINDINGS);
    fill(findings, h('section.card.findings', { 'aria-label': t('gallery.doctor') },
      h('div.row', {}, h('h2', {}, t('gallery.doctor')), h('span.grow', {}),
        fresh ? null : h('span.tag.warn', {}, t('gallery.changed')),
        h('button.icon-only.quiet', { 'aria-label': t('close'), onclick: () => fill(findings) }, icon('close'))),
      doctor.tested ? h('p', {}, t('gallery.tested', { right: doctor.right, tested: doctor.tested })) : null,
      doctor.notes.map((note) => h('p.muted', {}, note)),
      shown.length ? h('ul', {}, shown.map(finding)) : h('p.good.row', {}, icon('check'), t('gallery.fine')),
      curve(doctor.curve)));
  }

  const finding = (one) => h('li', {},
    h('span.tag' + (SERIOUS.includes(one.kind) ? '.warn' : ''), {}, t(`finding.${one.kind}`)), ' ', one.message, ' ', h('span.muted', {}, one.fix.replace(/\s*\(?`[^`]*`\)?/g, '')),
    h('div.row', {}, one.clips.slice(0, 2).map((id) => h('img.strip', { src: `/api/clips/${id}/strip.jpg`, alt: t('gallery.clip', { id }), loading: 'lazy', onerror: (event) => event.target.remove() })),
      one.classes.slice(0, 2).map((name) => h('button.quiet', { onclick: () => show(name) }, name))));

  function reload() {
    loadClasses();
    loadClips();
  }

  columns.classList.toggle('opened', open !== undefined);
  const off = [live.on('gallery', calmly(reload, 200)), live.on('undone', reload)];
  loadClasses();
  loadClips();
  watchDoctor(true);
  return () => {
    off.forEach((one) => one());
    clearTimeout(timer);
  };
}

const SERIOUS = ['harmful', 'misplaced', 'in-two-classes', 'confused', 'duplicate', 'unusable', 'negative-in-class'];

/** What one clip more brought. */
function curve(steps) {
  if (steps.length < 1) return null;
  const points = [[steps[0].clips, steps[0].accuracy], ...steps.map((one) => [one.clips + 1, one.accuracy_next])];
  const x = (value) => 30 + ((value - points[0][0]) * 250) / Math.max(1, points[points.length - 1][0] - points[0][0]);
  const y = (value) => 90 - 75 * value;
  return h('figure.curve', {}, h('figcaption.muted', {}, t('gallery.curve')),
    svg('svg', { viewBox: '0 0 300 110', role: 'img', 'aria-label': points.map(([n, share]) => `${n}: ${Math.round(100 * share)} %`).join(', ') },
      [0, 0.5, 1].map((value) => [svg('line.grid', { x1: 30, x2: 290, y1: y(value), y2: y(value) }), svg('text', { x: 2, y: y(value) + 4 }, `${100 * value}%`)]),
      svg('polyline', { points: points.map(([n, share]) => `${x(n)},${y(share)}`).join(' ') }),
      points.map(([n, share]) => [svg('circle', { cx: x(n), cy: y(share), r: 3.5 }), svg('text', { x: x(n) - 3, y: 106 }, n)])));
}
