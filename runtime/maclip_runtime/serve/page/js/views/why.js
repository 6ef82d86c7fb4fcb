// Why: the nearest enrolled clips frame by frame, distance against limit, and what would change the answer.
import { get, post } from '../api.js';
import { clock, fill, h, svg, tone, two } from '../dom.js';
import { t } from '../i18n.js';
import { icon } from '../icons.js';
import { live } from '../live.js';
import { Player } from '../player.js';
import { answerPill, attempt, empty, newest, taught } from '../ui.js';

export function why(root, [kind, id]) {
  let player = null;
  if (!['event', 'window'].includes(kind) || !/^[0-9a-f]+$/.test(id || '')) {
    fill(root, h('h1', {}, t('nav.why')), empty(t('why.choose'), h('a.button', { href: '#/review' }, t('nav.review'))));
    return () => {};
  }

  const explained = newest(() => get(`${kind}s/${id}/why`));

  async function load() {
    let found;
    try {
      found = await explained();
    } catch (error) {
      fill(root, h('h1', {}, t('nav.why')), empty(`${error.message} ${error.fix || ''}`));
      return;
    }
    if (!found) return;
    player?.stop();
    player = new Player(found.window.frames, found.duration_s, (number) => `/api/windows/${found.id}/frames/${number}.jpg`);
    fill(root,
      h('div.row', {}, h('button.icon-only.quiet', { 'aria-label': t('back'), title: t('back'), onclick: () => history.back() }, icon('back')),
        h('h1', {}, t('nav.why')), h('span.muted', {}, `${found.source} · ${clock(found.at)}`)),
      h('div.columns', {},
        h('section.card.looked', {}, player.element,
          h('p.row', {}, t('why.first'), answerPill(found.first)),
          changed(found) ? h('p.row', {}, t('why.now'), answerPill(found.now)) : null),
        h('section.card', {}, h('h2', {}, t('why.answer')), h('p', {}, reason(found)), classes(found), changes(found))),
      h('section.card', {}, h('h2', {}, t('why.clips')), h('p.muted', {}, t(found.metric === 'otam' ? 'why.otam' : 'why.nearest')),
        found.clips.map((clip) => pair(found, clip))));
  }

  function changes(found) {
    const buttons = found.teaching.map((one) => h('li', {},
      h('button', { onclick: () => assign(found, one.name) }, icon('plus'), t('why.teach', { name: one.name })),
      h('span.muted', {}, one.waiting ? t('why.settles', { n: one.settles, waiting: one.waiting }) : '')));
    return h('div', {}, h('h3', {}, t('why.change')), h('ul.changes', {}, buttons,
      h('li', {}, h('button', { onclick: () => assign(found, null) }, icon('none'), t('teach.none')), h('span.muted', {}, t('teach.none.hint'))),
      h('li', {}, h('a.button', { href: '#/calibrate' }, icon('calibrate'), t('nav.calibrate')), h('span.muted', {}, t('why.calibrate')))));
  }

  async function assign(found, name) {
    const done = await attempt(() => post('windows/assign', { ids: [found.id], name }));
    if (!done) return;
    taught(name ? t('review.assigned', { n: done.added, name }) : t('review.assigned.none', { n: done.added }));
    load();
  }

  load();
  const off = live.on('undone', load);
  return () => {
    off();
    player?.stop();
  };
}

const changed = (found) => found.first.label !== found.now.label || Math.abs(found.first.match - found.now.match) > 0.005;

/** The answer in a sentence. */
function reason(found) {
  const { now } = found;
  const best = found.classes.find((one) => one.name === now.nearest) || found.classes[0];
  const values = { name: best.name, distance: two(best.distance), limit: two(best.limit), score: two(now.score), margin: two(now.margin), least: two(found.min_margin), next: found.classes[1]?.name || '' };
  if (!now.reason) return t(best.limit === null ? 'why.known.nolimit' : 'why.known', values);
  if (now.reason === 'score') return t('why.score', { ...values, least: two(found.min_score) });
  return t(`why.${now.reason}`, values);
}

/** Distances against limits, on one scale. */
function classes(found) {
  const every = found.classes.flatMap((one) => [one.distance, one.limit ?? one.distance]);
  const low = Math.min(...every);
  const span = Math.max(...every) - low || 1;
  const at = (value) => `${6 + (88 * (value - low)) / span}%`;
  return h('ul.distances', {}, found.classes.map((one) => h('li', {},
    h('span.name', {}, h('i.dot', { style: { '--tone': tone(one.name) } }), one.name),
    h('span.scale', { role: 'img', 'aria-label': t('why.scale', { distance: two(one.distance), limit: two(one.limit) }) },
      one.limit === null ? null : h('span.allowed', { style: { width: at(one.limit) } }),
      h('span.point', { style: { left: at(one.distance), '--tone': tone(one.name) } })),
    h('span.number', {}, two(one.distance), h('small', {}, one.limit === null ? t('why.nolimit') : ` / ${two(one.limit)}`)))));
}

/** The window above an enrolled clip, with a line between frames that belong together. */
function pair(found, clip) {
  const frames = clip.apart.length;
  const width = 100 / frames;
  const along = clip.path.map(([above, below]) => clip.apart[above][below]);
  const [nearest, farthest] = [Math.min(...along), Math.max(...along)];
  const lines = svg('svg.paths', { viewBox: '0 0 100 20', preserveAspectRatio: 'none', 'aria-hidden': 'true' },
    clip.path.map(([above, below]) => {
      const near = 1 - (0.75 * (clip.apart[above][below] - nearest)) / (farthest - nearest || 1);
      return svg('line', { x1: (above + 0.5) * width, y1: 0, x2: (below + 0.5) * width, y2: 20, 'stroke-opacity': near, 'vector-effect': 'non-scaling-stroke' });
    }));
  return h('figure.pair', {},
    h('figcaption.row', {}, h('i.dot', { style: { '--tone': tone(clip.class_name) } }), h('b', {}, clip.class_name),
      h('span.muted', {}, t('why.clip', { id: clip.id, distance: two(clip.distance) }))),
    h('div.scroll', {},
      h('img', { src: `/api/windows/${found.id}/strip.jpg`, alt: t('why.window') }), lines,
      h('img', { src: `/api/clips/${clip.id}/strip.jpg`, alt: t('why.enrolled', { name: clip.class_name }), loading: 'lazy' })));
}
