// A few frames as a little film: play, pause, one frame at a time, and the speed.
import { h } from './dom.js';
import { t } from './i18n.js';
import { icon } from './icons.js';

const SPEEDS = [0.25, 0.5, 1, 2];

export class Player {
  /** count frames, addressed by url(number), that last so many seconds. */
  constructor(count, seconds, url, { autoplay = true } = {}) {
    this.count = count;
    this.stepMs = (1000 * seconds) / Math.max(1, count);
    this.at = 0;
    this.speed = 2;
    this.images = Array.from({ length: count }, (_, number) => Object.assign(new Image(), { src: url(number) }));
    this.picture = h('img.frame', { alt: '' });
    this.place = h('output.muted', {});
    this.button = h('button.icon-only', { onclick: () => this.toggle() });
    this.rate = h('button.quiet.speed', { onclick: () => this.faster(), title: t('player.speed') });
    const step = (by, name, label) =>
      h('button.icon-only', { 'aria-label': label, title: label, onclick: () => this.step(by) }, icon(name));
    this.element = h('div.player', { role: 'group', 'aria-label': t('player') }, this.picture,
      h('div.controls', {}, step(-1, 'back', t('player.back')), this.button, step(1, 'next', t('player.next')),
        this.rate, this.place));
    this.#speedSaid();
    this.show(0);
    if (autoplay && !matchMedia('(prefers-reduced-motion: reduce)').matches) this.play();
    else this.pause();
  }

  show(number) {
    this.at = (number + this.count) % this.count;
    this.picture.src = this.images[this.at].src;
    this.place.textContent = `${this.at + 1} / ${this.count}`;
  }

  play() {
    clearInterval(this.timer);
    this.timer = setInterval(() => this.show(this.at + 1), this.stepMs / SPEEDS[this.speed]);
    this.#button('pause', t('player.pause'));
  }

  pause() {
    clearInterval(this.timer);
    this.timer = 0;
    this.#button('play', t('player.play'));
  }

  toggle() {
    if (this.timer) this.pause();
    else this.play();
  }

  step(by) {
    this.pause();
    this.show(this.at + by);
  }

  faster(by = 1) {
    this.speed = (this.speed + by + SPEEDS.length) % SPEEDS.length;
    this.#speedSaid();
    if (this.timer) this.play();
  }

  stop() {
    clearInterval(this.timer);
  }

  #speedSaid() {
    this.rate.textContent = `${SPEEDS[this.speed]}×`;
  }

  #button(name, label) {
    this.button.replaceChildren(icon(name));
    this.button.setAttribute('aria-label', label);
    this.button.title = label;
  }
}
