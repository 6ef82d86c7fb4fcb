// Elements in one call, and small helpers that every view uses.

const SVG = 'http://www.w3.org/2000/svg';

/** h('button.primary', {onclick, title}, 'text', child, ...) -> element. Null children are left out. */
export function h(what, props = {}, ...children) {
  return build(document.createElement(what.split('.')[0]), what, props, children);
}

/** The same for SVG. */
export function svg(what, props = {}, ...children) {
  return build(document.createElementNS(SVG, what.split('.')[0]), what, props, children);
}

function build(element, what, props, children) {
  const classes = what.split('.').slice(1);
  if (classes.length) element.setAttribute('class', classes.join(' '));
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name === 'style') for (const [key, one] of Object.entries(value)) element.style.setProperty(key, one);
    else if (name === 'value' || name === 'checked' || name === 'disabled' || name === 'selected') element[name] = value;
    else element.setAttribute(name, value === true ? '' : value);
  }
  add(element, children);
  return element;
}

export function add(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
  return element;
}

export function fill(element, ...children) {
  element.replaceChildren();
  return add(element, children);
}

/** A number between 0 and 1 as people read it. */
export const two = (value) => (value === null || value === undefined ? '–' : value.toFixed(2));

export function clock(at) {
  return new Date(at * 1000).toLocaleTimeString(document.documentElement.lang, { hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false });
}

export function ago(at, now = Date.now() / 1000) {
  const seconds = Math.max(0, Math.round(now - at));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  return `${Math.round(seconds / 3600)} h`;
}

const TURN = 137.508; // degrees: hues that follow each other so lie far apart
const MAX_TONES = 500;
const tones = JSON.parse(localStorage.getItem('maclip.tones') || '[]');

/** The colour of a class: the same wherever this browser shows it, far from those of the others. */
export function tone(name) {
  if (name === 'unknown' || name === 'uncertain') return '#8a919e';
  let place = tones.indexOf(name);
  if (place < 0 && tones.length < MAX_TONES) {
    place = tones.push(name) - 1;
    localStorage.setItem('maclip.tones', JSON.stringify(tones));
  }
  return `oklch(0.64 0.14 ${(250 + place * TURN) % 360})`;
}

/** Call a function at most once in so many milliseconds, the last time for certain. */
export function calmly(call, wait) {
  let timer = 0;
  return (...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => call(...args), wait);
  };
}
