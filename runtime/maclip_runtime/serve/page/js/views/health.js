// Health: what runs, on what, how fast, and what was lost.
import { get } from '../api.js';
import { fill, h } from '../dom.js';
import { t } from '../i18n.js';

const EVERY_MS = 2000;

export function health(root) {
  const body = h('div.cards', {});
  fill(root, h('h1', {}, t('nav.health')), body);

  const facts = (pairs) => h('dl', {}, pairs.filter(Boolean).map(([name, value]) => [h('dt', {}, name), h('dd', {}, value)]));
  const card = (title, ...inside) => h('section.card', { 'aria-label': title }, h('h2', {}, title), inside);

  async function look() {
    const found = await get('health').catch(() => null);
    if (!found) return;
    const stages = Object.entries(found.stages).sort(([, one], [, other]) => other.p50 - one.p50);
    const slowest = Math.max(1, ...stages.map(([, one]) => one.p99));
    fill(body,
      card(t('health.device'), facts([
        [t('health.device'), found.device], [t('health.machine'), found.machine],
        [t('health.memory'), found.memory_mb === null ? '–' : `${found.memory_mb.toFixed(0)} MB`],
        [t('health.up'), duration(found.up_s)],
        [t('health.model'), `${found.bundle.backbone}, ${found.bundle.metric}, ${found.bundle.precision}`],
        [t('health.window'), `${found.window_s.toFixed(2)} s (${t('health.frames', { n: found.bundle.frames })})`],
        [t('health.metrics'), found.metrics ? h('a', { href: found.metrics, rel: 'noreferrer' }, found.metrics) : t('health.metrics.how')],
        [t('health.api'), h('a', { href: '/api/openapi.json' }, '/api/openapi.json')],
      ])),
      card(t('health.stages'), h('p.muted', {}, t('health.stages.what')), h('ul.stages', {}, stages.map(([name, one]) =>
        h('li', {}, h('span', {}, t(`stage.${name}`)), h('span.track', { 'aria-hidden': 'true' },
          h('span.p99', { style: { width: `${(100 * one.p99) / slowest}%` } }), h('span.p50', { style: { width: `${(100 * one.p50) / slowest}%` } })),
        h('span.number', {}, `${one.p50.toFixed(1)} / ${one.p99.toFixed(1)}`))))),
      card(t('health.gallery'), facts([
        [t('health.classes'), found.gallery.classes], [t('health.clips'), found.gallery.clips], [t('teach.none'), found.gallery.negatives],
        found.evidence && [t('health.evidence'), t('health.kept', { n: found.evidence.kept, dropped: found.evidence.dropped })],
      ])),
      card(t('health.sources'), h('div.scroll', {}, h('table', {},
        h('thead', {}, h('tr', {}, ['review.source', 'health.state', 'health.rate', 'health.latency', 'health.dropped', 'health.reconnects'].map((key) => h('th', {}, t(key))))),
        h('tbody', {}, found.sources.map((one) => h('tr', {}, h('td', {}, one.name),
          h('td', {}, h('span.state.' + one.state, { title: one.problem }, t(`state.${one.state}`))),
          h('td', {}, one.rate.toFixed(1)), h('td', {}, one.latency_ms === null ? '–' : `${one.latency_ms.toFixed(0)} ms`),
          h('td', {}, one.dropped), h('td', {}, one.reconnects))))))),
      card(t('health.versions'), facts(Object.entries(found.versions))));
  }

  look();
  const timer = setInterval(look, EVERY_MS);
  return () => clearInterval(timer);
}

function duration(seconds) {
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  return hours ? `${hours} h ${minutes} min` : minutes ? `${minutes} min` : `${Math.round(seconds)} s`;
}
