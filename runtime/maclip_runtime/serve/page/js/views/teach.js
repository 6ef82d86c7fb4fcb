// Teach: record from a source or this browser's camera, or drop files; look, name, keep.
import { drop, get, post } from '../api.js';
import { fill, h, two } from '../dom.js';
import { t } from '../i18n.js';
import { icon } from '../icons.js';
import { later, live } from '../live.js';
import { Player } from '../player.js';
import { answerPill, attempt, bars, empty, liveView, nameField, newest, regionBox, taught, toast } from '../ui.js';

const COUNTDOWN_SECONDS = 3;
const ENOUGH = 3; // clips of a class, before its own limit means much
const BROWSER = ' browser';

export function teach(root, [wanted]) {
  if (!live.known) return later(() => teach(root, [wanted]));
  const names = live.state.sources.map((one) => one.name);
  let from = wanted || sessionStorage.getItem('maclip.teach.from') || names[0] || BROWSER;
  if (!names.includes(from) && from !== BROWSER) from = names[0] || BROWSER;
  let stage = null;
  let seconds = Number(localStorage.getItem('maclip.seconds') || 3);
  let name = sessionStorage.getItem('maclip.name') || '';
  const takes = h('div.takes', { 'aria-live': 'polite' });
  const screen = h('div.stage', {});
  const tabs = h('div.tabs', { role: 'radiogroup', 'aria-label': t('teach.from') });
  const length = h('input', { type: 'range', min: 2, max: 5, step: 0.5, value: seconds, id: 'seconds', oninput: () => {
    seconds = Number(length.value);
    localStorage.setItem('maclip.seconds', seconds);
    said.textContent = `${seconds.toFixed(1)} s`;
  } });
  const said = h('output', { for: 'seconds' }, `${seconds.toFixed(1)} s`);
  const button = h('button.record', { onclick: record }, icon('record'), h('span', {}, t('teach.record')));
  const picker = h('input', { type: 'file', accept: 'video/*', multiple: true, hidden: true, onchange: () => files(picker.files) });
  const zone = h('div.drop', {
    ondragover: (event) => { event.preventDefault(); zone.classList.add('over'); },
    ondragleave: () => zone.classList.remove('over'),
    ondrop: (event) => { event.preventDefault(); zone.classList.remove('over'); files(event.dataTransfer.files); },
  }, icon('upload'), h('span', {}, t('teach.drop')), h('button', { onclick: () => picker.click() }, t('teach.choose')), picker);

  fill(root,
    h('h1', {}, t('nav.teach')), h('p.lead', {}, t('teach.lead')),
    h('div.columns', {},
      h('section.card', { 'aria-label': t('teach.record') }, tabs, screen,
        h('div.row.recorder', {}, button, h('label', { for: 'seconds' }, t('teach.seconds')), length, said), zone),
      h('section', { 'aria-label': t('teach.takes') }, takes)));
  waiting();
  sources();

  function sources() {
    const every = [...names, BROWSER];
    fill(tabs, every.map((one) => h('button', {
      role: 'radio', 'aria-checked': String(one === from),
      onclick: () => { from = one; sessionStorage.setItem('maclip.teach.from', one); sources(); },
    }, icon('camera'), one === BROWSER ? t('teach.browser') : one)));
    stage?.stop();
    stage = from === BROWSER ? new OwnCamera() : new Remote(from);
    fill(screen, stage.element);
  }

  async function record() {
    if (button.disabled) return;
    button.disabled = true;
    if (!(await stage.ready())) {
      button.disabled = false;
      return;
    }
    for (let left = COUNTDOWN_SECONDS; left > 0; left -= 1) {
      stage.say(String(left));
      await pause(700);
    }
    stage.say('', seconds);
    const made = await attempt(() => stage.record(seconds));
    stage.say(null);
    button.disabled = false;
    if (made) show(made);
  }

  async function files(list) {
    for (const file of list) {
      const line = toastWorking(file.name);
      const made = await attempt(() => post('takes/upload', file, { name: file.name.slice(0, 200) }));
      line.remove();
      if (made) show(made);
    }
    picker.value = '';
  }

  function toastWorking(file) {
    const line = h('p.muted.working', {}, t('teach.reading', { name: file }));
    takes.prepend(line);
    return line;
  }

  function show(take) {
    takes.querySelector('.empty')?.remove();
    const card = new TakeCard(take, name, (chosen) => {
      name = chosen;
      sessionStorage.setItem('maclip.name', chosen);
      if (!takes.querySelector('.take')) waiting();
    });
    takes.prepend(card.element);
    card.field.input.focus();
  }

  function waiting() {
    fill(takes, empty(t('teach.empty')));
  }

  function keys(event) {
    if (event.key === 'r' && !event.ctrlKey && !event.metaKey && !event.target.closest('input, select, textarea, dialog')) record();
  }

  document.addEventListener('keydown', keys);
  return () => {
    document.removeEventListener('keydown', keys);
    stage?.stop();
  };
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** What both kinds of cameras show while they record. */
class Stage {
  constructor(...inside) {
    this.words = h('div.countdown', { 'aria-live': 'assertive' });
    this.bar = h('div.progress', {});
    this.picture = h('div.picture', {}, inside, this.words, this.bar);
    this.element = h('div.well', {}, this.picture);
  }

  /** A number that counts down; '' while it records; null when it is done. */
  say(text, seconds = 0) {
    this.picture.classList.toggle('recording', text === '');
    this.words.textContent = text === '' ? '' : text ?? '';
    this.bar.style.transition = text === '' ? `width ${seconds}s linear` : 'none';
    this.bar.style.width = text === '' ? '100%' : '0';
  }
}

class Remote extends Stage {
  constructor(name) {
    const { canvas, stop } = liveView(name, t('watch.picture', { name }));
    const head = h('div.headline', {});
    const list = h('div', {});
    const overlay = h('div.overlay', {});
    super(canvas, overlay, head);
    this.name = name;
    this.element = h('div', {}, this.element, list);
    this.stopLive = stop;
    let before = '';
    const update = () => {
      const source = live.source(name);
      const now = JSON.stringify([source?.answer, source?.bars, source?.region]);
      if (!source || now === before) return;
      before = now;
      fill(head, answerPill(source.answer));
      fill(list, bars(source.bars.slice(0, 3)));
      fill(overlay, regionBox(source.region));
    };
    this.off = live.on('state', update);
    update();
  }

  async ready() {
    return true;
  }

  record(seconds) {
    return post('takes/record', { source: this.name, seconds });
  }

  stop() {
    this.off();
    this.stopLive();
  }
}

/** The camera of the browser: recorded here and sent as a file. */
class OwnCamera extends Stage {
  constructor() {
    const video = h('video', { autoplay: true, playsinline: true, 'aria-label': t('teach.browser') });
    video.muted = true;
    super(video);
    this.video = video;
    this.#open();
  }

  async #open() {
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480 }, audio: false });
      if (this.stopped) return this.stop();
      this.video.srcObject = this.stream;
    } catch {
      this.element.append(h('p.note', {}, t('teach.camera.denied')));
    }
  }

  async ready() {
    if (!this.stream) toast(t('teach.camera.denied'), { kind: 'bad' });
    return Boolean(this.stream);
  }

  async record(seconds) {
    const kind = ['video/webm;codecs=vp8', 'video/mp4', 'video/webm'].find((one) => MediaRecorder.isTypeSupported(one));
    const recorder = new MediaRecorder(this.stream, { mimeType: kind, videoBitsPerSecond: 4e6 });
    const parts = [];
    recorder.ondataavailable = (event) => parts.push(event.data);
    const done = new Promise((resolve) => { recorder.onstop = resolve; });
    recorder.start();
    await pause(seconds * 1000);
    recorder.stop();
    await done;
    const clip = new Blob(parts, { type: kind.split(';')[0] });
    return post('takes/upload', clip, { name: `${t('teach.browser')}, ${new Date().toLocaleString()}` });
  }

  stop() {
    this.stopped = true;
    this.stream?.getTracks().forEach((track) => track.stop());
  }
}

class TakeCard {
  constructor(take, name, done) {
    this.take = take;
    this.done = done;
    this.player = new Player(take.frames, take.duration_s, (number) => `/api/takes/${take.id}/frames/${number}.jpg`);
    this.meter = h('div.meter', {});
    this.metered = newest(metered);
    this.field = nameField(name, () => this.#metered());
    this.rejected = h('div', { role: 'alert' });
    const form = h('form', { onsubmit: (event) => { event.preventDefault(); this.#keep(); } },
      h('label', {}, t('teach.name'), this.field.element), this.meter, this.rejected,
      h('div.row', {},
        h('button.primary', {}, icon('check'), t('teach.keep')),
        h('button', { type: 'button', onclick: () => this.#none(), title: t('teach.none.hint') }, icon('none'), t('teach.none')),
        h('span.grow', {}),
        h('button.quiet', { type: 'button', onclick: () => this.#drop() }, icon('trash'), t('teach.discard'))));
    this.element = h('article.card.take', {}, this.player.element, this.#verdict(), form);
    this.#metered();
  }

  #verdict() {
    const { reasons, figures, answer, duration_s: seconds } = this.take;
    const good = !reasons.length;
    return h('div.verdict', {},
      h('p', { class: good ? 'good' : 'bad' }, icon(good ? 'check' : 'warn'),
        good ? t('quality.good') : reasons.map((one) => `${t(`quality.${one.code}`)} (${one.words})`).join('; ')),
      h('p.muted', {}, `${seconds.toFixed(1)} s · ${t('quality.motion')} ${figures.motion.toFixed(0)} · ${t('quality.blur')} ${two(figures.blur)} · ${t('quality.brightness')} ${figures.brightness.toFixed(0)}`),
      answer ? h('p.muted', {}, t('teach.now'), ' ', answerPill({ ...answer, reason: '' })) : null);
  }

  async #metered() {
    const dots = await this.metered(this.field.input.value.trim());
    if (dots) fill(this.meter, dots);
  }

  async #keep(force = false) {
    const name = this.field.input.value.trim();
    if (!name) return void this.field.input.focus();
    try {
      const found = await post(`takes/${this.take.id}/keep`, { name, force });
      taught(t('teach.kept', { name: found.name, n: found.clips }));
      for (const note of found.notes) toast(note, { kind: 'warn' });
      this.#gone(name);
    } catch (error) {
      const reasons = error.rejections?.flatMap((one) => one.reasons) || [];
      const words = reasons.length
        ? reasons.map((one) => h('li', {}, `${t(`quality.${one.code}`)} (${one.words})`))
        : [h('li', {}, `${error.message} ${error.fix || ''}`)];
      fill(this.rejected, h('div.note.warn', {},
        h('ul', {}, words),
        reasons.length ? h('button', { type: 'button', onclick: () => this.#keep(true) }, t('teach.anyway')) : null));
    }
  }

  async #none() {
    const found = await attempt(() => post(`takes/${this.take.id}/keep`, { name: null }));
    if (!found) return;
    taught(t('teach.kept.none', { n: found.clips }));
    this.#gone(this.field.input.value.trim());
  }

  async #drop() {
    await attempt(() => drop(`takes/${this.take.id}`));
    this.#gone(this.field.input.value.trim());
  }

  #gone(name) {
    this.player.stop();
    this.element.remove();
    this.done(name);
  }
}

let doctor = null;

/** What the last look of the doctor says of a class, if it is of the present gallery. */
async function doctorOf(name) {
  if (!name) return null;
  const version = String(live.state.gallery.version);
  if (doctor?.version !== version) {
    const job = await get('doctor').catch(() => ({}));
    doctor = { version, result: String(job.result?.version) === version ? job.result : null };
  }
  return doctor.result?.classes.find((one) => one.name === name) || null;
}

/** What the page says of a class's clips, also of one that is not there yet. */
async function metered(name) {
  if (!name) return [];
  const page = await get('classes', { q: name, limit: 20 }).catch(() => ({ items: [] }));
  const info = page.items.find((one) => one.name.toLowerCase() === name.toLowerCase());
  return meterOf(info ? info.clips : 0, await doctorOf(info?.name));
}

/** Whether a class has enough clips. */
function meterOf(clips, report) {
  const dots = Array.from({ length: 5 }, (_, at) => h('i', { class: at < clips ? 'on' : at === clips ? 'next' : '' }));
  const words = clips === 0 ? t('meter.new') : clips < ENOUGH ? t('meter.few', { n: clips }) : t('meter.enough', { n: clips });
  const tested = report?.tested ? ` ${t('meter.tested', { right: report.right, tested: report.tested })}` : '';
  return [h('span.dots', { 'aria-hidden': 'true' }, dots), h('span.muted', {}, words + tested)];
}
