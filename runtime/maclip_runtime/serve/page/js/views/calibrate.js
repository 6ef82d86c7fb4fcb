// Calibrate: limits against what this place shows while none of the actions happens.
import { drop, get, post } from '../api.js';
import { fill, h, svg, tone, two } from '../dom.js';
import { t } from '../i18n.js';
import { icon } from '../icons.js';
import { later, live } from '../live.js';
import { attempt, empty, newest, taught, toast } from '../ui.js';

const LOOK_MS = 500;

export function calibrate(root) {
  if (!live.known) return later(() => calibrate(root));
  let timer = 0;
  let begun = false; // from here, and its end is not said yet
  const results = h('div', { 'aria-live': 'polite' });
  const names = live.state.sources.map((one) => one.name);
  const boxes = names.map((name) => h('input', { type: 'checkbox', value: name, checked: true }));
  const seconds = h('input', { type: 'number', min: 5, max: 3600, step: 5, value: 60, id: 'cal-seconds' });
  const alarms = h('input', { type: 'number', min: 0, max: 1000, step: 0.5, id: 'cal-alarms', placeholder: t('calibrate.fewest') });
  const begin = h('button.primary', { onclick: start }, icon('calibrate'), t('calibrate.start'));
  const bar = h('progress', { hidden: true, max: 1 });
  const clearButton = h('button.quiet', { onclick: clear, hidden: true }, icon('trash'), t('calibrate.clear'));

  fill(root, h('h1', {}, t('nav.calibrate')), h('p.lead', {}, t('calibrate.lead')),
    h('section.card.form', {},
      names.length ? h('fieldset', {}, h('legend', {}, t('calibrate.sources')), names.map((name, place) => h('label.check', {}, boxes[place], name))) : null,
      h('div.row', {},
        names.length ? h('label', { for: 'cal-seconds' }, t('calibrate.seconds'), seconds) : null,
        h('label', { for: 'cal-alarms' }, t('calibrate.alarms'), alarms),
        h('span.grow', {}), clearButton, begin),
      h('p.muted', {}, t('calibrate.none')), bar),
    results);

  async function start() {
    const chosen = boxes.filter((one) => one.checked).map((one) => one.value);
    const target = alarms.value === '' ? null : Number(alarms.value);
    const body = { sources: chosen, seconds: Number(seconds.value) || 60, false_alarms: target };
    if (await attempt(() => post('calibrate', body))) {
      begun = true;
      look();
    }
  }

  async function clear() {
    const found = await attempt(() => drop('calibrate'));
    if (found) taught(t('change.clear-limits', { n: found.classes }));
    look();
  }

  const state = newest(() => get('calibrate').catch(() => null));

  async function look() {
    clearTimeout(timer);
    const found = await state();
    if (!found) return;
    const { job } = found;
    const running = job?.state === 'running';
    begin.disabled = running;
    bar.hidden = !running;
    clearButton.hidden = !found.calibrated.length;
    if (running) {
      bar.max = job.total || 1;
      bar.value = job.done;
      timer = setTimeout(look, LOOK_MS);
      return;
    }
    if (begun && job) {
      begun = false;
      if (job.error) toast(`${job.error.message} ${job.error.fix}`, { kind: 'bad' });
      else taught(t('change.calibrate', { n: job.result.classes.length }));
    }
    draw(found);
  }

  function draw({ limits, job, calibrated }) {
    const result = calibrated.length ? job?.result : null;
    if (!Object.keys(limits).length) return void fill(results, empty(t('gallery.empty')));
    fill(results, h('section.card', {},
      h('h2', {}, t('calibrate.limits')),
      result ? h('p.muted', {}, t('calibrate.on', { what: result.measured_on }), result.alarms_an_hour === null ? '' : ` ${t('calibrate.total', { rate: result.alarms_an_hour.toFixed(1) })}`) : h('p.muted', {}, t('calibrate.measured')),
      h('div.scroll', {}, h('table', {},
        h('thead', {}, h('tr', {}, [t('class'), t('limit'), ...(result ? [t('calibrate.missed'), t(result.hours ? 'calibrate.false' : 'calibrate.accepted'), t('calibrate.curve')] : [])].map((one) => h('th', {}, one)))),
        h('tbody', {}, Object.entries(limits).map(([name, limit]) => {
          const one = result?.classes.find((info) => info.name === name);
          return h('tr', {},
            h('td', {}, h('i.dot', { style: { '--tone': tone(name) } }), name),
            h('td', {}, limit === null ? t('why.nolimit') : two(limit)),
            one ? [
              h('td', {}, one.own.length ? `${one.misses} / ${one.own.length}` : '–'),
              h('td', {}, one.false_alarms_an_hour === null ? `${one.accepted} / ${one.far.length}` : one.false_alarms_an_hour.toFixed(1)),
              h('td', {}, plot(one)),
            ] : result ? [h('td', { colspan: 3 })] : null);
        }))))));
  }

  look();
  const off = [live.on('undone', () => look()), live.on('gallery', () => look())];
  return () => {
    off.forEach((one) => one());
    clearTimeout(timer);
  };
}

/** Misses (own clips beyond a limit) and false alarms (others within it) as the limit moves. */
function plot({ name, limit, own, far }) {
  const every = [...own, ...far, limit];
  const low = Math.min(...every);
  const span = Math.max(...every) - low || 1;
  const x = (value) => 4 + (192 * (value - low)) / span;
  const share = (values, within) => {
    const sorted = [...values].sort((one, other) => one - other);
    const points = [[x(low), within ? 44 : 6]];
    sorted.forEach((value, place) => {
      const part = (place + 1) / sorted.length;
      points.push([x(value), points[points.length - 1][1]], [x(value), within ? 44 - 38 * part : 6 + 38 * part]);
    });
    points.push([196, points[points.length - 1][1]]);
    return points.map((point) => point.join(',')).join(' ');
  };
  return svg('svg.plot', { viewBox: '0 0 200 50', role: 'img', 'aria-label': t('calibrate.plot', { name }) },
    own.length ? svg('polyline.miss', { points: share(own, false) }) : null,
    far.length ? svg('polyline.alarm', { points: share(far, true) }) : null,
    svg('line.limit', { x1: x(limit), x2: x(limit), y1: 2, y2: 48 }));
}
